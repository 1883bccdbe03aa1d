package jwtstore

import (
	"encoding/base32"
	"encoding/binary"

	"nats-account-server/internal/trust"
)

// appendText appends the length of s and s.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// flagIf returns the flag, or 0 if it is not set.
func flagIf(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

// keyBytes is how many bytes a key has in base32: eight characters are five bytes.
const keyBytes = trust.KeyLength * 5 / 8

// appendKeys appends keys, which follow each other, without a length.
func appendKeys(b []byte, keys string) []byte {
	b, _ = base32.StdEncoding.AppendDecode(b, []byte(keys))
	return b
}

// looksLikeKey reports whether appendKeys can encode a text as a key.
func looksLikeKey(text string) bool { return len(text) == trust.KeyLength && trust.IsBase32(text) }

// decoder takes numbers, texts and the like off a slice. Once something is wrong it is bad and
// gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

// bytes takes n bytes; zeros if they are not there. The result is a part of what is decoded.
func (d *decoder) bytes(n int) []byte {
	if len(d.rest) < n {
		d.fail()
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// fail records that something is wrong.
func (d *decoder) fail() { d.bad, d.rest = true, nil }

// uvarint takes an unsigned number.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.advance(n)
	return v
}

// varint takes a signed number.
func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.advance(n)
	return v
}

// advance takes the n bytes of a number off. As encoding/binary has it, there is none if n is 0 or
// negative.
func (d *decoder) advance(n int) {
	if n <= 0 {
		d.fail()
		return
	}
	d.rest = d.rest[n:]
}

// count takes a number of things of at least one byte each. More than there are bytes is wrong, so
// that no memory is asked for on the word of a damaged file.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return 0
	}
	return int(n)
}

// text takes what appendText has written. It is a copy.
func (d *decoder) text() string { return string(d.bytes(d.count())) }

// keys takes n keys, which appendKeys has written.
func (d *decoder) keys(n int) string {
	return base32.StdEncoding.EncodeToString(d.bytes(n * keyBytes))
}
