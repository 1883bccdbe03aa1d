package notifier

import (
	"container/heap"
	"fmt"
	"time"

	"nats-account-server/internal/jwtstore"
)

const (
	// maxInFlight bounds the announcements in flight; each is answered by every nats-server.
	maxInFlight = 128
	// answerTimeout is how long a nats-server has to answer before a change is announced again.
	answerTimeout = 2 * time.Second
	// skipWindow is how long after the commit "skipped" proves nothing: the nats-server has not
	// loaded the account, but may be fetching it now and have got the JWT of before.
	skipWindow = 3 * time.Second
	// maxBackoff bounds the wait before a change is announced again that was refused or could not
	// be sent.
	maxBackoff = 10 * time.Minute
	// connectInterval is the least time between two announcements that clients cause which connect
	// to a cache.
	connectInterval = time.Second
	// heardTimeout is how long a nats-server has to apply a change that it has heard, before it is
	// asked.
	heardTimeout = 500 * time.Millisecond
)

// followUp is what follows when an attempt has ended. If its answers call for several, the greatest
// counts.
type followUp int

const (
	noFollowUp   followUp = iota // only a server can cause the next attempt
	afterBackoff                 // a server has refused the JWT, or it could not be sent
	afterConnect                 // a client has connected to the account where it was not cached
	afterSkip                    // a server has skipped the JWT too early to count
)

// announcement is one account's latest change on its way to the nats-servers.
type announcement struct {
	jwtstore.Change
	state    state
	due      time.Time  // of a queued one: when it is sent
	index    int        // in the queue; -1 when it is not there
	tries    int        // how often it was put off since it was refused or could not be sent
	receipts []*receipt // closed when the attempt ends
	// notCached has the servers whose cache lacks the account. A server leaves it when a client
	// connects to the account there.
	notCached map[string]bool
	attempt
}

// attempt is what is known about the last time that a change was announced, or the servers were
// asked.
type attempt struct {
	number   int // 0 before the first
	sent     time.Time
	flushed  bool              // the connected server has taken it
	answered map[string]bool   // servers that have answered
	refused  map[string]string // reasons, by server; "" stands for all
	followUp followUp
}

// newAnnouncement returns one that waits for a server. A change with only a key stands for none
// yet.
func newAnnouncement(c jwtstore.Change) *announcement {
	return &announcement{Change: c, index: -1, notCached: map[string]bool{}}
}

// refuse records that a server has not taken the change. "" as the server stands for all of them.
// An attempt must have begun.
func (a *announcement) refuse(server, reason string) {
	a.refused[server] = reason
	a.followUp = max(a.followUp, afterBackoff)
}

// release tells those that wait for the end of the attempt.
func (a *announcement) release() {
	for _, r := range a.receipts {
		close(r.answered)
	}
	a.receipts = nil
}

// outgoing is what is to be sent for an announcement. Its number keeps an answer from counting for
// another attempt.
type outgoing struct {
	jwtstore.Change
	number int
	asks   bool // the servers are only asked what they run
}

// reply is where the answers go, below the inbox.
func (o outgoing) reply() string { return fmt.Sprintf("%s.%d.%d", o.Key, o.Seq, o.number) }

// parseReply is the inverse of reply for the part after the key. It returns zeros for what can't be
// read.
func parseReply(s string) (seq uint64, number int) {
	if _, err := fmt.Sscanf(s, "%d.%d", &seq, &number); err != nil {
		return 0, 0
	}
	return seq, number
}

// announcements are the changes that some server has not acknowledged.
type announcements struct {
	n       *Notifier
	servers *servers
	byKey   map[string]*announcement
	queue   queue                    // those in a queued state
	active  map[string]*announcement // those in an active state
}

// newAnnouncements returns an empty list. The session adds what is pending.
func newAnnouncements(n *Notifier, servers *servers) *announcements {
	return &announcements{
		n:       n,
		servers: servers,
		byKey:   make(map[string]*announcement),
		active:  make(map[string]*announcement),
	}
}

// takeUp adds a change that is pending, unless one of the account is there. It waits for a server.
func (p *announcements) takeUp(c jwtstore.Change) {
	if p.byKey[c.Key] == nil {
		p.byKey[c.Key] = newAnnouncement(c)
	}
}

// apply changes the state of an announcement, and the queue with it. due counts if it is queued
// then. An event that the table does not list changes nothing.
func (p *announcements) apply(a *announcement, e event, due time.Time) {
	next, listed := announcementTable[a.state][e]
	if !listed {
		return
	}
	a.state = next
	delete(p.active, a.Key)
	if next.active() {
		p.active[a.Key] = a
	}
	switch queued := a.index >= 0; {
	case next.queued() && queued:
		a.due = due
		heap.Fix(&p.queue, a.index)
	case next.queued():
		a.due = due
		heap.Push(&p.queue, a)
	case queued:
		heap.Remove(&p.queue, a.index)
	}
}

// add takes up a change. A newer one takes the place of the older one of the same account. r is nil
// if no caller waits for answers.
func (p *announcements) add(c jwtstore.Change, r *receipt) {
	a := p.byKey[c.Key]
	if a == nil {
		a = newAnnouncement(jwtstore.Change{Key: c.Key})
		p.byKey[c.Key] = a
	}
	if r != nil {
		a.receipts = append(a.receipts, r)
	}
	if c.Seq <= a.Seq { // found in the Outbox before its Announce came
		p.apply(a, serverReady, time.Time{})
		return
	}
	a.Change, a.tries = c, 0
	clear(a.notCached)
	p.apply(a, committed, time.Time{}) // before everything that waits for its time
}

// addHeard takes up a change that the servers should have heard: they are only asked. If they lack
// an earlier one it is not known in which order they get the two, and this one is announced.
func (p *announcements) addHeard(c jwtstore.Change, now time.Time) {
	if p.byKey[c.Key] != nil {
		p.add(c, nil)
		return
	}
	a := newAnnouncement(c)
	p.byKey[c.Key] = a
	p.apply(a, heard, now.Add(heardTimeout))
}

// take returns what is to be sent now, and begins those attempts.
func (p *announcements) take(now time.Time) (batch []outgoing) {
	if p.servers.discovering {
		return nil
	}
	// A server that is tried gets the oldest change that it lacks, whether that is due or not.
	for _, srv := range p.servers.takeProbes(now) {
		if a := p.oldestFor(srv.name); a != nil && !a.state.active() {
			batch = append(batch, p.begin(a, now))
		}
	}
	for p.hasDue() && !now.Before(p.queue[0].due) {
		// A change that is pending for absent servers only is not sent.
		if a := p.queue[0]; !p.finishAcknowledged(a) {
			batch = append(batch, p.begin(a, now))
		}
	}
	return batch
}

// hasDue reports whether the first one in the queue may be sent when its time comes. It may not
// while as many as are allowed are in flight.
func (p *announcements) hasDue() bool { return p.queue.Len() > 0 && len(p.active) < maxInFlight }

// begin begins an attempt. Answers to the attempt before may still acknowledge the change, but they
// do not end this one.
func (p *announcements) begin(a *announcement, now time.Time) outgoing {
	a.attempt = attempt{
		number:   a.number + 1,
		sent:     now,
		answered: make(map[string]bool),
		refused:  make(map[string]string),
	}
	p.apply(a, sent, time.Time{})
	return outgoing{a.Change, a.number, a.state == asking}
}

// oldestFor returns the oldest change that a server lacks, nil if there is none.
func (p *announcements) oldestFor(server string) (oldest *announcement) {
	for _, a := range p.byKey {
		if (oldest == nil || a.Seq < oldest.Seq) && p.n.outbox.IsPending(server, a.Seq) {
			oldest = a
		}
	}
	return oldest
}

// next returns when take or endOverdue have something to do, at the latest the moment given.
func (p *announcements) next(latest time.Time) time.Time {
	if p.hasDue() && !p.servers.discovering {
		latest = earlier(latest, p.queue[0].due)
	}
	for _, a := range p.active {
		if a.state == inFlight {
			latest = earlier(latest, a.sent.Add(answerTimeout))
		}
	}
	return latest
}

// endOverdue ends the attempts that have waited long enough for answers. A question ends by itself.
func (p *announcements) endOverdue(now time.Time) {
	for _, a := range p.active {
		if a.state == inFlight && now.Sub(a.sent) >= answerTimeout {
			p.end(a, now)
		}
	}
}

// endIfAnswered ends an attempt when every server has answered that lacks the change. It does not
// wait for servers which get one announcement at a time: they may never answer.
func (p *announcements) endIfAnswered(a *announcement, now time.Time) {
	for name, srv := range p.servers.byName {
		if !srv.state.oneAtATime() && !a.answered[name] && p.n.outbox.IsPending(name, a.Seq) {
			return
		}
	}
	p.end(a, now)
}

// end ends an attempt: the servers have answered, or the time is over. Those that should have
// answered and did not are silent from now on.
func (p *announcements) end(a *announcement, now time.Time) {
	for name, srv := range p.servers.byName {
		switch {
		case a.answered[name] || !p.n.outbox.IsPending(name, a.Seq):
		case srv.state == neverReplies && a.flushed:
			p.n.outbox.Acknowledge(name, a.Seq)
		case srv.state == neverReplies:
			a.refuse(name, "the connection did not take it")
		case now.Sub(a.sent) >= answerTimeout:
			p.servers.apply(srv, misses, now)
		}
	}
	if !p.finishAcknowledged(a) {
		p.follow(a, now)
	}
}

// endQuestion ends a question. The change is announced unless no server lacks it.
func (p *announcements) endQuestion(a *announcement, now time.Time) {
	if !p.finishAcknowledged(a) {
		p.apply(a, contradicted, now)
	}
}

// follow decides what brings the next attempt. A change that only silent servers and caches without
// the account lack waits for a server, any other for some time.
func (p *announcements) follow(a *announcement, now time.Time) {
	a.release()
	switch a.followUp {
	case afterSkip:
		due := a.At.Add(skipWindow)
		if latest := now.Add(skipWindow); due.After(latest) {
			due = latest // the clock was set back
		}
		p.apply(a, retry, due)
	case afterConnect:
		p.apply(a, retry, a.sent.Add(connectInterval))
	case afterBackoff:
		p.backOff(a, now)
	default:
		p.apply(a, rest, time.Time{})
	}
}

// backOff puts the next attempt off for a time that doubles each time, up to maxBackoff.
func (p *announcements) backOff(a *announcement, now time.Time) {
	a.release()
	wait := min(time.Second<<min(a.tries, 10), maxBackoff)
	a.tries++
	p.apply(a, retry, now.Add(wait))
}

// finishAcknowledged removes an announcement that every server has acknowledged, and reports
// whether it did. While no server is known, or not all may be, none is removed.
func (p *announcements) finishAcknowledged(a *announcement) bool {
	if len(p.servers.byName) == 0 || p.servers.discovering {
		return false
	}
	for name := range p.servers.byName {
		if p.n.outbox.IsPending(name, a.Seq) {
			return false
		}
	}
	p.finish(a)
	return true
}

// finishAllAcknowledged removes all that every server has acknowledged.
func (p *announcements) finishAllAcknowledged() {
	for _, a := range p.byKey {
		p.finishAcknowledged(a)
	}
}

// finish removes an announcement. What absent servers lack stays in the Outbox.
func (p *announcements) finish(a *announcement) {
	p.apply(a, finished, time.Time{})
	delete(p.byKey, a.Key)
	a.release()
}

// serverAppeared takes up what a new process lacks, and reports whether that is anything.
func (p *announcements) serverAppeared(name string) (any bool) {
	for _, a := range p.byKey {
		delete(a.notCached, name) // by the process that had the name before
	}
	for _, c := range p.n.outbox.Pending() {
		if p.n.outbox.IsPending(name, c.Seq) {
			any = true
			p.takeUp(c)
		}
	}
	return any
}

// serverReady queues what a server lacks that has turned out to answer. What its cache lacks waits
// for a client instead.
func (p *announcements) serverReady(name string, now time.Time) {
	for _, a := range p.byKey {
		if a.state == waiting && !a.notCached[name] && p.n.outbox.IsPending(name, a.Seq) {
			p.apply(a, serverReady, now)
		}
	}
}

// repeatNotCached queues what some cache lacks: a client may have connected there before that was
// watched for.
func (p *announcements) repeatNotCached(now time.Time) {
	for _, a := range p.byKey {
		if len(a.notCached) > 0 {
			p.apply(a, serverReady, now)
		}
	}
}

// connected records that a client has connected to the account on a server whose cache lacked it.
func (p *announcements) connected(a *announcement, server string, now time.Time) {
	delete(a.notCached, server)
	a.followUp = max(a.followUp, afterConnect)
	if a.state == waiting {
		p.follow(a, now)
	}
}

// acknowledged returns how many servers have acknowledged the latest change of an account.
func (p *announcements) acknowledged(key string) (count int) {
	a := p.byKey[key]
	for name := range p.servers.byName {
		if a == nil || !p.n.outbox.IsPending(name, a.Seq) {
			count++
		}
	}
	return count
}

// nearest returns the announcement whose attempt ends next, nil when there is none worth waiting
// for.
func (p *announcements) nearest() (nearest *announcement) {
	for _, a := range p.byKey {
		if a.tries < 2 && a.state != waiting && (nearest == nil || a.due.Before(nearest.due)) {
			nearest = a
		}
	}
	return nearest
}

// queue is a heap of announcements, the one that is due first on top; of several, that of the
// oldest change. It implements heap.Interface.
type queue []*announcement

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].Seq < q[j].Seq
	}
	return q[i].due.Before(q[j].due)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	a := x.(*announcement)
	a.index = len(*q)
	*q = append(*q, a)
}

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	last.index = -1
	*q = (*q)[:len(*q)-1]
	return last
}
