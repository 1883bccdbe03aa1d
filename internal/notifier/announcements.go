package notifier

import (
	"container/heap"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	// connectInterval is the least time between two announcements that clients cause which connect
	// to a cache.
	connectInterval = time.Second
	// sparingInterval is the wait before an account is announced again that is not wholly in effect
	// somewhere, if a server lacks it still. It doubles each time up to maxSparing.
	sparingInterval = time.Minute
	maxSparing      = time.Hour
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

// take returns what is to be sent now, and begins those attempts.
func (p *announcements) take(now time.Time) (batch []outgoing) {
	if p.servers.discovering {
		return nil
	}
	for p.hasDue() && !now.Before(p.queue[0].due) {
		// A change that is pending for absent servers only is not sent.
		if a := p.queue[0]; !p.finishAcknowledged(a) {
			batch = append(batch, p.begin(a, now))
		}
	}
	// A probe is the oldest change that the server lacks, whether that is due or not. All other
	// servers get it, too. One that is due was begun above: no probe may hold it up.
	for _, srv := range p.servers.takeProbes(now) {
		if a := p.oldestFor(srv); a != nil && a.state != inFlight {
			if srv.takeConfirmation(a.Seq, now) {
				a.intend(returns)
			}
			batch = append(batch, p.begin(a, now))
		}
	}
	return batch
}

// begin begins an attempt. Answers to the attempt before may still acknowledge the change, but they
// do not end this one. An account that is spared is not announced: the servers are asked what they
// run.
func (p *announcements) begin(a *announcement, now time.Time) outgoing {
	if (confirmations{p}).isSpared(a) {
		a.intend(spares)
	}
	p.n.attempts++
	o := outgoing{a.Change, p.n.attempts, a.next}
	if a.number > 0 && a.seq == a.Seq && !o.purpose.confirms() {
		p.n.repeated()
	}
	a.attempt = attempt{
		number: o.number, seq: a.Seq, isConfirmation: o.purpose.confirms(), sent: now,
		answered: make(map[string]bool),
	}
	a.announced = a.announced || !a.isConfirmation
	a.intend(begins)
	p.apply(a, sent, time.Time{})
	return o
}

// oldestFor returns the oldest change that a server lacks, nil if there is none. It may look at all
// changes; probes are rare enough for that. For unknown it looks at what has been taken up.
func (p *announcements) oldestFor(srv *server) (oldest *announcement) {
	if srv != p.servers.unknown {
		for _, c := range p.n.outbox.PendingOf(srv.name, 0, 1) {
			oldest = p.get(c)
			oldest.owed = true
		}
		return oldest
	}
	for _, a := range p.byKey {
		if (oldest == nil || a.Seq < oldest.Seq) && p.n.outbox.IsPending(srv.name, a.Seq) {
			oldest = a
		}
	}
	return oldest
}

// next returns when take or endOverdue have something to do, at the latest the moment given.
func (p *announcements) next(latest time.Time) time.Time {
	now := time.Now()
	switch {
	case p.servers.discovering:
	case p.isIdle(now) && p.servers.any((*server).getsMore):
		latest = earlier(latest, now)
	case p.hasDue():
		latest = earlier(latest, p.queue[0].due)
	}
	for _, a := range p.active {
		latest = earlier(latest, a.sent.Add(answerTimeout))
	}
	return latest
}

// endOverdue ends the attempts that have waited long enough for answers. Servers that should have
// answered and did not are silent from now on. No confirmation shows anything of that kind.
func (p *announcements) endOverdue(now time.Time) {
	for _, a := range p.active {
		if now.Sub(a.sent) < answerTimeout {
			continue
		}
		for _, srv := range p.outstanding(a) {
			switch {
			case a.next.confirms():
			case !a.sent.Before(srv.since):
				delete(a.said, srv.name)
				p.servers.apply(srv, misses, now)
			case srv.isResponsive():
				a.retry(now) // it has appeared since, and may not have got it
			}
		}
		p.end(a)
	}
}

// endIfAnswered ends an attempt when every server has answered that lacks the change. It does not
// wait for silent servers: they may never answer an update.
func (p *announcements) endIfAnswered(a *announcement) {
	left := p.outstanding(a)
	isWaiting := a.next.confirms() && len(left) > 0 || slices.ContainsFunc(left, (*server).mayAnswer)
	if !isWaiting && a.found == 0 {
		p.end(a)
	}
}

// outstanding returns the servers that lack a change and have not answered the last attempt.
func (p *announcements) outstanding(a *announcement) (left []*server) {
	for name, srv := range p.servers.byName {
		if !a.answered[name] && p.n.outbox.IsPending(name, a.Seq) {
			left = append(left, srv)
		}
	}
	return left
}

// goOn ends an attempt if the answer that has just come allows it. One that comes after the end may
// demand the next attempt.
func (p *announcements) goOn(a *announcement) {
	switch a.state {
	case inFlight:
		p.endIfAnswered(a)
	case waiting:
		p.end(a)
	}
}

// end ends an attempt. A change that only silent servers and caches without the account lack waits
// for a server, any other for some time.
func (p *announcements) end(a *announcement) {
	if p.finishAcknowledged(a) {
		return
	}
	if a.next.confirms() {
		confirmations{p}.end(a)
		return
	}
	a.owed = a.owed || standings{p}.isLacking(a, accounts.ServerNeverAnswered)
	p.askIfApplied(a)
	if a.retryAt.IsZero() {
		p.await(a)
	} else {
		p.apply(a, wanted, a.retryAt)
	}
	a.release()
}

// await has an announcement wait for a server. If there are very many it is forgotten: the Outbox
// has the change, which is taken up again for that server, or for a caller that waits.
func (p *announcements) await(a *announcement) {
	p.apply(a, waits, time.Time{})
	if a.state == waiting && len(p.byKey) > p.maxWaiting {
		p.finish(a)
	}
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
	isApplied, i := a.applied && p.n.facts != nil, p.n.incomplete
	if isApplied && (a.mayLack || i.has(a.Key)) {
		i.ask(a.Key)
	}
	if isApplied {
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
