package natsconf

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Zulu is the only form of a date.
const zulu = "2006-01-02T15:04:05Z"

// units are the size suffixes in the order of their powers: 5k is 5*1000, 5kb, 5ki and 5kib are 5*1024.
const units = "kmgtpe"

// number reads what begins like a number: an integer, an integer with a size suffix, a float, a date, an address
// such as 127.0.0.1:4222, or text that only began with digits, such as 5s or 1:2.
//
// What a dash, a dot or a float begins must be one of these to its end. nats-server refuses the rest, so that a
// slip in a number is not taken for text.
func (p *parser) number() (any, error) {
	start := p.scanner
	negative := p.accept('-')
	if digits := p.take(isDigit); digits == "" {
		return nil, start.errorf("a number needs a digit first; put text that begins with '-' or '.' in quotes")
	}
	switch r := p.peek(); {
	case r == '.':
		return p.decimal(start)
	case r == '-' && !negative:
		return p.date(start)
	case isUnit(r):
		return p.sized(start)
	case negative || p.endsValue(r):
		return integer(start, p.text[start.offset:p.offset], 1)
	}
	// Whatever the first character behind the digits is, it belongs to the text: nats-server reads 5\x41 as it stands.
	p.next()
	return p.bareString(start)
}

// integer gives digits times unit, if that fits.
func integer(at scanner, digits string, unit int64) (any, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n*unit/unit != n {
		return nil, at.errorf("the integer is out of range")
	}
	return n * unit, nil
}

// sized reads a size suffix. Digits with anything else behind them, such as 5ms, are text.
func (p *parser) sized(start scanner) (any, error) {
	digits := p.text[start.offset:p.offset]
	power := 1 + strings.IndexRune(units, unicode.ToLower(p.peek()))
	p.next()
	base := int64(1000)
	if p.accept('i') || p.accept('I') {
		base = 1024
		_ = p.accept('b') || p.accept('B')
	} else if p.accept('b') || p.accept('B') {
		base = 1024
	}
	if !p.endsValue(p.peek()) {
		return p.bareString(start)
	}
	unit := int64(1)
	for range power {
		unit *= base
	}
	return integer(start, digits, unit)
}

// isUnit tests for a size suffix without the folding of the whole of Unicode, where a Kelvin sign is a k too.
func isUnit(r rune) bool {
	return r < unicode.MaxASCII && strings.ContainsRune(units, unicode.ToLower(r))
}

// decimal reads the fraction of a float. A second dot makes the whole an address.
func (p *parser) decimal(start scanner) (any, error) {
	p.next()
	if fraction := p.take(isDigit); fraction == "" {
		return nil, p.errorf("a digit must follow the dot of a float; put text in quotes")
	}
	if p.peek() == '.' {
		p.take(func(r rune) bool { return isDigit(r) || r == '.' || r == ':' || r == '-' })
		return p.text[start.offset:p.offset], nil
	}
	f, err := strconv.ParseFloat(p.text[start.offset:p.offset], 64)
	if err != nil {
		return nil, start.errorf("the float is out of range")
	}
	return f, nil
}

// date reads a date in full Zulu form. Package time would take an hour of one digit as well.
func (p *parser) date(start scanner) (any, error) {
	rest := p.text[start.offset:]
	text := rest[:min(len(zulu), len(rest))]
	t, err := time.Parse(zulu, text)
	if err != nil || t.Format(zulu) != text {
		return nil, start.errorf("a date has the form %s; put text that begins with digits and '-' in quotes", zulu)
	}
	for p.offset < start.offset+len(zulu) {
		p.next()
	}
	return t, nil
}
