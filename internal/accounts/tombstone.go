package accounts

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"nats-account-server/internal/trust"
)

// tombstone is what is kept of a deleted account. In the store it is the JWT, as nats-server keeps
// it too, and a line of JSON about the order after it.
//
//	eyJ0eXAi…
//	{"deleted":1795433158,"by":"O…","order":"6c0f…"}
type tombstone struct {
	issuedAt int64 // iat of the newest JWT that was deleted, Unix seconds
	order    deletionOrder
}

// deletionOrder is why an account was deleted.
type deletionOrder struct {
	IssuedAt int64  `json:"deleted"` // iat of the order, Unix seconds
	Issuer   string `json:"by"`      // "" if no operator ordered it
	Hash     string `json:"order"`   // SHA-256 of the order, in hex: it is carried out once
	// Newest is the iat of the newest JWT that was accepted, if the one that was stored is damaged
	// or older: it is deleted too. 0 if it is not.
	Newest int64 `json:"newest,omitempty"`
}

// after returns the order with what the tombstone before it bars besides. That may have a later
// time: what has expired, or was removed by hand, need not be newer than the last order. head is
// that of the JWT that is deleted now.
func (o deletionOrder) after(had *tombstone, head trust.Head) deletionOrder {
	if had == nil {
		return o
	}
	o.IssuedAt = max(o.IssuedAt, had.order.IssuedAt)
	if had.issuedAt > max(o.Newest, head.IssuedAt) {
		o.Newest = had.issuedAt
	}
	return o
}

// tombstoneOf is the tombstone of a JWT as it is stored. A dash stands for one whose file is gone.
func (o deletionOrder) tombstoneOf(token []byte) []byte {
	text, _ := json.Marshal(o) // texts and numbers can't fail
	if token = bytes.TrimSpace(token); len(token) == 0 {
		token = []byte{'-'}
	}
	return slices.Concat(token, []byte{'\n'}, text, []byte{'\n'})
}

// isTombstone reports whether a stored text has a line after the JWT. A tombstone of nats-server
// has none: it is compared like a JWT.
func isTombstone(text []byte) bool { return bytes.ContainsRune(bytes.TrimSpace(text), '\n') }

// readTombstone reads nats-server's tombstones as well, which have no line after the JWT. nil means
// none.
func readTombstone(text []byte) *tombstone {
	if text == nil {
		return nil
	}
	token, rest, _ := bytes.Cut(bytes.TrimSpace(text), []byte{'\n'})
	token = bytes.TrimSpace(token)
	t := &tombstone{}
	if head, err := trust.Peek(token); err == nil {
		t.issuedAt = head.IssuedAt
	}
	if json.Unmarshal(rest, &t.order) != nil {
		t.order = deletionOrder{IssuedAt: t.issuedAt}
	}
	t.issuedAt = max(t.issuedAt, t.order.Newest)
	return t
}

// check returns why an offer may not bring the account back, nil if it may. Older JWTs than the
// deleted one, and those of its second, never may. A peer may have missed the deletion: what it
// passes on must be newer than the order. A file always may.
func (t *tombstone) check(o *offer) error {
	switch {
	case t == nil, o.from.File:
		return nil
	case o.IssuedAt > t.issuedAt && (!o.from.Peer || o.IssuedAt > t.order.IssuedAt):
		return nil
	}
	return &DeletedError{At: time.Unix(t.order.IssuedAt, 0)}
}
