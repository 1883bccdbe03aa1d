package accounts

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// What became of a JWT.
const (
	Accepted  = "accepted"  // it is stored now
	Unchanged = "unchanged" // it was stored already
	Refused   = "refused"   // Reason says why
	Forwarded = "forwarded" // the signing service has it, and has not signed it yet
	Deleted   = "deleted"   // the account was taken out; Issuer ordered it
)

// Event is one decision. What a client wrote may be anything.
type Event struct {
	Origin
	Result  string
	Reason  string                // one word, "" unless refused
	Account string                // key that the JWT was put for; of an activation token its hash
	Issuer  string                // as the JWT says
	Old     *logging.AuditVersion // what was stored; nil: nothing
	New     *logging.AuditVersion // what was put; nil: nothing
}

// AuditVersion describes a JWT. It is nil for no JWT. head is nil if the JWT is damaged.
func AuditVersion(head *trust.Head, token []byte) *logging.AuditVersion {
	if token == nil {
		return nil
	}
	return auditVersion(head, token, sha256.Sum256(bytes.TrimSpace(token)))
}

// auditVersion is AuditVersion for a JWT whose hash is known.
func auditVersion(head *trust.Head, token []byte, hash Digest) *logging.AuditVersion {
	v := &logging.AuditVersion{Hash: hex.EncodeToString(hash[:]), Size: len(token)}
	if head != nil {
		v.JTI, v.IAT = head.ID, head.IssuedAt
	}
	return v
}

// audit tells the Observer, if there is one.
type audit struct{ observer Observer }

func (a audit) observe(e Event) {
	if a.observer != nil {
		a.observer.Observe(e)
	}
}

// emit tells what became of an offer.
func (a audit) emit(o *offer, result, reason string) {
	if a.observer == nil {
		return
	}
	e := Event{Origin: o.from, Result: result, Reason: reason, Issuer: o.head.Issuer}
	if trust.IsAccountKey(o.key) {
		e.Account = o.key // else it may be anything
	}
	if c := &o.current; c.token != nil {
		e.Old = auditVersion(c.head, c.token, c.hash)
	}
	if len(o.token) > 0 {
		e.New = auditVersion(&o.head, o.token, o.hash)
	}
	a.observer.Observe(e)
}

// refused tells that an offer was refused.
func (a audit) refused(o *offer, err error) { a.emit(o, Refused, Reason(err)) }

// Refuse reports a JWT that was refused before it came to Put, since it did not arrive whole. An empty reason means that err says it.
func (r *Registry) Refuse(path string, token []byte, from Origin, reason string, err error) {
	if reason == "" {
		reason = Reason(err)
	}
	o := newOffer(path, bytes.TrimSpace(token), from, r.trust.Load())
	_ = o.read() // the event shows what can be read
	r.audit.emit(o, Refused, reason)
}

// SubjectOf is the account that a JWT claims to be of, unchecked; "" if it does not say.
func SubjectOf(token []byte) string {
	head, err := trust.Peek(bytes.TrimSpace(token))
	if err != nil {
		return ""
	}
	return head.Subject
}
