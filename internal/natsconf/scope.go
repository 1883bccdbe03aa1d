package natsconf

import (
	"errors"
	"os"
	"slices"
	"strings"
)

// A scope is a map that is being read, as a variable in it sees it. The scope of an include or of
// an environment variable's value has no outer scope: its meaning does not depend on where it is
// used.
type scope struct {
	m        *Map
	outer    *scope         // nil if there is none
	topLevel bool           // the map is the top level of a file
	lastKey  map[string]int // index of the last entry of each key
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
// for an unknown key. s may be nil.
func (s *scope) find(name string) *Entry {
	for ; s != nil; s = s.outer {
		if i, ok := s.lastKey[name]; ok {
			return &s.m.Entries[i]
		}
	}
	return nil
}

// variable returns the value of a variable. It is the value of the last entry of that name before
// it, or else the value of the environment variable, read as configuration text.
func (p *parser) variable(name string, at Pos) (any, error) {
	if e := p.scope.find(name); e != nil {
		e.Used = true
		return e.Value.Data, nil
	}
	text, ok := os.LookupEnv(name)
	switch {
	case !ok && isBcrypt(name):
		return nil, errorAt(at, "a bcrypt hash that begins with $%s must be in quotes", name[:3])
	case !ok || name == "":
		return nil, errorAt(at, "variable reference for '%s' can not be found", name)
	case slices.Contains(p.variables, name):
		return nil, errorAt(at, "variable reference cycle for '%s'", name)
	}
	v, err := p.forVariable(name, text, at).single()
	if err != nil {
		return nil, errorAt(at, "variable reference for '%s' could not be parsed: %s",
			name, messageAt(at, err))
	}
	return v, nil
}

// isBcrypt reports whether a name is what follows the first $ of a bcrypt hash. nats-server knows
// only $2a$, and takes $2b$ and the $2y$ of htpasswd for variables. An error must not show the
// hash.
func isBcrypt(name string) bool {
	return strings.HasPrefix(name, "2b$") || strings.HasPrefix(name, "2y$")
}

// messageAt returns the text of an error, without its position if that is at. The position is
// another one if the mistake is in a file that the value of a variable includes.
func messageAt(at Pos, err error) string {
	if mistake, ok := errors.AsType[*Error](err); ok && mistake.Pos == at {
		return mistake.Msg
	}
	return err.Error()
}

// forVariable returns a parser for the value of an environment variable that is used at a position.
func (p *parser) forVariable(name, text string, at Pos) *parser {
	q := &parser{
		scanner:   newScanner(p.file, text),
		depth:     p.depth,
		closer:    eof,
		files:     p.files,
		variables: append(slices.Clip(p.variables), name),
	}
	q.fixed = &at
	return q
}

// single reads a text that is exactly one value. nats-server reads only the a of a text a,b; here
// such a list must be in brackets or quotes.
func (p *parser) single() (any, error) {
	p.skipBlanks()
	if isNewline(p.peek()) {
		return nil, p.errorf("it begins with a new line")
	}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if err := p.endEntry(v.Pos); err != nil {
		return nil, err
	}
	p.skipSpace()
	if p.peek() != eof {
		return nil, p.errorf("it has more than one value: found %s after the first", quoteRune(p.peek()))
	}
	return v.Data, nil
}
