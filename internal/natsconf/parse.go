package natsconf

import (
	"fmt"
	"os"
	"strings"
	"unicode"
)

// maxDepth is how deep maps and arrays may nest, through includes and environment variables too.
// Real files need a few levels. The limit keeps a hostile text from exhausting the stack.
const maxDepth = 200

// byteOrderMark is what some editors put at the beginning of UTF-8 text. It is skipped there.
const byteOrderMark = "\uFEFF"

// ParseFile reads a file and the files that it includes.
//
// A mistake in one of the texts is an *Error. If path itself can't be read, the error is that of
// os.ReadFile.
func ParseFile(path string) (*Map, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, string(text))
}

// Parse reads text as the content of the file with this name. Positions have the name, and includes
// are relative to the file's directory. If the name is empty, includes are relative to the working
// directory. Every error is an *Error.
//
// A map or an array that a variable refers to is not copied: both places share it.
func Parse(name, text string) (*Map, error) {
	p := &parser{scanner: newScanner(name, text)}
	if name != "" {
		p.files = []string{name}
	}
	return p.document()
}

// A parser reads one text: a file, an include or the value of an environment variable. It reads
// each character once, from the first to the last, and a variable sees only the entries before it.
//
//	file  = { entry | "{" { entry } "}" }
//	entry = ( key [ ":" | "=" ] value | "include" name ) ( new line | "," | ";" )
//	key   = bare | 'raw' | "raw"
//	value = map | array | block | number | "quoted" | 'raw' | bare | "$" variable
//	map   = "{" { entry } "}"
//	array = "[" { value ( new line | "," ) } "]"
//	block = "(" text new line ")"
//
// White space, new lines and comments may come before an entry and before an element. The last
// entry and the last element need nothing before the closing bracket.
type parser struct {
	scanner
	scope *scope // of the current map; nil in the value of an environment variable outside of a map
	depth int    // number of open maps and arrays

	// closer ends the innermost map or array: '}', ']', or eof for the top level of a file.
	closer rune

	files     []string // the files that are being read, the innermost last
	variables []string // the environment variables that are being read, the innermost last
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
	p.scope = &scope{m: m, topLevel: true}
	if err := p.entries(m.Pos); err != nil {
		return nil, err
	}
	return m, nil
}

// checkText returns an error for UTF-16 and for NUL bytes. Editors show both as if they were text.
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

// entries reads the entries of the innermost map, and its end. opened is the start of the map.
func (p *parser) entries(opened Pos) error {
	for {
		p.skipSpace()
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

// braces reads entries of a file in { }, as in a JSON document. They are entries of the file
// itself.
func (p *parser) braces() error {
	opened := p.pos()
	return p.nested('}', func() error { return p.entries(opened) })
}

// entry reads one key with its value, or an include, and the separator after it.
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

// assign reads the value of a key and adds the entry. As in nats-server, the value may begin on
// another line than its separator, but not at the top level of a file.
func (p *parser) assign(key string, at Pos) error {
	p.take(unicode.IsSpace)
	separated := p.accept(':') || p.accept('=')
	if p.scope.topLevel {
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

// missing reports whether an entry ends where its value must begin. As in nats-server, a missing
// value before a ';' is an empty string. At the top level of a file it is one before a ',' too, and
// before the end of the text if the key has a separator.
func (p *parser) missing(separated bool) bool {
	switch r := p.peek(); r {
	case ',':
		return !p.scope.topLevel
	case eof:
		return !p.scope.topLevel || !separated
	default:
		return r == '}' || isNewline(r)
	}
}

// endEntry reads what must come between an entry and the next one. It does not read the closing
// brace: entries does.
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
	}
	where := ""
	if p.closer != eof {
		where = fmt.Sprintf(" in the map opened at line %d", opened.Line)
	}
	return p.errorf("found %s after a value%s: end it with a new line, ',' or ';', or put text in quotes",
		quoteRune(r), where)
}

// key reads a key. A key in quotes has no escapes and may contain any other character. A bare key
// ends at white space, ':' or '='.
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

// bare reads a value without quotes: a variable, a boolean or a string. A value with an escape is
// always a string.
func (p *parser) bare() (any, error) {
	start := p.scanner
	text, escapes, err := p.takeBare(start)
	switch {
	case err != nil || escapes:
		return text, err
	case strings.HasPrefix(text, "$2a$"): // a bcrypt hash
		return text, nil
	case strings.HasPrefix(text, "$"):
		return p.variable(text[1:], start.pos())
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	return text, nil
}

// nested reads an opening bracket and runs body, which reads the rest of the map or array up to and
// with closer.
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

// mapping reads a map. It has a scope of its own.
func (p *parser) mapping() (*Map, error) {
	m := &Map{Pos: p.pos()}
	p.scope = &scope{m: m, outer: p.scope}
	err := p.nested('}', func() error { return p.entries(m.Pos) })
	p.scope = p.scope.outer
	return m, err
}

// array reads an array.
func (p *parser) array() (values []Value, err error) {
	opened := p.pos()
	err = p.nested(']', func() (err error) {
		values, err = p.elements(opened)
		return err
	})
	return values, err
}

// elements reads the elements of an array, and its end. opened is the start of the array.
func (p *parser) elements(opened Pos) ([]Value, error) {
	values := []Value{}
	for {
		p.skipSpace()
		switch r := p.peek(); r {
		case ']':
			p.next()
			return values, nil
		case eof:
			return nil, p.errorf("the array opened at line %d is never closed", opened.Line)
		case ',', ';', '}':
			return nil, p.errorf("found %s where a value must begin in the array opened at line %d",
				quoteRune(r), opened.Line)
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if err := p.endElement(opened); err != nil {
			return nil, err
		}
	}
}

// endElement reads what must come between two elements. It does not read the closing bracket:
// elements does.
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
	return p.errorf("found %s after a value in the array opened at line %d: end it with a new "+
		"line or ','",
		quoteRune(r), opened.Line)
}
