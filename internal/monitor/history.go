package monitor

import (
	"slices"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// maxHistory is how many changes, and how many refusals, are remembered.
const maxHistory = 256

// Past is a change of an account that was made not long ago, or a JWT that was refused.
type Past struct {
	At      time.Time
	Account string // public key; of a refused JWT "" if it was put for none
	Name    string // as the JWT says: any text; "" if that is not known
	Result  string // accounts.Accepted, accounts.Deleted or accounts.Refused
	Reason  string // of a refusal: the word of the audit
	Origin  accounts.Origin
	Issuer  string // public key, as the JWT says
	// Changes are what has changed in meaning; nil for a JWT that was only issued anew. More is how
	// many were left out.
	Changes []claimdiff.Change
	More    int
}

// history remembers the last changes and the last refusals, in memory: the audit log has all.
// Clients can cause any number of refusals, so these have a ring of their own.
type history struct {
	mu                sync.Mutex // guards both
	changes, refusals ring
}

// ring keeps the last maxHistory. The zero ring is empty.
type ring struct {
	kept []Past
	next int // the place of the next one, once kept is full
}

// add adds one. It takes the place of the oldest if there is no room.
func (r *ring) add(p Past) {
	if len(r.kept) < maxHistory {
		r.kept = append(r.kept, p)
		return
	}
	r.kept[r.next] = p
	r.next = (r.next + 1) % maxHistory
}

// last returns all, the latest first. The result shares the slices in each Past.
func (r *ring) last() []Past {
	all := slices.Concat(r.kept[r.next:], r.kept[:r.next])
	slices.Reverse(all)
	return all
}

// remember adds a decision about an account. It keeps only texts of bounded length. v may be of a
// push that is still being answered.
func (h *history) remember(v accounts.Event) {
	if !trust.IsAccountKey(v.Account) && v.Account != "" {
		return // it is an activation token, or something that a client has made up
	}
	// The key may be a part of a whole URL, which would be kept with it, and the issuer any text.
	p := Past{At: time.Now(), Account: strings.Clone(v.Account), Name: v.Name, Result: v.Result,
		Reason: v.Reason, Origin: v.Origin, Issuer: logging.Cut(v.Issuer, trust.KeyLength),
		Changes: v.Changes, More: v.More}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch v.Result {
	case accounts.Accepted, accounts.Deleted:
		h.changes.add(p)
	case accounts.Refused:
		h.refusals.add(p)
	}
}

// Changes returns the last changes of accounts since the start, the latest first. The caller must
// not change what is in them.
func (m *Monitor) Changes() []Past {
	h := &m.Metrics.history
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes.last()
}

// Refusals returns the last JWTs that were refused, the latest first. Any client that may push can
// add to them, also with JWTs that no operator has signed.
func (m *Monitor) Refusals() []Past {
	h := &m.Metrics.history
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refusals.last()
}
