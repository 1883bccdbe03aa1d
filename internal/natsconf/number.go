package natsconf

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// dateFormat is the only form of a date.
const dateFormat = "2006-01-02T15:04:05Z"

// sizeUnits are the size suffixes in the order of their powers: 5k is 5*1000; 5kb, 5ki and 5kib are
// 5*1024.
const sizeUnits = "kmgtpe"

// number reads a value that begins like a number. It is an integer, an integer with a size suffix,
// a float, a date, an address such as 127.0.0.1:4222, or a text that only begins with digits, such
// as 5s or 1:2.
//
// A value that begins with a dash or a dot, or like a float, must be a number to its end. As in
// nats-server, a mistake in a number is not taken for text.
func (p *parser) number() any {
	start := p.scanner
	negative := p.accept('-')
	if p.take(isDigit) == "" {
		p.failAt(start.pos(),
			"a number needs a digit first; put text that begins with '-' or '.' in quotes")
	}
	switch r := p.peek(); {
	case r == '.':
		return p.decimal(start)
	case r == '-' && !negative:
		return p.date(start)
	case isSizeUnit(r):
		return p.size(start)
	case negative || p.endsValue(r):
		return p.integer(start, p.since(start), 1)
	}
	// The first character after the digits is text even if it begins an escape. nats-server does
	// not replace the escape in 5\x41.
	p.next()
	text, _ := p.takeBare(start)
	return text
}

// integer returns the number in digits, multiplied by unit. The number began at start. After a
// mistake its result is not used.
func (p *parser) integer(start scanner, digits string, unit int64) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	// The division finds an overflow of the multiplication.
	if err != nil || n*unit/unit != n {
		p.failAt(start.pos(), "the integer is out of range")
	}
	return n * unit
}

// size reads the size suffix of an integer. Digits that go on in another way, such as 5ms, are
// text.
func (p *parser) size(start scanner) any {
	digits := p.since(start)
	power := 1 + strings.IndexRune(sizeUnits, unicode.ToLower(p.peek()))
	p.next()
	base := int64(1000)
	binary := p.accept('i') || p.accept('I')
	if p.accept('b') || p.accept('B') || binary {
		base = 1024
	}
	if !p.endsValue(p.peek()) {
		text, _ := p.takeBare(start)
		return text
	}
	// 1024 to the power of 6 is 2 to the power of 60, which an int64 holds.
	unit := int64(1)
	for range power {
		unit *= base
	}
	return p.integer(start, digits, unit)
}

// isSizeUnit reports whether r begins a size suffix. Only ASCII counts: to unicode.ToLower, the
// Kelvin sign is a k too.
func isSizeUnit(r rune) bool {
	return r < unicode.MaxASCII && strings.ContainsRune(sizeUnits, unicode.ToLower(r))
}

// endsValue reports whether r ends a number. A ']' ends it only in an array; elsewhere 5] is text.
func (p *parser) endsValue(r rune) bool {
	return r == eof || r == p.closer || r != ']' && endsBare(r)
}

// decimal reads the rest of a float from its dot on. With a second dot it is an address, which is
// text, with its port. start is where the number began. It returns a float64 or a string.
func (s *scanner) decimal(start scanner) any {
	s.next()
	if s.take(isDigit) == "" {
		s.fail("a digit must follow the dot of a float; put text in quotes")
	}
	if s.peek() == '.' {
		s.take(func(r rune) bool { return isDigit(r) || strings.ContainsRune(".:-", r) })
		return s.since(start)
	}
	f, err := strconv.ParseFloat(s.since(start), 64)
	if err != nil {
		s.failAt(start.pos(), "the float is out of range")
	}
	return f
}

// date reads the rest of a date. Formatting it again finds what time.Parse accepts in addition,
// such as an hour of one digit.
func (s *scanner) date(start scanner) any {
	rest := s.text[start.offset:]
	text := rest[:min(len(dateFormat), len(rest))]
	t, err := time.Parse(dateFormat, text)
	if err != nil || t.Format(dateFormat) != text {
		s.failAt(start.pos(),
			"a date has the form %s; put text that begins with digits and '-' in quotes",
			dateFormat)
	}
	s.skip(len(text) - len(s.since(start)))
	return t
}
