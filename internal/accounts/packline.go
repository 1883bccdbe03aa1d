package accounts

import "bytes"

// packSeparator stands between key and JWT in a line of a pack. Neither contains it.
const packSeparator = '|'

// AppendPackLine appends the line of a pack for one JWT, "key|JWT", to buf. It adds no line break.
func AppendPackLine(buf []byte, key string, token []byte) []byte {
	buf = append(append(buf, key...), packSeparator)
	return append(buf, token...)
}

// CutPackLine is the inverse of AppendPackLine. White space around the line is dropped. ok is false
// if the line is not one key and one JWT; key is then what stands before the first separator.
// Neither part is checked further.
func CutPackLine(line []byte) (key string, token []byte, ok bool) {
	before, token, found := bytes.Cut(bytes.TrimSpace(line), []byte{packSeparator})
	return string(before), token, found && bytes.IndexByte(token, packSeparator) < 0
}
