package natsconf

import (
	"strconv"
	"strings"
)

// raw reads a text in quotes of either kind, without escapes. It may have line ends in it. An error
// calls the text what.
func (s *scanner) raw(what string) string {
	opened, quote := s.pos(), s.peek()
	s.next()
	text := s.take(func(r rune) bool { return r != quote })
	if !s.accept(quote) {
		s.fail("the %s opened at line %d is never closed", what, opened.Line)
	}
	return text
}

// quoted reads a string in double quotes, with escapes. It may have line ends in it.
func (s *scanner) quoted() string {
	opened := s.pos()
	s.next()
	text, _ := s.takeEscaped(func(r rune) bool { return r == '"' })
	if !s.accept('"') {
		s.fail("the string opened at line %d is never closed", opened.Line)
	}
	return text
}

// block reads the text between '(' and a ')' that has a line of its own. The text is taken as it
// is, with the line ends around it. The two brackets are not part of it.
func (s *scanner) block() string {
	opened := s.pos()
	s.next()
	start := s.offset
	for s.peek() != eof {
		s.take(func(r rune) bool { return r != '\n' })
		end := s.offset + 1 // with the line end
		s.next()
		if s.accept(')') && s.atLineEnd() {
			return s.text[start:end]
		}
	}
	s.fail("the block opened at line %d is never closed by a line that is only ')'", opened.Line)
	return ""
}

// atLineEnd reports whether a line or the text ends here.
func (s *scanner) atLineEnd() bool {
	rest := s.text[s.offset:]
	return rest == "" || rest[0] == '\n' || strings.HasPrefix(rest, "\r\n")
}

// takeBare reads the rest of a bare string that began at start, and returns the whole string.
// escapes reports whether there was an escape in the rest.
//
// nats-server ends the string at a single quote and drops the quote. Here that is an error, because
// it can only be a mistake.
func (s *scanner) takeBare(start scanner) (text string, escapes bool) {
	begun := s.since(start)
	text, escapes = s.takeEscaped(func(r rune) bool { return r == '\'' || endsBare(r) })
	if s.peek() == '\'' {
		s.fail("text with a single quote in it must be in double quotes")
	}
	return begun + text, escapes
}

// endsBare reports whether r ends a bare string everywhere. A '#' and a '/' don't: they may be
// within a URL or a password.
func endsBare(r rune) bool { return isBlank(r) || isNewline(r) || strings.ContainsRune(",;]}", r) }

// takeEscaped reads text up to a character for which stop returns true, or up to the end. It
// replaces the escapes in the text, and reports whether there were any.
func (s *scanner) takeEscaped(stop func(rune) bool) (text string, escapes bool) {
	var b strings.Builder
	for {
		b.WriteString(s.take(func(r rune) bool { return r != '\\' && !stop(r) }))
		if s.peek() != '\\' {
			return b.String(), escapes
		}
		b.WriteByte(s.takeEscape())
		escapes = true
	}
}

// takeEscape reads one escape. \xHH is a byte and not a character: several of them can make up one
// UTF-8 character. It returns 0 after a mistake.
func (s *scanner) takeEscape() byte {
	// Each name is at the place of the byte that it stands for.
	const names, bytes = `tnr"\`, "\t\n\r\"\\"
	rest := s.text[s.offset:]
	if len(rest) > 1 {
		if i := strings.IndexByte(names, rest[1]); i >= 0 {
			s.skip(2)
			return bytes[i]
		}
	}
	if !strings.HasPrefix(rest, `\x`) {
		s.fail(`unknown escape: only \xHH, \t, \n, \r, \" and \\ are known`)
		return 0
	}
	c, err := strconv.ParseUint(rest[2:min(4, len(rest))], 16, 8)
	if err != nil || len(rest) < 4 {
		s.fail(`two hexadecimal digits must follow \x`)
		return 0
	}
	s.skip(4)
	return byte(c)
}
