package accounts

import (
	"bytes"
	"cmp"

	"nats-account-server/internal/trust"
)

// Wins reports whether what one server has of an account, or of an activation token, comes after
// what another one has: JWTs or tombstones, of which it is not known which one was accepted later.
// All servers come to the same answer. A JWT is newer than a tombstone only if it was issued after
// the order. Of two JWTs of one second, or two tombstones, the one with the greater SHA-256 wins.
func Wins(a, b []byte) bool {
	if at, than := timeOf(a), timeOf(b); at != than {
		return at > than
	}
	if isTombstone(a) != isTombstone(b) {
		return isTombstone(a)
	}
	hashA, hashB := trust.HashOf(a), trust.HashOf(b)
	return bytes.Compare(hashA[:], hashB[:]) > 0
}

// Newer reports whether a is newer than b: two stored JWTs of an account, or two tombstones of it,
// or a JWT than the one that was deleted. It does not matter whether the operator is trusted any
// more. A JWT that no operator signed is never the newer one, and any other JWT is newer than it.
// It is for two files of one account, where the index knows neither.
func Newer(key string, a, b []byte) bool {
	if isTombstone(a) {
		later, earlier := readTombstone(a), readTombstone(b)
		return cmp.Or(cmp.Compare(later.order.IssuedAt, earlier.order.IssuedAt),
			cmp.Compare(later.issuedAt, earlier.issuedAt)) > 0
	}
	newer, err := checkAnyOperator(key, a)
	switch {
	case err != nil:
		return false
	case isTombstone(b):
		return newer.IssuedAt > readTombstone(b).issuedAt
	}
	older, err := checkAnyOperator(key, b)
	return err != nil || newer.IssuedAt > older.IssuedAt
}

// WholeTombstone returns a stored tombstone with its line about the order. One of nats-server has
// none, and would look like the JWT that it bars. nil stays nil.
func WholeTombstone(text []byte) []byte {
	if text == nil || isTombstone(text) {
		return text
	}
	return deletionOrder{IssuedAt: timeOf(text)}.tombstoneOf(text)
}

// timeOf is when a stored JWT was issued, or a stored tombstone ordered. What is neither is older
// than all.
func timeOf(stored []byte) int64 {
	if isTombstone(stored) {
		t := readTombstone(stored)
		return max(t.issuedAt, t.order.IssuedAt)
	}
	at, ok := trust.IssuedAt(bytes.TrimSpace(stored)) // of an activation token too
	if !ok {
		return -1
	}
	return at
}
