package notifier

import (
	"container/heap"
	"log/slog"
	"math/rand/v2"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

const (
	// maxInFlight bounds the announcements in flight; each is answered by every nats-server.
	maxInFlight = 128
	// answerTimeout is how long a nats-server has to answer before a change is announced again.
	answerTimeout = 2 * time.Second
	// heardTimeout is how long a nats-server has to apply a change that it has heard, before that
	// is to be confirmed.
	heardTimeout = 500 * time.Millisecond
	// maxTaken is how many changes are taken up at once for a server that was away.
	maxTaken = 1000
	// maxWaiting is how many announcements may be in memory when another one waits for a server.
	maxWaiting = 10_000
)

// announcements are changes that some server has not acknowledged. Those that are only pending for
// servers which are not there, or do not answer, are in the Outbox. They are taken up, some at a
// time, when such a server answers.
type announcements struct {
	n       *Notifier
	servers *servers
	byKey   map[string]*announcement
	schedule
	first      int // number of the session's first attempt
	maxWaiting int // see maxWaiting
}

// newAnnouncements returns the oldest one that is pending, for the probes of unknown. The others
// are taken up when a server answers that lacks them.
func newAnnouncements(n *Notifier, servers *servers) *announcements {
	p := &announcements{
		n:          n,
		servers:    servers,
		byKey:      make(map[string]*announcement),
		schedule:   schedule{active: make(map[string]*announcement)},
		first:      n.attempts + 1,
		maxWaiting: maxWaiting,
	}
	for _, c := range n.outbox.PendingOf(servers.unknown.name, 0, 1) {
		p.get(c).owed = true
	}
	return p
}

// takeUpMore takes up some more of what a server lacks that answers, when all that was taken up
// before is on its way.
func (p *announcements) takeUpMore(now time.Time) {
	for _, srv := range p.servers.byName {
		if srv.getsMore() && p.isIdle(now) && !p.servers.discovering {
			p.takeUp(srv, now)
		}
	}
}

// takeUp queues some of what a server lacks that has turned out to answer, the oldest first. That
// is to be confirmed first, see afterAbsence. What its cache lacks waits for a client instead.
func (p *announcements) takeUp(srv *server, now time.Time) {
	some := p.n.outbox.PendingOf(srv.name, srv.taken, maxTaken)
	for _, c := range some {
		a := p.get(c)
		srv.taken, a.owed = c.Seq, true
		if a.state == waiting && !a.notCached[srv.name] {
			a.intend(returns)
			p.apply(a, wanted, now)
		}
	}
	srv.isBehind = len(some) == maxTaken
}

// apply changes the state of an announcement, and the queue with it. due counts if it is queued
// then. An event that the table does not list changes nothing.
func (p *announcements) apply(a *announcement, e event, due time.Time) {
	next, listed := announcementTable[a.state][e]
	if !listed {
		return
	}
	p.remove(a)
	a.state, a.due = next, due
	switch next {
	case queued:
		heap.Push(&p.queue, a)
	case inFlight:
		p.active[a.Key] = a
	}
}

// remove takes an announcement out of the queue, and of those in flight. It waits then.
func (p *announcements) remove(a *announcement) {
	switch a.state {
	case queued:
		heap.Remove(&p.queue, a.index)
	case inFlight:
		p.recordUnanswered(a)
	}
	delete(p.active, a.Key)
	a.state = waiting
}

// get returns the announcement of an account. If there is none it adds one, which waits for a
// server.
func (p *announcements) get(c jwtstore.Change) *announcement {
	a := p.byKey[c.Key]
	if a == nil {
		a = &announcement{Change: c, notCached: make(map[string]bool),
			said: make(map[string]outcome)}
		p.byKey[c.Key] = a
		p.n.unanswered.changed(c.Key, c.Seq, time.Now())
	}
	return a
}

// add queues a change before everything that waits for its time. A newer one takes the place of the
// older one of the same account. The same one again is repeated, unless that is to happen anyway.
func (p *announcements) add(c jwtstore.Change) *announcement {
	a := p.get(c)
	isNewer := c.Seq > a.Seq
	if isNewer {
		a.intend(replaced)
		a.Change, a.tries, a.owed = c, 0, false
		a.announced, a.repeats, a.repeatAt = false, 0, time.Time{}
		clear(a.notCached)
		clear(a.said)
	}
	if isNewer || a.state == waiting {
		p.apply(a, wanted, time.Time{})
	}
	p.n.unanswered.changed(c.Key, c.Seq, time.Now())
	return a
}

// addHeard takes up a change that the servers should have heard: it is only to be confirmed. If
// they lack an earlier one it is not known in which order they get the two, and this one is
// announced.
func (p *announcements) addHeard(c jwtstore.Change) {
	p.n.unanswered.heard(c.Key, c.Seq, time.Now())
	if p.byKey[c.Key] != nil {
		p.add(c)
		return
	}
	a := p.get(c)
	a.intend(heard)
	p.apply(a, wanted, c.Known.Add(heardTimeout+rand.N(p.n.heardSpread+1)))
}

// acknowledge records that a server has a change, and whether it has loaded the account. It logs
// when the last server that counts has got a change that was owed.
func (p *announcements) acknowledge(srv *server, a *announcement, isLoaded bool) {
	isNew := p.n.outbox.IsPending(srv.name, a.Seq)
	p.n.outbox.Acknowledge(srv.name, a.Seq)
	p.n.results.set(a.Key, srv.name, isLoaded)
	a.applied = a.applied || isLoaded
	if isNew {
		p.n.delivered(time.Since(a.Known))
	}
	if isNew && a.owed && !(standings{p}).isLacking(a, accounts.ServerUnanswered) {
		a.owed = false
		p.n.notes.add(slog.LevelInfo,
			"%s - the update of %s is delivered at last: every connected "+
				"nats-server that uses the account has it", logging.ShortKey(a.Key),
			logging.Time(a.At))
	}
}

// finishAcknowledged removes an announcement that every server has acknowledged, and reports
// whether it did. While no server is known, or not all may be, none is removed.
func (p *announcements) finishAcknowledged(a *announcement) bool {
	lacks := func(srv *server) bool { return p.n.outbox.IsPending(srv.name, a.Seq) }
	if len(p.servers.byName) == 0 || p.servers.discovering || p.servers.any(lacks) {
		return false
	}
	p.finish(a)
	return true
}

// finishAllAcknowledged removes all that every server has acknowledged. Of very many it forgets
// those that wait, see await.
func (p *announcements) finishAllAcknowledged() {
	for _, a := range p.byKey {
		if !p.finishAcknowledged(a) && a.state == waiting {
			p.await(a)
		}
	}
}

// finish removes an announcement. What absent servers lack stays in the Outbox.
func (p *announcements) finish(a *announcement) {
	p.remove(a)
	delete(p.byKey, a.Key)
	p.askIfApplied(a)
	a.release()
}

// askIfApplied has servers that have acknowledged a JWT asked whether it is wholly in effect.
func (p *announcements) askIfApplied(a *announcement) {
	i := p.n.incomplete
	if a.applied && (a.mayLack || i.has(a.Key)) {
		i.ask(a.Key)
	}
	if a.applied {
		i.changed(a.Key)
	}
	a.applied = false
}

// serverAppeared prepares for a new process, and reports whether it lacks anything.
func (p *announcements) serverAppeared(name string) (lacksAny bool) {
	for _, a := range p.byKey {
		delete(a.notCached, name) // by the process that had the name before
		delete(a.said, name)
		a.owed = a.owed || p.n.outbox.IsPending(name, a.Seq)
	}
	return len(p.n.outbox.PendingOf(name, 0, 1)) > 0
}
