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

// byteOrderMark is what some editors put at the beginning of UTF-8 text. It is skipped there, and
// has no column.
const byteOrderMark = '\uFEFF'

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
	p := (&parser{}).inner(name, text)
	if name != "" {
		p.files = []string{name}
	}
	m := p.document()
	if p.err != nil {
		return nil, p.err
	}
	return m, nil
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
// At the top level of a file, a "}" that closes nothing ends an entry, and it may begin a bare key.
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

// inner returns a parser for a text that is read as a part of this one. It begins with the same
// depth and the same open files and variables, so that the limits hold for all of them together.
func (p *parser) inner(file, text string) *parser {
	return &parser{
		scanner:   scanner{file: file, text: text, line: 1, column: 1},
		depth:     p.depth,
		closer:    eof,
		files:     p.files,
		variables: p.variables,
	}
}

// document reads a whole file. It never returns nil. After a mistake the map is not complete.
func (p *parser) document() *Map {
	m := &Map{Pos: p.pos()}
	p.checkText() // after a mistake there, there are no entries
	if p.accept(byteOrderMark) {
		p.column = 1
	}
	p.scope = &scope{m: m, topLevel: true}
	p.entries(m.Pos)
	return m
}

// checkText refuses NUL bytes, which UTF-16 is full of. Editors show both as if they were text.
func (p *parser) checkText() {
	if strings.IndexByte(p.text, 0) >= 0 {
		p.take(func(r rune) bool { return r != 0 })
		p.fail("a NUL byte is not text; save UTF-16 as UTF-8")
	}
}

// entries reads the entries of the innermost map, and its end. opened is the start of the map, for
// an error at the end of the text.
func (p *parser) entries(opened Pos) {
	for {
		p.skipSpace()
		switch {
		case p.accept(p.closer):
			return
		case p.peek() == eof:
			p.fail("the map opened at line %d is never closed", opened.Line)
			return
		case p.peek() == '{' && p.closer == eof:
			// As in a JSON document, the entries in the braces are entries of the file itself.
			at := p.pos()
			p.nested('}', func() { p.entries(at) })
		default:
			p.entry(opened)
		}
	}
}

// entry reads one key with its value, or an include, and the separator after it.
func (p *parser) entry(opened Pos) {
	at := p.pos()
	key, quoted := p.key()
	if strings.HasPrefix(key, "}") && !quoted {
		p.scope.m.Surplus = append(p.scope.m.Surplus, at)
	}
	if !quoted && strings.EqualFold(key, "include") && unicode.IsSpace(p.peek()) {
		p.include(at)
	} else {
		p.assign(key, at)
	}
	p.endEntry(opened)
}

// assign reads the value of a key and adds the entry. As in nats-server, the value may begin on
// another line than its separator, but not at the top level of a file. A key "}" at the end of the
// text is a surplus brace and no entry. at is the position of the key.
func (p *parser) assign(key string, at Pos) {
	p.take(unicode.IsSpace)
	separated := p.accept(':') || p.accept('=')
	if key == "}" && p.scope.topLevel && !separated && p.peek() == eof {
		return
	}
	if p.scope.topLevel {
		p.skipBlanks()
	} else {
		p.take(unicode.IsSpace)
	}
	if p.missing(key, separated) {
		p.fail("the key '%s' has no value", key)
	}
	p.scope.add(Entry{Key: key, Pos: at, Value: p.value()})
}

// missing reports whether an entry ends where its value must begin. As in nats-server, a missing
// value before a ';' is an empty string. At the top level of a file it is one before a ',' too, and
// before the end of the text if the key has a separator. A key "}" is a surplus brace, which
// another one may follow.
func (p *parser) missing(key string, separated bool) bool {
	switch r := p.peek(); r {
	case ',':
		return !p.scope.topLevel
	case eof:
		return !p.scope.topLevel || !separated
	default:
		return r == '}' && key != "}" || isNewline(r)
	}
}

// endEntry reads what must come between an entry and the next one. It does not read the closing
// brace: entries does. opened is the start of the map, for the error.
func (p *parser) endEntry(opened Pos) {
	p.skipBlanks()
	r := p.peek()
	switch {
	case r == p.closer || r == eof || p.skipComment():
	case isNewline(r) || r == ',' || r == ';':
		p.next()
	// The value of an environment variable has no scope, and must be one value.
	case r == '}' && p.scope != nil:
		p.scope.m.Surplus = append(p.scope.m.Surplus, p.pos())
		p.next()
	case r == '}' || r == ']':
		p.fail("nothing is open that %s closes", quoteRune(r))
	default:
		where := ""
		if p.closer != eof {
			where = fmt.Sprintf(" in the map opened at line %d", opened.Line)
		}
		p.fail("found %s after a value%s: end it with a new line, ',' or "+
			"';', or put text in quotes", quoteRune(r), where)
	}
}

// key reads a key. quoted tells "include" in quotes, which is a key, from the word itself. A key in
// quotes has no escapes and may contain any other character. A bare key ends at white space, ':' or
// '='.
func (p *parser) key() (key string, quoted bool) {
	switch r := p.peek(); {
	case r == '"' || r == '\'':
		return p.raw("key"), true
	case strings.ContainsRune(":=,;{]/", r):
		p.fail("found %s where a key must begin", quoteRune(r))
	}
	key = p.take(func(r rune) bool { return !unicode.IsSpace(r) && r != ':' && r != '=' })
	// nats-server takes the brace for a part of the key. That can't have been meant.
	if before, ok := strings.CutSuffix(key, "{"); ok {
		p.fail("white space must come between the key '%s' and '{'", before)
	}
	return key, false
}

// value reads one value of any kind. Its first character decides which kind that is.
func (p *parser) value() Value {
	v := Value{Pos: p.pos()}
	switch r := p.peek(); {
	case r == '{':
		v.Data = p.mapping()
	case r == '[':
		v.Data = p.array()
	case r == '(':
		v.Data = p.block()
	case r == '"':
		v.Data = p.quoted()
	case r == '\'':
		v.Data = p.raw("string")
	case r == '-' || r == '.' || isDigit(r):
		v.Data = p.number()
	default:
		v.Data = p.bare()
	}
	return v
}

// bare reads a value without quotes: a variable, a boolean or a string. A value with an escape is
// always a string, and so is a bcrypt hash of the kind that nats-server makes.
func (p *parser) bare() any {
	start := p.scanner
	text, escapes := p.takeBare(start)
	if escapes || strings.HasPrefix(text, "$2a$") {
		return text
	}
	if name, ok := strings.CutPrefix(text, "$"); ok {
		return p.variable(name, start.pos())
	}
	// Like the keywords of nats-server, these may be in any letter case.
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true
	case "false", "no", "off":
		return false
	}
	return text
}

// nested reads an opening bracket and runs body, which reads the rest of the map or array up to and
// with closer. If the text is nested too deep, body does not run. The closer and the depth are as
// before when it returns.
func (p *parser) nested(closer rune, body func()) {
	if p.depth == maxDepth {
		p.fail("maps and arrays are nested more than %d deep", maxDepth)
		return
	}
	outer := p.closer
	p.depth++
	p.closer = closer
	p.next()
	body()
	p.closer = outer
	p.depth--
}

// mapping reads a map. It has a scope of its own.
func (p *parser) mapping() *Map {
	m := &Map{Pos: p.pos()}
	p.scope = &scope{m: m, outer: p.scope}
	p.nested('}', func() { p.entries(m.Pos) })
	p.scope = p.scope.outer
	return m
}

// array reads an array. It is never nil.
func (p *parser) array() []Value {
	opened, values := p.pos(), []Value{}
	p.nested(']', func() {
		for p.skipSpace(); !p.accept(']') && p.err == nil; p.skipSpace() {
			values = append(values, p.element(opened))
		}
	})
	return values
}

// element reads one element of the array that begins at opened, and what must come between it and
// the next one. It does not read the closing bracket: array does.
func (p *parser) element(opened Pos) Value {
	switch r := p.peek(); r {
	case eof:
		p.fail("the array opened at line %d is never closed", opened.Line)
	case ',', ';', '}':
		p.fail("found %s where a value must begin in the array opened at line %d",
			quoteRune(r), opened.Line)
	}
	v := p.value()
	p.skipBlanks()
	r := p.peek()
	switch {
	case r == ']' || r == eof || p.skipComment():
	case isNewline(r) || r == ',':
		p.next()
	default:
		p.fail("found %s after a value in the array opened at line %d: end "+
			"it with a new line or ','", quoteRune(r), opened.Line)
	}
	return v
}
