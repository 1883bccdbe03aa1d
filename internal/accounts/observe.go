package accounts

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"nats-account-server/internal/trust"
)

// Observer hears of every decision about a JWT, before whoever offered it gets an answer.
type Observer interface {
	Observe(Event)
}

// What became of a JWT that was offered.
const (
	Accepted  = "accepted"  // it is stored now
	Unchanged = "unchanged" // it was stored already
	Refused   = "refused"   // Reason says why
	Forwarded = "forwarded" // to the signing service, which has not signed it yet
	Deleted   = "deleted"   // by order of the operator, who is Issuer
)

// Event is one decision. What a stranger wrote may be anything.
type Event struct {
	Origin
	Result  string
	Reason  string // one word, "" unless refused
	Account string // key that it was offered for; of an activation token its hash
	Issuer  string // as the JWT says
	Old     *Version
	New     *Version
}

// Version tells JWTs of an account apart.
type Version struct {
	ID       string // jti
	IssuedAt int64  // Unix seconds
	Hash     string // SHA-256 of the JWT, in hex
	Size     int    // bytes
}

// Refuse tells the observer of a JWT that was refused before it came to the gate: its path names no account, or it did
// not arrive whole. reason may be "": then err says it.
func (r *Registry) Refuse(path string, token []byte, src Origin, reason string, err error) {
	if reason == "" {
		reason = Reason(err)
	}
	o := &offer{token: bytes.TrimSpace(token), src: src}
	o.head, _ = trust.Peek(o.token)
	if !trust.IsAccountKey(path) {
		path = "" // it may be anything
	}
	r.observe(path, o, Refused, reason)
}

// judged tells the observer what became of an offer.
func (r *Registry) judged(key string, o *offer, result Result, err error) {
	switch {
	case err != nil:
		r.observe(key, o, Refused, Reason(err))
	case result.Changed:
		r.observe(key, o, Accepted, "")
	default:
		r.observe(key, o, Unchanged, "")
	}
}

func (r *Registry) observe(key string, o *offer, result, reason string) {
	if r.observer == nil {
		return
	}
	v := Event{Origin: o.src, Result: result, Reason: reason, Account: key, Issuer: o.head.Issuer, Old: describe(o.old, o.stored)}
	if len(o.token) > 0 {
		v.New = describe(&o.head, o.token)
	}
	r.tell(v)
}

func (r *Registry) tell(v Event) {
	if r.observer != nil {
		r.observer.Observe(v)
	}
}

// describe returns nil for a JWT that is not there. head may be nil: what is stored is damaged.
func describe(head *trust.Head, token []byte) *Version {
	if token == nil {
		return nil
	}
	sum := sha256.Sum256(bytes.TrimSpace(token))
	v := &Version{Hash: hex.EncodeToString(sum[:]), Size: len(token)}
	if head != nil {
		v.ID, v.IssuedAt = head.ID, head.IssuedAt
	}
	return v
}

// reasons are the words for what Submit reports.
var reasons = []struct {
	err  error
	word string
}{
	{ErrBadJWT, "bad-jwt"},
	{ErrMismatch, "mismatch"},
	{ErrBadSubject, "bad-subject"},
	{ErrSelfSigned, "self-signed"},
	{ErrBadIssuer, "bad-issuer"},
	{ErrUntrusted, "untrusted"},
	{ErrBadPair, "bad-issuer"},
	{ErrNotOwn, "bad-issuer"},
	{ErrLesser, "older"},
	{ErrReadOnly, "read-only"},
	{ErrSystemAccount, "system-account"},
	{ErrNewer, "newer"},
	{ErrReplayed, "replayed"},
	{ErrSave, "save-failed"},
}

// Reason is the word for an error that Submit reports.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	switch {
	case isA[*BlockedError](err):
		return "blocked"
	case isA[*OlderError](err):
		return "older"
	case isA[*SignError](err):
		return "signing-failed"
	case isA[*DeletedError](err):
		return "deleted"
	case isA[*FutureError](err):
		return "future"
	case isA[*TooLargeError](err):
		return "too-large"
	default:
		return "refused"
	}
}

func isA[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}
