package natsconf

import (
	"os"
	"strings"
	"unicode"
)

// maxDepth bounds how deep maps and arrays nest, includes and environment values counted in. A configuration
// written by people has a handful of levels; the bound keeps a hostile one off the stack.
const maxDepth = 200

// byteOrderMark is what some editors put at the beginning of UTF-8 text. It means nothing and is skipped there.
const byteOrderMark = "\uFEFF"

// ParseFile reads the file and the files it includes.
//
// A mistake in one of the texts is an *Error; if path itself can not be read, the error is the system's.
func ParseFile(path string) (*Map, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, string(text))
}

// Parse reads text as if it were in the file called name: positions carry the name, and an include is looked for
// beside it. Without a name, includes are relative to the working directory. Every error is an *Error.
//
// A map or an array that a variable refers to is not copied: it is the same in both places.
func Parse(name, text string) (*Map, error) {
	p := &parser{scanner: newScanner(name, text)}
	if name != "" {
		p.reading = []string{name}
	}
	return p.document()
}

// A parser reads one text: a file, an include or the value of an environment variable. It goes over the text once,
// from the first character to the last, and a variable knows only what stands before it.
//
//	file  = { entry | "{" { entry } "}" }
//	entry = ( key [ ":" | "=" ] value | "include" name ) ( new line | "," | ";" )
//	key   = bare | 'raw' | "raw"
//	value = map | array | block | number | "quoted" | 'raw' | bare | "$" variable
//	map   = "{" { entry } "}"
//	array = "[" { value ( new line | "," ) } "]"
//	block = "(" text new line ")"
//
// White space, new lines and comments may stand before an entry and before an element. Nothing need come between
// the last one and the bracket.
type parser struct {
	scanner
	scope *scope // of the map being read; nil for the value of an environment variable
	depth int    // maps and arrays that are open

	// closer ends the innermost map or array: '}', ']', or eof for the top level of a file.
	closer rune

	reading   []string // the files that are being read, the innermost last
	resolving []string // the environment variables whose values are being read, the innermost last
}

// document reads a whole file.
func (p *parser) document() (*Map, error) {
	if err := p.checkText(); err != nil {
		return nil, err
	}
	m := &Map{Pos: p.pos()}
	if strings.HasPrefix(p.text, byteOrderMark) {
		p.offset += len(byteOrderMark)
	}
	p.closer = eof
	p.scope = &scope{m: m, file: true}
	if err := p.entries(m.Pos); err != nil {
		return nil, err
	}
	return m, nil
}

// checkText refuses what is no text, because an editor shows it as if it were.
func (p *parser) checkText() error {
	if strings.HasPrefix(p.text, "\xff\xfe") || strings.HasPrefix(p.text, "\xfe\xff") {
		return p.errorf("this is UTF-16; save it as UTF-8")
	}
	nul := strings.IndexByte(p.text, 0)
	if nul < 0 {
		return nil
	}
	for p.offset < nul {
		p.next()
	}
	return p.errorf("a NUL byte is not text")
}

// entries reads the entries of the innermost map, and its end. opened is where the map began.
func (p *parser) entries(opened Pos) error {
	for {
		p.skipFiller()
		switch {
		case p.accept(p.closer):
			return nil
		case p.peek() == eof:
			return p.errorf("the map opened at line %d is never closed", opened.Line)
		case p.peek() == '{' && p.closer == eof:
			if err := p.braces(); err != nil {
				return err
			}
		default:
			if err := p.entry(opened); err != nil {
				return err
			}
		}
	}
}

// braces reads the { } around the entries of a file, as in a JSON document. They make no map of their own.
func (p *parser) braces() error {
	opened := p.pos()
	return p.nested('}', func() error { return p.entries(opened) })
}

// entry reads one key with its value, or an include, up to and with the separator.
func (p *parser) entry(opened Pos) error {
	at := p.pos()
	key, quoted, err := p.key()
	if err != nil {
		return err
	}
	if !quoted && strings.EqualFold(key, "include") && unicode.IsSpace(p.peek()) {
		err = p.include(at)
	} else {
		err = p.assign(key, at)
	}
	if err != nil {
		return err
	}
	return p.endEntry(opened)
}

// assign reads the value that belongs to key. Behind a separator, the value may begin on another line only in a map
// of its own, as in nats-server; at the top level of a file it would be the next key.
func (p *parser) assign(key string, at Pos) error {
	p.take(unicode.IsSpace)
	separated := p.accept(':') || p.accept('=')
	if p.scope.file {
		p.skipBlanks()
	} else {
		p.take(unicode.IsSpace)
	}
	if p.missing(separated) {
		return p.errorf("the key '%s' has no value", key)
	}
	v, err := p.value()
	if err != nil {
		return err
	}
	p.scope.add(Entry{Key: key, Pos: at, Value: v})
	return nil
}

// missing reports whether an entry ends before its value begins. As in nats-server, nothing is an empty string in
// front of a ';', and at the top level of a file in front of a ',' or the end of the text as well, if a separator
// comes after the key.
func (p *parser) missing(separated bool) bool {
	switch r := p.peek(); r {
	case ',':
		return !p.scope.file
	case eof:
		return !p.scope.file || !separated
	default:
		return r == '}' || isNewline(r)
	}
}

// endEntry reads what must come between an entry and the next one. The closing brace and a comment are left to
// entries.
func (p *parser) endEntry(opened Pos) error {
	p.skipBlanks()
	r := p.peek()
	switch {
	case r == p.closer || r == eof || p.skipComment():
		return nil
	case isNewline(r) || r == ',' || r == ';':
		p.next()
		return nil
	case r == '}' || r == ']':
		return p.errorf("nothing is open that %s closes", quoteRune(r))
	case p.closer == eof:
		return p.errorf("found %s after a value: end it with a new line, ',' or ';', or put text in quotes", quoteRune(r))
	}
	return p.errorf("found %s after a value in the map opened at line %d: end it with a new line, ',' or ';', "+
		"or put text in quotes", quoteRune(r), opened.Line)
}

// key reads a key. A quoted one has no escapes and may have any other character in it; a bare one ends at white
// space, ':' or '='.
func (p *parser) key() (key string, quoted bool, err error) {
	switch r := p.peek(); {
	case r == '"' || r == '\'':
		key, err = p.raw("key")
		return key, true, err
	case r == '}':
		return "", false, p.errorf("nothing is open that '}' closes")
	case strings.ContainsRune(":=,;{]/", r):
		return "", false, p.errorf("found %s where a key must begin", quoteRune(r))
	}
	key = p.take(func(r rune) bool { return !unicode.IsSpace(r) && r != ':' && r != '=' })
	if before, ok := strings.CutSuffix(key, "{"); ok {
		return "", false, p.errorf("white space must come between the key '%s' and '{'", before)
	}
	return key, false, nil
}

// value reads one value of any kind.
func (p *parser) value() (Value, error) {
	v := Value{Pos: p.pos()}
	var err error
	switch r := p.peek(); {
	case r == '{':
		v.Data, err = p.mapping()
	case r == '[':
		v.Data, err = p.array()
	case r == '(':
		v.Data, err = p.block()
	case r == '"':
		v.Data, err = p.quoted()
	case r == '\'':
		v.Data, err = p.raw("string")
	case r == '-' || r == '.' || isDigit(r):
		v.Data, err = p.number()
	default:
		v.Data, err = p.bare()
	}
	return v, err
}

// nested runs body one level deeper, where closer ends the innermost map or array.
func (p *parser) nested(closer rune, body func() error) error {
	if p.depth == maxDepth {
		return p.errorf("maps and arrays are nested more than %d deep", maxDepth)
	}
	outer := p.closer
	p.depth++
	p.closer = closer
	p.next()
	err := body()
	p.closer = outer
	p.depth--
	return err
}

// mapping reads a map, which is a scope of its own.
func (p *parser) mapping() (*Map, error) {
	m := &Map{Pos: p.pos()}
	p.scope = &scope{m: m, outer: p.scope}
	err := p.nested('}', func() error { return p.entries(m.Pos) })
	p.scope = p.scope.outer
	return m, err
}

// array reads an array.
func (p *parser) array() ([]Value, error) {
	opened, values := p.pos(), []Value{}
	err := p.nested(']', func() error {
		for {
			p.skipFiller()
			switch p.peek() {
			case ']':
				p.next()
				return nil
			case eof:
				return p.errorf("the array opened at line %d is never closed", opened.Line)
			case ',', ';', '}':
				return p.errorf("found %s where a value must begin in the array opened at line %d",
					quoteRune(p.peek()), opened.Line)
			}
			v, err := p.value()
			if err != nil {
				return err
			}
			values = append(values, v)
			if err := p.endElement(opened); err != nil {
				return err
			}
		}
	})
	return values, err
}

// endElement reads what must come between two elements. The closing bracket and a comment are left to array.
func (p *parser) endElement(opened Pos) error {
	p.skipBlanks()
	r := p.peek()
	switch {
	case r == ']' || r == eof || p.skipComment():
		return nil
	case isNewline(r) || r == ',':
		p.next()
		return nil
	}
	return p.errorf("found %s after a value in the array opened at line %d: end it with a new line or ','",
		quoteRune(r), opened.Line)
}
