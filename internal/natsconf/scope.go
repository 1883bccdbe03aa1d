package natsconf

import (
	"os"
	"slices"
	"strings"
)

// A scope is a map that is being read, as a variable in it sees it. The scope of an include or of
// an environment variable's value has no outer scope: its meaning does not depend on where it is
// used.
type scope struct {
	m        *Map           // the entries that have been read so far
	outer    *scope         // nil if there is none
	topLevel bool           // the map is the top level of a file
	lastKey  map[string]int // index of the last entry of each key, for files with many variables
}

// add appends an entry to the map.
func (s *scope) add(e Entry) {
	if s.lastKey == nil {
		s.lastKey = make(map[string]int)
	}
	s.lastKey[e.Key] = len(s.m.Entries)
	s.m.Entries = append(s.m.Entries, e)
}

// find looks for a key in the map and in the maps around it, the innermost first. It returns nil
// for an unknown key. s may be nil. Of several entries with the key, it returns the last one so
// far.
func (s *scope) find(name string) *Entry {
	for ; s != nil; s = s.outer {
		if i, ok := s.lastKey[name]; ok {
			return &s.m.Entries[i]
		}
	}
	return nil
}

// variable returns the value of a variable. It is the value of the last entry of that name before
// it, or else the value of the environment variable, read as configuration text. at is the position
// of the $. The result is nil after a mistake.
func (p *parser) variable(name string, at Pos) any {
	// The entry may be one of an outer map, but it comes before this place in the text.
	if e := p.scope.find(name); e != nil {
		e.Used = true
		return e.Value.Data
	}
	text, ok := os.LookupEnv(name)
	switch {
	case !ok && isBcrypt(name):
		p.failAt(at, "a bcrypt hash that begins with $%s must be in quotes", name[:3])
	case !ok || name == "":
		p.failAt(at, "variable reference for '%s' can not be found", name)
	case slices.Contains(p.variables, name):
		p.failAt(at, "variable reference cycle for '%s'", name)
	default:
		return p.environment(name, text, at)
	}
	return nil
}

// environment reads the value of an environment variable that is used at a position. All of the
// value has this position. Variables in it do not see the entries of the file.
func (p *parser) environment(name, text string, at Pos) any {
	q := p.inner(p.file, text)
	q.variables = append(slices.Clip(p.variables), name)
	q.fixed = &at
	v := q.single()
	if q.err != nil {
		message := q.err.Error()
		// The mistake may also be in a file that the value includes, at a position of its own.
		if q.err.Pos == at {
			message = q.err.Msg
		}
		p.failAt(at, "variable reference for '%s' could not be parsed: %s", name, message)
	}
	return v
}

// isBcrypt reports whether a name is what follows the first $ of a bcrypt hash. nats-server knows
// only $2a$, and takes $2b$ and the $2y$ of htpasswd for variables. An error must not show the
// hash.
func isBcrypt(name string) bool {
	return strings.HasPrefix(name, "2b$") || strings.HasPrefix(name, "2y$")
}

// single reads a text that is exactly one value. nats-server reads only the a of a text a,b; here
// such a list must be in brackets or quotes.
func (p *parser) single() any {
	p.skipBlanks()
	if isNewline(p.peek()) {
		p.fail("it begins with a new line")
	}
	v := p.value()
	p.endEntry(v.Pos)
	p.skipSpace()
	if p.peek() != eof {
		p.fail("it has more than one value: found %s after the first", quoteRune(p.peek()))
	}
	return v.Data
}
