package accounts

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
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
	Result  string                // Accepted and so on
	Reason  string                // one word, "" unless refused
	Account string                // key that the JWT was put for, unchecked; of a token its hash
	Issuer  string                // as the JWT says
	Old     *logging.AuditVersion // what was stored; nil: nothing
	New     *logging.AuditVersion // what was put; nil: nothing
	Name    string                // of the account, as the JWT says, but cut; "" if not known
	// Changes are what differs in meaning from what was stored, if this is stored now: nil for a
	// JWT that was only issued anew. Of a new account they say no more than that. More is how many
	// were left out.
	Changes []claimdiff.Change
	More    int
}

// maxChanges bounds the changes of an Event, and maxChangeText the bytes of a text that a tenant
// chose.
const (
	maxChanges    = 20
	maxChangeText = 128
)

// AuditVersion describes a JWT for the audit log. It is nil for no JWT.
func (a *Account) AuditVersion() *logging.AuditVersion {
	if a == nil || a.JWT == nil {
		return nil
	}
	return &logging.AuditVersion{
		JTI:  a.ID,
		IAT:  a.IssuedAt,
		Hash: hex.EncodeToString(a.Hash[:]),
		Size: len(a.JWT),
	}
}

// Observer is told every decision about a JWT, before its sender gets an answer. An error says that
// the sender must learn that the decision is not on record. It changes nothing in the decision.
type Observer interface {
	Observe(Event) error
}

// observe tells the Observer a decision, and returns an ErrAudit for its error.
func (c *catalog) observe(e Event) error {
	if c.Observer == nil {
		return nil
	}
	if err := c.Observer.Observe(e); err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return nil
}

// observeRefused tells the Observer of something that is refused. The sender gets an error anyway.
func (c *catalog) observeRefused(e Event, reason string) {
	e.Result, e.Reason = Refused, reason
	_ = c.observe(e)
}

// event is what became of an offer. It leaves out the key of a path that names no account: that was
// not meant as a key.
func (o *offer) event(result string) Event {
	e := Event{
		Origin:  o.from,
		Result:  result,
		Account: o.Key,
		Issuer:  o.Issuer,
		Old:     o.current.stored.AuditVersion(),
		New:     o.AuditVersion(),
		Name:    logging.Cut(o.Name, maxChangeText),
	}
	if o.from.Kind == KindHTTP && !trust.IsAccountKey(o.Key) {
		e.Account = ""
	}
	return e
}

// difference adds to an event what an offer that is stored now has changed. It returns the claims
// that the offer has replaced; nil if there are none, or they can't be read.
func (e *Event) difference(o *offer) (replaced *jwt.AccountClaims) {
	if had := o.current.stored; had == nil {
		e.Changes = []claimdiff.Change{claimdiff.Added(o.Key, o.Name)}
	} else if replaced = had.Claims(); replaced != nil {
		e.Changes = claimdiff.Diff(replaced, o.claims)
	}
	if len(e.Changes) > maxChanges {
		e.Changes, e.More = slices.Clone(e.Changes[:maxChanges]), len(e.Changes)-maxChanges
	}
	for i := range e.Changes {
		e.Changes[i].Of = logging.Cut(e.Changes[i].Of, maxChangeText)
	}
	return replaced
}

// Refuse reports a JWT that was refused before it came to Put, since it did not arrive whole. An
// empty reason means that err says it.
func (r *Registry) Refuse(path string, token []byte, from Origin, reason string, err error) {
	o := newOffer(path, token, from, r.trust.Load())
	_ = o.read() // the event shows what can be read
	r.observeRefused(o.event(Refused), cmp.Or(reason, Reason(err)))
}
