package natsconf

import "strings"

// raw reads a quoted text without escapes. what names it should it never end.
func (p *parser) raw(what string) (string, error) {
	opened, quote := p.pos(), p.peek()
	p.next()
	text := p.take(func(r rune) bool { return r != quote })
	if !p.accept(quote) {
		return "", p.errorf("the %s opened at line %d is never closed", what, opened.Line)
	}
	return text, nil
}

// block reads the text between '(' and a ')' that has a line to itself. Nothing in it has a meaning, and the line
// ends around it belong to it.
func (p *parser) block() (string, error) {
	opened := p.pos()
	p.next()
	start := p.offset
	for p.peek() != eof {
		p.take(func(r rune) bool { return r != '\n' })
		end := p.offset + 1
		p.next()
		if p.accept(')') && p.atLineEnd() {
			return p.text[start:end], nil
		}
	}
	return "", p.errorf("the block opened at line %d is never closed by a line that is only ')'", opened.Line)
}

// atLineEnd reports whether the line ends here, the text too.
func (p *parser) atLineEnd() bool {
	rest := p.text[p.offset:]
	return rest == "" || rest[0] == '\n' || strings.HasPrefix(rest, "\r\n")
}

// quoted reads a string in double quotes.
func (p *parser) quoted() (string, error) {
	opened := p.pos()
	p.next()
	text, _, err := p.takeEscaped(func(r rune) bool { return r == '"' })
	if err != nil {
		return "", err
	}
	if !p.accept('"') {
		return "", p.errorf("the string opened at line %d is never closed", opened.Line)
	}
	return text, nil
}

// bare reads a value that stands there without quotes: a variable, a boolean or a string. An escape makes it a
// string whatever it says.
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

// bareString reads the rest of a bare string that began at start.
func (p *parser) bareString(start scanner) (any, error) {
	text, _, err := p.takeBare(start)
	return text, err
}

// takeBare takes the rest of a bare string that began at start, and reports whether there are escapes in the rest.
//
// nats-server ends the string at a single quote and drops the quote; that is refused, because it can only be a slip.
func (p *parser) takeBare(start scanner) (text string, escapes bool, err error) {
	begun := p.text[start.offset:p.offset]
	text, escapes, err = p.takeEscaped(func(r rune) bool { return r == '\'' || endsBare(r) })
	if err == nil && p.peek() == '\'' {
		err = p.errorf("text with a single quote in it must be in double quotes")
	}
	return begun + text, escapes, err
}

// endsBare reports whether r ends a bare string, wherever it stands.
func endsBare(r rune) bool { return isBlank(r) || isNewline(r) || strings.ContainsRune(",;]}", r) }

// endsValue reports whether r ends a number. A ']' does so in an array only; elsewhere 5] is text.
func (p *parser) endsValue(r rune) bool {
	return r == eof || r == p.closer || r != ']' && endsBare(r)
}
