package accounts

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"time"

	"nats-account-server/internal/trust"
)

// Wins reports whether what one server has of an account, or of an activation token, comes after
// what another one has: JWTs or tombstones, of which it is not known which one was accepted later.
// All servers come to the same answer. A JWT is newer than a tombstone only if it was issued after
// the order. Of two JWTs of one second, or two tombstones, the one with the greater SHA-256 wins.
func Wins(a, b []byte) bool {
	hashA, hashB := sha256.Sum256(bytes.TrimSpace(a)), sha256.Sum256(bytes.TrimSpace(b))
	return cmp.Or(cmp.Compare(timeOf(a), timeOf(b)), compareFlags(isTombstone(a), isTombstone(b)),
		bytes.Compare(hashA[:], hashB[:])) > 0
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

// compareFlags orders false before true.
func compareFlags(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// userKey is the key of WithUser.
type userKey struct{}

// WithUser lets a Committer know which user has sent a change; "" is none.
func WithUser(ctx context.Context, user string) context.Context {
	if user == "" {
		return ctx
	}
	return context.WithValue(ctx, userKey{}, user)
}

// UserOf returns the user of WithUser.
func UserOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

// Revision is what a bucket keeps of one change of an account.
type Revision struct {
	Revision uint64
	At       time.Time
	Kind     string // way in, or "offer" for what a server had in its directory
	User     string // "" if none was asked for
	Server   string // host name of the account server
	Override bool   // it has replaced a newer one
	Deleted  bool
	JWT      []byte // nil if the account was deleted
}
