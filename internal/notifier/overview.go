package notifier

import (
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// Counts is what has happened since this process began.
type Counts struct {
	Sessions     int // connections to NATS
	Acknowledged int // answers to announcements of latest changes
	Refused      int // the same
	NotLoaded    int // the same: of nats-servers that have not loaded the account
	Late         int // answers to announcements of changes that were replaced
}

// add counts an answer to an announcement.
func (c *Counts) add(isLatest bool, r result) {
	switch {
	case !isLatest:
		c.Late++
	case r == applied:
		c.Acknowledged++
	case r == refused:
		c.Refused++
	default:
		c.NotLoaded++
	}
}

// Refusal is that a nats-server has not taken an update.
type Refusal struct {
	Account, Reason string
	At              time.Time
}

// Overview is what is known about all accounts and nats-servers together.
type Overview struct {
	Configured bool // there is a NATS to announce on
	Connected  bool
	Counts
	Pending int // changes that some nats-server may lack
	Refused int // of these, those that a nats-server which is there has refused
	// Incomplete is how many stored accounts are not wholly in effect at some nats-server that has
	// acknowledged them.
	Incomplete int
	// Oldest is when the oldest change was committed that waits for an answer: of a nats-server
	// that is there and answers, or, without a connection, of any that is known. It is zero if
	// there is none. A change that was refused, or that a nats-server fetches when it needs it,
	// does not wait.
	Oldest time.Time
	// Waiting is for how long this process has seen the oldest one wait for nats-servers that are
	// there. It is 0 without a connection.
	Waiting time.Duration
	Servers []ServerOverview // by name
}

// ServerOverview is what is known about one nats-server.
type ServerOverview struct {
	Name, ID, Version, Cluster string // ID and Version are "" while it is away
	Resolver                   string // url or memory, cache, or "" if it is not known
	State                      ServerStanding
	Here                       bool // it has answered the last PING
	Pending                    int  // changes that it has not acknowledged
	Incomplete                 int  // accounts that it has acknowledged, and lacks a part of
	Seen                       time.Time
	Refusal                    Refusal // the last one of this process; zero: none
}

// ServerStanding says how a nats-server stands to the updates for it.
type ServerStanding int

// The order is that of States.
const (
	InStep   ServerStanding = iota // nothing is pending for it
	Lagging                        // something is
	Refusing                       // it has refused something that is pending
	Silent                         // it is away, or does not answer
)

// Standings are the words for them.
var Standings = [...]string{"in_step", "pending", "refusing", "silent"}

func (s ServerStanding) String() string { return Standings[s] }

// maxLooked bounds the changes that Overview looks at to find the oldest one that waits. Those
// before it are refused or need not be sent now, and are few.
const maxLooked = 10_000

// Overview counts all that is pending. For how long it has been it finds out from the oldest
// changes.
func (n *Notifier) Overview() Overview {
	all, byServer := n.outbox.CountPending()
	changes := n.outbox.PendingOf("", 0, maxLooked)
	n.mu.Lock()
	defer n.mu.Unlock()
	v := overviewer{n, Overview{Configured: n.configured, Connected: n.session != nil,
		Counts: n.counts, Pending: all, Incomplete: n.incomplete.count()}}
	refusing, incomplete := v.countRefused(), n.incomplete.byServer()
	for _, name := range n.outbox.Servers() {
		o := v.server(name, byServer[name], refusing[name])
		o.Incomplete = incomplete[name]
		v.Servers = append(v.Servers, o)
	}
	v.findOldest(changes)
	return v.Overview
}

// overviewer makes an Overview. The mu of its Notifier is held.
type overviewer struct {
	n *Notifier
	Overview
}

// countRefused counts the accounts that are refused, and returns the servers that do.
func (v *overviewer) countRefused() map[string]bool {
	n := v.n
	refusing := make(map[string]bool)
	if n.session == nil {
		return refusing
	}
	for _, a := range n.session.announcements.byKey {
		isRefused := false
		for name, said := range a.said {
			if said.state == accounts.ServerRefused && n.outbox.IsPending(name, a.Seq) {
				refusing[name], isRefused = true, true
			}
		}
		if isRefused {
			v.Refused++
		}
	}
	return refusing
}

// server describes one server.
func (v *overviewer) server(name string, pending int, refuses bool) ServerOverview {
	n := v.n
	o := ServerOverview{Name: name, Pending: pending, Seen: n.outbox.LastSeen(name),
		Refusal: n.refusals[name], State: Silent}
	if n.session == nil {
		return o
	}
	srv := n.session.servers.byName[name]
	if srv == nil {
		return o
	}
	o.Here, o.ID, o.Version, o.Cluster = true, srv.id, srv.version, srv.cluster
	o.Resolver = resolverWords[srv.resolver]
	switch {
	case refuses:
		o.State = Refusing
	case srv.state == silent:
	case pending > 0:
		o.State = Lagging
	default:
		o.State = InStep
	}
	return o
}

// resolverWords are the words for what is known of a server's resolver.
var resolverWords = map[resolverKind]string{fetching: "url or memory", caching: "cache"}

// findOldest finds the oldest change that waits for an answer.
func (v *overviewer) findOldest(changes []jwtstore.Change) {
	if v.n.session == nil {
		if len(changes) > 0 && len(v.Servers) > 0 {
			v.Oldest = changes[0].At
		}
		return
	}
	for _, c := range changes {
		for _, srv := range v.n.session.servers.byName {
			if !v.waits(srv, c) {
				continue
			}
			// What was committed before the server came has waited since then.
			at := later(c.At, srv.since)
			if v.Oldest.IsZero() || at.Before(v.Oldest) {
				v.Oldest = at
			}
			v.Waiting = max(v.Waiting, min(time.Since(c.Known), time.Since(srv.since)))
		}
		if v.Waiting > 0 {
			return
		}
	}
}

// waits reports whether an answer of a server to a change is to be expected.
func (v *overviewer) waits(srv *server, c jwtstore.Change) bool {
	if !v.n.outbox.IsPending(srv.name, c.Seq) {
		return false
	}
	state, _ := standings{v.n.session.announcements}.state(srv, c.Key, c.Seq)
	return state == accounts.ServerUnanswered || state == accounts.ServerNew
}
