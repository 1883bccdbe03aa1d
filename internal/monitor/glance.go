package monitor

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"
)

// Glance is what the index says about all accounts together, as it was a moment ago.
type Glance struct {
	// Expired are stored, and Untrusted may have expired as well.
	Stored, Untrusted, Expired int
	// Week and Month are how many expire within 7 and within 30 days.
	Week, Month int
	// Soon has the accounts that expire next, and before them those that have expired in the last 7
	// days.
	Soon []Expiring
}

// Expiring is an account that expires soon, or has. Name is what the JWT says: any text. Expires is
// in UTC.
type Expiring struct {
	Key, Name string
	Expires   time.Time
}

// Glance reports false as long as it is not known: with very many accounts that takes a second or
// two after a start. It waits for maxWait at most.
func (m *Monitor) Glance() (g Glance, isKnown bool) {
	s, isKnown, _ := m.surveyed.look()
	g = Glance{Stored: s.stored, Untrusted: s.untrusted}
	for i, l := range lifetimes {
		switch {
		case l.label == "expired":
			g.Expired = s.byExpiry[i]
		// Each lifetime has only what no shorter one has, so Month adds them up.
		case l.until > 0:
			if g.Month += s.byExpiry[i]; l.until <= 7*day {
				g.Week += s.byExpiry[i]
			}
		}
	}
	for _, e := range s.soon {
		g.Soon = append(g.Soon, Expiring{e.key, e.name, time.Unix(e.expires, 0).UTC()})
	}
	return g, isKnown
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
	o, h := m.overview(), fnv.New64a()
	fmt.Fprintln(h, m.Store.Index().Changes(), o.Configured, o.Connected, o.Counts, o.Pending,
		o.Refused, o.Incomplete, o.Oldest.Unix())
	for _, s := range o.Servers {
		fmt.Fprintln(h, s.Name, s.ID, s.State, s.Here, s.Pending, s.Incomplete, s.Refusal)
	}
	for _, p := range m.Refusals(1) {
		fmt.Fprintln(h, p.At)
	}
	ready := m.Ready()
	for _, name := range readyParts {
		fmt.Fprintln(h, ready.Parts[name].Ready, ready.Parts[name].Note)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// OldestPending returns when the oldest change was committed that waits for the answer of a
// nats-server; the zero time: none does.
func (m *Monitor) OldestPending() time.Time { return m.overview().Oldest }

// Pending returns how many changes some nats-server may lack.
func (m *Monitor) Pending() int { return m.overview().Pending }

// Incomplete returns how many accounts are not wholly in effect at some nats-server.
func (m *Monitor) Incomplete() int { return m.overview().Incomplete }
