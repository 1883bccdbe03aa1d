package monitor

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"
)

// Glance is what the index says about all accounts together, as it was a moment ago. The caller
// must not change Soon.
type Glance struct {
	// Stored has no deleted account. Expired are stored, and Untrusted, which are not served, may
	// have expired as well.
	Stored, Untrusted, Expired int
	// Week and Month are how many expire within 7 and within 30 days.
	Week, Month int
	// Soon has the accounts that expire next, and before them those that have expired in the last 7
	// days. It is in the order of expiry.
	Soon []Expiring
}

// Expiring is an account that expires soon, or has. Name is what the JWT says: any text. Times are
// in UTC.
type Expiring struct {
	Key, Name       string
	Expires, Issued time.Time
}

// Glance reports false as long as it is not known: with very many accounts that takes a second or
// two after a start. It waits for maxWait at most.
func (m *Monitor) Glance() (g Glance, isKnown bool) {
	s, isKnown, _ := m.surveyed.look()
	return s.Glance, isKnown
}

// Began returns when this process has begun to watch.
func (m *Monitor) Began() time.Time { return m.start }

// Version is another text when there is something new to see: a change of an account, or of what
// nats-servers have, or of the state of this server. Pages compare it with the one that they show.
// It is cached, so that any number of open pages costs one look in 500 ms. Example:
// "5d41402abc4b2a76". It is no order: two texts say only "same" or "not the same".
func (m *Monitor) Version() string { return m.versions.get() }

// version finds out the version: a hash of what pages show. It need not be safe from collisions.
func (m *Monitor) version() string {
	o, h := m.Overview(), fnv.New64a()
	fmt.Fprintln(h, m.Index.Changes(), o.Configured, o.Connected, o.Counts, o.Pending,
		o.Refused, o.Incomplete, o.Oldest.Unix())
	for _, s := range o.Servers {
		fmt.Fprintln(h, s.Name, s.ID, s.State, s.Here, s.Pending, s.Incomplete, s.Refusal)
	}
	if refusals := m.Refusals(); len(refusals) > 0 {
		fmt.Fprintln(h, refusals[0].At)
	}
	ready := m.Ready()
	for _, name := range readyParts {
		fmt.Fprintln(h, ready.Parts[name].Ready, ready.Parts[name].Note)
	}
	return hex.EncodeToString(h.Sum(nil))
}
