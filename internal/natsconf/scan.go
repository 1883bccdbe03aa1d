package natsconf

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// eof is what a scanner returns at the end of the text. No decoded character is negative.
const eof rune = -1

// A scanner reads a text one character at a time. It counts lines and columns as it goes, so that a
// position costs nothing even in a very long line. A copy of a scanner is a mark to come back to.
type scanner struct {
	file   string // as positions name it; "" for a text without a file
	text   string // all of it
	offset int    // of the next character, in bytes
	line   int    // of the next character, from 1
	column int    // of the next character, from 1, in characters

	// err is the first mistake in the text; nil if there is none yet. After a mistake the scanner
	// is at the end of the text, so that whatever is being read ends, and its value is not used.
	err *Error

	// fixed is the position of every character; nil for a text that has positions of its own. The
	// value of an environment variable has no file, so its position is where the variable is used.
	fixed *Pos
}

// pos returns the position of the next character.
func (s *scanner) pos() Pos {
	if s.fixed != nil {
		return *s.fixed
	}
	return Pos{File: s.file, Line: s.line, Column: s.column}
}

// fail reports a mistake at the next character.
func (s *scanner) fail(format string, args ...any) { s.failAt(s.pos(), format, args...) }

// failAt reports a mistake at a position, unless another one has been reported before it. The first
// mistake is the one that the user sees. The later ones often follow from it.
func (s *scanner) failAt(pos Pos, format string, args ...any) {
	if s.err == nil {
		s.err = &Error{Pos: pos, Msg: fmt.Sprintf(format, args...)}
	}
	s.offset = len(s.text)
}

// since returns the text from start up to the next character, which is not a part of it.
func (s *scanner) since(start scanner) string { return s.text[start.offset:s.offset] }

// peek returns the next character without reading it, or eof. A byte that is not UTF-8 is
// utf8.RuneError.
func (s *scanner) peek() rune {
	if s.offset >= len(s.text) {
		return eof
	}
	r, _ := utf8.DecodeRuneInString(s.text[s.offset:])
	return r
}

// next reads one character. A byte that is not UTF-8 counts as one character, and the texts that
// are read keep it as it is. At the end of the text it does nothing.
func (s *scanner) next() {
	if s.offset >= len(s.text) {
		return
	}
	r, size := utf8.DecodeRuneInString(s.text[s.offset:])
	s.offset += size
	if r == '\n' {
		s.line++
		s.column = 1
	} else {
		s.column++
	}
}

// skip reads n characters, or as many as there are.
func (s *scanner) skip(n int) {
	for range n {
		s.next()
	}
}

// accept reads the next character if it is r. It accepts eof at the end, any number of times.
func (s *scanner) accept(r rune) bool {
	if s.peek() != r {
		return false
	}
	s.next()
	return true
}

// take reads characters as long as wanted returns true for them, and returns them. It stops at the
// end of the text.
func (s *scanner) take(wanted func(rune) bool) string {
	start := s.offset
	for r := s.peek(); r != eof && wanted(r); r = s.peek() {
		s.next()
	}
	return s.text[start:s.offset]
}

// skipComment reads a comment up to the end of its line. It returns false if none begins here.
func (s *scanner) skipComment() bool {
	rest := s.text[s.offset:]
	if !strings.HasPrefix(rest, "#") && !strings.HasPrefix(rest, "//") {
		return false
	}
	s.take(func(r rune) bool { return !isNewline(r) })
	return true
}

// skipSpace reads what may come between entries and between elements: white space, new lines and
// comments.
func (s *scanner) skipSpace() {
	for {
		s.take(unicode.IsSpace)
		if !s.skipComment() {
			return
		}
	}
}

// skipBlanks reads blanks and tabs. Other white space within a line does not end a bare string, so
// it is not skipped.
func (s *scanner) skipBlanks() { s.take(isBlank) }

// The classes of characters that nats-server distinguishes. Only ASCII digits are digits.

func isBlank(r rune) bool   { return r == ' ' || r == '\t' }
func isNewline(r rune) bool { return r == '\n' || r == '\r' }
func isDigit(r rune) bool   { return '0' <= r && r <= '9' }

// quoteRune returns a character as error texts show it. A single quote is in double quotes, which
// is easier to read than its escape.
func quoteRune(r rune) string {
	switch r {
	case eof:
		return "the end of the text"
	case '\'':
		return `"'"`
	}
	return strconv.QuoteRune(r)
}
