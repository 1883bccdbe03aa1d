package natsconf

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// eof is what a scanner sees past the last character. No decoded character is negative.
const eof rune = -1

// A scanner walks over a text one character at a time and always knows its line and column, so that asking for a
// position costs nothing, however long the lines are. It copies by assignment.
type scanner struct {
	file   string
	text   string
	offset int
	line   int
	column int

	// pinned, when set, is the position of everything in the text: the value of an environment variable stands
	// where the variable is used, because it has no file of its own.
	pinned *Pos
}

func newScanner(file, text string) scanner {
	return scanner{file: file, text: text, line: 1, column: 1}
}

// pos is the position of the next character.
func (s *scanner) pos() Pos {
	if s.pinned != nil {
		return *s.pinned
	}
	return Pos{File: s.file, Line: s.line, Column: s.column}
}

// errorf is a mistake at the next character.
func (s *scanner) errorf(format string, args ...any) error {
	return errorAt(s.pos(), format, args...)
}

func errorAt(pos Pos, format string, args ...any) error {
	return &Error{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// peek is the next character, left in place.
func (s *scanner) peek() rune {
	if s.offset >= len(s.text) {
		return eof
	}
	r, _ := utf8.DecodeRuneInString(s.text[s.offset:])
	return r
}

// next takes the next character. A byte that is not UTF-8 is one character, and stays as it is in whatever is cut
// out of the text.
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

// accept takes the next character if it is r. The end of the text can be accepted any number of times.
func (s *scanner) accept(r rune) bool {
	if s.peek() != r {
		return false
	}
	s.next()
	return true
}

// take takes characters as long as they are in the wanted set.
func (s *scanner) take(wanted func(rune) bool) string {
	start := s.offset
	for r := s.peek(); r != eof && wanted(r); r = s.peek() {
		s.next()
	}
	return s.text[start:s.offset]
}

// skipComment skips a comment, if one begins here, up to the end of its line.
func (s *scanner) skipComment() bool {
	rest := s.text[s.offset:]
	if !strings.HasPrefix(rest, "#") && !strings.HasPrefix(rest, "//") {
		return false
	}
	s.take(func(r rune) bool { return !isNewline(r) })
	return true
}

// skipFiller skips what may stand between entries and between elements: white space, new lines and comments.
func (s *scanner) skipFiller() {
	for {
		s.take(unicode.IsSpace)
		if !s.skipComment() {
			return
		}
	}
}

// skipBlanks skips the white space of one line. Only a blank and a tab end a bare string, so only they count.
func (s *scanner) skipBlanks() { s.take(isBlank) }

// takeEscaped takes text up to the next character of the stop set, or the end, and replaces the escapes in it.
// It reports whether there were any.
func (s *scanner) takeEscaped(stop func(rune) bool) (text string, escapes bool, err error) {
	var b strings.Builder
	for {
		b.WriteString(s.take(func(r rune) bool { return r != '\\' && !stop(r) }))
		if s.peek() != '\\' {
			return b.String(), escapes, nil
		}
		c, err := s.takeEscape()
		if err != nil {
			return "", true, err
		}
		b.WriteByte(c)
		escapes = true
	}
}

// takeEscape takes one escape. \xHH is a byte, not a character: two or more of them make up a UTF-8 sequence.
func (s *scanner) takeEscape() (byte, error) {
	rest := s.text[s.offset:]
	const names, bytes = `tnr"\`, "\t\n\r\"\\"
	if len(rest) > 1 {
		if i := strings.IndexByte(names, rest[1]); i >= 0 {
			s.next()
			s.next()
			return bytes[i], nil
		}
	}
	if !strings.HasPrefix(rest, `\x`) {
		return 0, s.errorf(`unknown escape: only \xHH, \t, \n, \r, \" and \\ are known`)
	}
	c, err := strconv.ParseUint(rest[2:min(4, len(rest))], 16, 8)
	if err != nil || len(rest) < 4 {
		return 0, s.errorf(`two hexadecimal digits must follow \x`)
	}
	for range 4 {
		s.next()
	}
	return byte(c), nil
}

func isBlank(r rune) bool   { return r == ' ' || r == '\t' }
func isNewline(r rune) bool { return r == '\n' || r == '\r' }
func isDigit(r rune) bool   { return '0' <= r && r <= '9' }

// quoteRune shows a character in an error text.
func quoteRune(r rune) string {
	switch r {
	case eof:
		return "the end of the text"
	case '\'':
		return `"'"`
	}
	return strconv.QuoteRune(r)
}
