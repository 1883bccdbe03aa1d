package trust

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"
)

// ErrPrivateKey is for a text with a private key in it. Nothing of such a text may be stored,
// logged or sent on.
var ErrPrivateKey = errors.New("there is a private key in it, which no server may have: send " +
	"the JWT alone, and replace that key if others may have seen it")

// seedLength is the length of the seed of a private key, in characters. It begins with "S": the
// seed of a user with "SU", of an account with "SA", of an operator with "SO".
const seedLength = 58

// Bare returns the JWT in a text: without the space around it, and without the lines BEGIN and END
// that nsc writes around a JWT. If the error is ErrPrivateKey the JWT is nil. With another error it
// is the text. The result is a part of text. It may be empty, and need not be a JWT.
func Bare(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if hasPrivateKey(text) {
		return nil, ErrPrivateKey
	}
	switch found := decorated(text); len(found) {
	case 0:
		return text, nil
	case 1:
		return found[0], nil
	default:
		return text, fmt.Errorf(textManyJWTs, len(found))
	}
}

// decorated returns what stands between the lines BEGIN and END, without the space around it. A
// line BEGIN without its END has nothing.
func decorated(text []byte) (found [][]byte) {
	begin, offset := -1, 0
	for line := range bytes.Lines(text) {
		end := offset
		offset += len(line)
		switch {
		case isMark(line, "BEGIN"):
			begin = offset
		case begin >= 0 && isMark(line, "END"):
			found = append(found, bytes.TrimSpace(text[begin:end]))
			begin = -1
		}
	}
	return found
}

// isMark reports whether a line is one with this word between dashes. Example: "-----BEGIN NATS
// ACCOUNT JWT-----". nsc writes five dashes, and others may write three.
func isMark(line []byte, word string) bool {
	line = bytes.TrimSpace(line)
	return bytes.HasPrefix(line, []byte("---")) && bytes.HasSuffix(line, []byte("---")) &&
		bytes.HasPrefix(bytes.TrimLeft(line, "-"), []byte(word+" "))
}

// hasPrivateKey reports whether a text has the seed of a private key in it, or the line that stands
// before a private key. No JWT has either. The checksum of a seed makes a word that is none by
// chance nearly impossible.
func hasPrivateKey(text []byte) bool {
	if bytes.Contains(text, []byte("NKEY SEED---")) ||
		bytes.Contains(text, []byte("PRIVATE KEY---")) {
		return true
	}
	// A seed is a word of base32. What stands around it is of another kind.
	for word := range bytes.FieldsFuncSeq(text, isNotBase32) {
		if len(word) == seedLength && word[0] == 'S' {
			if _, _, err := nkeys.DecodeSeed(word); err == nil {
				return true
			}
		}
	}
	return false
}
