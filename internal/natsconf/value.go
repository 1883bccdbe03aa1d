// Package natsconf reads the NATS configuration language into a tree of values with their
// positions.
//
// The package knows the language and nothing else. What a key means, and whether it may be given
// twice, is for the caller to decide: a Map keeps every entry, in the order of the file.
//
// # Files
//
// In the order in which to read them:
//
//	value.go    the tree: Value, Map, Entry and Pos
//	parse.go    a file or a text becomes a tree
//	scan.go     one character after the other, with its position
//	text.go     strings: bare, quoted and blocks
//	number.go   numbers, sizes such as 1MB, dates
//	scope.go    $variables, and the environment
//	include.go  include files
package natsconf

import "fmt"

// Pos is a position in a configuration text.
type Pos struct {
	File   string // as the caller or the include names it; "" for a text without a file
	Line   int    // from 1
	Column int    // from 1, in characters
}

// String returns "file:line:column", or "line:column" if there is no file.
func (p Pos) String() string {
	if p.File == "" {
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Value is one value and the position where it begins.
//
// Data is one of: *Map, []Value, string, int64, float64, bool, time.Time (UTC).
type Value struct {
	Pos  Pos
	Data any
}

// String returns the value as fmt prints Go's values.
func (v Value) String() string { return fmt.Sprint(v.Data) }

// Map is the content of a file, of an include or of a { } block, in the order of the file. A key
// that is given twice has two entries.
type Map struct {
	Pos     Pos // of the opening brace, or of the first character of a file
	Entries []Entry

	// Surplus has the positions of braces in a file that close nothing. Like nats-server, the
	// package overlooks them. But one that is followed by something else than the end of the text
	// is the key "}", or the beginning of a key.
	Surplus []Pos
}

// String returns the map as fmt prints Go's maps: sorted, and with the last value of each key.
func (m *Map) String() string {
	all := map[string]Value{}
	for _, e := range m.Entries {
		all[e.Key] = e.Value
	}
	return fmt.Sprint(all)
}

// Entry is one key of a map with its value.
type Entry struct {
	Key   string // without quotes, in the letter case of the file
	Pos   Pos    // of the key
	Value Value
	Used  bool // a $variable took its value from this entry
}

// Error is a mistake in a configuration text.
type Error struct {
	Pos Pos
	Msg string // without the position
}

// Error returns the position and the message.
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Msg }
