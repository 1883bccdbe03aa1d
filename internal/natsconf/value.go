// Package natsconf reads the NATS configuration language into a tree of values that know where they stand.
//
// It knows the language and nothing else: what a key means is the caller's business, so a map keeps every entry
// in file order, the doubled ones too.
package natsconf

import "fmt"

// Pos is a place in a configuration text.
type Pos struct {
	File   string // as it was given or included; "" for text that came from no file
	Line   int    // from 1
	Column int    // from 1, in characters
}

// String gives "file:line:column", or "line:column" without a file.
func (p Pos) String() string {
	if p.File == "" {
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Value is one value and where it begins.
//
// Data is one of: *Map, []Value, string, int64, float64, bool, time.Time (UTC).
type Value struct {
	Pos  Pos
	Data any
}

// Map is the content of a file, an include or a { } block, in file order. Doubled keys are kept.
type Map struct {
	Pos     Pos // of its opening brace; of the first character for a file
	Entries []Entry
}

// Entry is one key of a map with its value.
type Entry struct {
	Key   string // as written, without quotes
	Pos   Pos    // of the key
	Value Value
	Used  bool // some $variable took its value from here
}

// Error is a mistake in a configuration text.
type Error struct {
	Pos Pos
	Msg string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Msg }
