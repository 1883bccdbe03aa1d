package natsconf

import (
	"errors"
	"os"
	"slices"
	"strings"
)

// A scope is a map that is being read, as the variables in it see it. The scope of an include or of an environment
// value has no outer one: what it means does not depend on where it is used.
type scope struct {
	m     *Map
	outer *scope
	file  bool           // the map is the top level of a file
	last  map[string]int // index of the last entry of each key
}

// add puts an entry at the end of the map.
func (s *scope) add(e Entry) {
	if s.last == nil {
		s.last = make(map[string]int)
	}
	s.last[e.Key] = len(s.m.Entries)
	s.m.Entries = append(s.m.Entries, e)
}

// find looks name up in the map and the ones around it, the innermost first. It gives nil for an unknown name.
func (s *scope) find(name string) *Entry {
	for ; s != nil; s = s.outer {
		if i, ok := s.last[name]; ok {
			return &s.m.Entries[i]
		}
	}
	return nil
}

// variable gives the value a variable stands for: that of the last entry of its name above it, otherwise the value
// of the environment variable, read as configuration text.
func (p *parser) variable(name string, at Pos) (any, error) {
	if e := p.scope.find(name); e != nil {
		e.Used = true
		return e.Value.Data, nil
	}
	text, ok := os.LookupEnv(name)
	if !ok && isBcrypt(name) {
		return nil, errorAt(at, "a bcrypt hash that begins with $%s must be in quotes", name[:3])
	}
	if !ok || name == "" {
		return nil, errorAt(at, "variable reference for '%s' can not be found", name)
	}
	if slices.Contains(p.resolving, name) {
		return nil, errorAt(at, "variable reference cycle for '%s'", name)
	}
	v, err := p.fromEnvironment(name, text, at).single()
	if err != nil {
		return nil, errorAt(at, "variable reference for '%s' could not be parsed: %s", name, messageFrom(at, err))
	}
	return v, nil
}

// isBcrypt says whether a name is what follows the $ of a password's hash. nats-server knows $2a$ only and takes $2b$ and
// the $2y$ of htpasswd for variables; an error must not show the hash.
func isBcrypt(name string) bool {
	return strings.HasPrefix(name, "2b$") || strings.HasPrefix(name, "2y$")
}

// messageFrom is the text of an error for one who knows that it is about what stands at a position. Only a mistake
// in a file that an environment value includes stands elsewhere.
func messageFrom(at Pos, err error) string {
	if mistake := (*Error)(nil); errors.As(err, &mistake) && mistake.Pos == at {
		return mistake.Msg
	}
	return err.Error()
}

// fromEnvironment gives a parser for the value of an environment variable that is used at a position.
func (p *parser) fromEnvironment(name, text string, at Pos) *parser {
	q := &parser{
		scanner:   newScanner(p.file, text),
		depth:     p.depth,
		closer:    eof,
		reading:   p.reading,
		resolving: append(slices.Clip(p.resolving), name),
	}
	q.pinned = &at
	return q
}

// single reads a text that is exactly one value. nats-server overlooks what comes after a separator, so that of
// a list like a,b only the a is used; here it must be put in brackets or quotes.
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
	p.skipFiller()
	if p.peek() != eof {
		return nil, p.errorf("it has more than one value: found %s after the first", quoteRune(p.peek()))
	}
	return v.Data, nil
}
