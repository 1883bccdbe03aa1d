package notifier

import (
	"container/heap"
	"fmt"
	"time"
)

const (
	// skipWindow is how long after the commit "skipped" proves nothing: the nats-server has not loaded the
	// account, but may be fetching it at this moment and have been given the JWT of before.
	skipWindow = 3 * time.Second
	// backOffMost bounds the wait before a change is announced again that could not be sent or was refused.
	backOffMost = 10 * time.Minute
	// calm is the least time between two announcements that connections to a cold cache cause.
	calm = time.Second
	// hearWithin is how long a nats-server has to apply what it has heard, before it is asked.
	hearWithin = 500 * time.Millisecond
)

// item is one account's latest change on its way to the peers.
type item struct {
	Change
	due   time.Time
	index int // in the queue; -1 when it is not there
	tries int // how often it was put off since it could not be sent or was refused

	// The last attempt.
	attempt int // its number
	sent    time.Time
	asks    bool              // it only asks who runs which JWT: every nats-server there should have heard the change
	want    string            // the JWT to be run, when it asks
	flying  bool              // it waits for answers
	flushed bool              // the connected server has taken it
	heard   map[string]bool   // who has answered
	early   bool              // somebody skipped it too early to count
	refused map[string]string // who answered with an error, and which

	cold    map[string]bool // caches that lack the account: it is announced again when it connects there
	warmed  bool            // it did while an attempt was in flight
	waiting []*receipt
}

// idle says that the item waits for something to happen, not for its time.
func (it *item) idle() bool { return !it.flying && it.index < 0 }

// attempt is one announcement of a change. Its number keeps an answer from counting for a later one.
type attempt struct {
	Change
	number int
	asks   bool
}

// reply is where the answers go, below the inbox; parseReply is its inverse.
func (a attempt) reply() string { return fmt.Sprintf("%s.%d.%d", a.Key, a.Seq, a.number) }

// enqueue takes up a change; a newer one of the same account takes the older one's place. r, if not nil, follows it.
func (s *session) enqueue(c Change, r *receipt) {
	it := s.items[c.Key]
	if it == nil {
		it = &item{index: -1}
		s.items[c.Key] = it
	}
	if r != nil {
		it.waiting = append(it.waiting, r)
	}
	if c.Seq > it.Seq { // else the session has found it in the Outbox before its Announce came
		it.Change, it.tries, it.cold, it.asks = c, 0, nil, false
		s.again(it, time.Time{}) // what has just been pushed goes before everything that waits its turn
	} else if it.idle() {
		s.again(it, time.Time{})
	}
}

// heard takes up a change that every nats-server there should have heard as well: they are only asked. If they still
// lack an earlier one nobody knows in which order they hear the two, and it is announced like any other.
func (s *session) heard(c Change, now time.Time) {
	settled := s.items[c.Key] == nil
	s.enqueue(c, nil)
	if it := s.items[c.Key]; settled {
		it.asks = true
		s.again(it, now.Add(hearWithin))
	}
}

// again puts an item into the queue, or moves it there, to be announced when it is due.
func (s *session) again(it *item, due time.Time) {
	s.land(it)
	it.due = due
	if it.index < 0 {
		heap.Push(&s.queue, it)
	} else {
		heap.Fix(&s.queue, it.index)
	}
	s.prod()
}

// takeOff moves an item into the air.
func (s *session) takeOff(it *item, now time.Time) attempt {
	if it.index >= 0 {
		heap.Remove(&s.queue, it.index)
	}
	it.attempt++
	it.sent, it.flying, it.flushed, it.early, it.refused, it.warmed = now, true, false, false, nil, false
	it.heard = make(map[string]bool, len(s.peers))
	s.flying[it.Key] = it
	return attempt{it.Change, it.attempt, it.asks}
}

func (s *session) land(it *item) {
	it.flying = false
	delete(s.flying, it.Key)
}

// settle removes an item that every nats-server there has acknowledged, and says whether it did.
func (s *session) settle(it *item) bool {
	if len(s.peers) == 0 || s.meeting {
		return false
	}
	for name := range s.peers {
		if s.n.Outbox.IsPending(name, it.Seq) {
			return false
		}
	}
	s.remove(it)
	return true
}

func (s *session) remove(it *item) {
	delete(s.items, it.Key)
	s.land(it)
	if it.index >= 0 {
		heap.Remove(&s.queue, it.index)
	}
	it.release()
	s.prod() // there is room in the air
}

// release lets those go who wait for the end of the attempt.
func (it *item) release() {
	for _, r := range it.waiting {
		close(r.answered)
	}
	it.waiting = nil
}

// conclude ends an attempt: everybody has answered who can be expected to, or the time is over.
func (s *session) conclude(it *item, now time.Time) {
	s.land(it)
	if it.asks {
		s.concludeQuestion(it, now)
		return
	}
	for name, p := range s.peers {
		switch {
		case it.heard[name] || !s.n.Outbox.IsPending(name, it.Seq):
		case p.speechless && it.flushed:
			s.n.Outbox.Acknowledge(name, it.Seq)
		case p.speechless:
			it.refuse(name, "the connection did not take it")
		case now.Sub(it.sent) >= answerWithin:
			s.fellSilent(name, p, now)
		}
	}
	if !s.settle(it) {
		s.putOff(it, now)
	}
	s.prod()
}

// putOff says what has to happen before an item is announced again: some time must pass, or, for one that is only
// owed to silent servers and cold caches, somebody must show up.
func (s *session) putOff(it *item, now time.Time) {
	it.release()
	switch {
	case it.early:
		due := it.At.Add(skipWindow)
		if most := now.Add(skipWindow); due.After(most) {
			due = most // the clock was set back
		}
		s.again(it, due)
	case it.warmed:
		s.again(it, it.sent.Add(calm))
	case len(it.refused) > 0:
		s.backOff(it, now)
	}
}

// backOff puts an item off for a while that doubles.
func (s *session) backOff(it *item, now time.Time) {
	it.release()
	wait := min(time.Second<<min(it.tries, 10), backOffMost)
	it.tries++
	s.again(it, now.Add(wait))
}

func (it *item) refuse(name, reason string) {
	if it.refused == nil {
		it.refused = map[string]string{}
	}
	it.refused[name] = reason
}

// delivery says how far the latest change of an account has got.
func (s *session) delivery(key string) (acked, servers int) {
	it := s.items[key]
	for name := range s.peers {
		if it == nil || !s.n.Outbox.IsPending(name, it.Seq) {
			acked++
		}
	}
	return acked, max(1, len(s.peers))
}

// nextReceipt follows the attempt that is nearest, nil when there is none worth waiting for.
func (s *session) nextReceipt() *receipt {
	var nearest *item
	for _, it := range s.items {
		if it.tries < 2 && !it.idle() && (nearest == nil || it.due.Before(nearest.due)) {
			nearest = it
		}
	}
	if nearest == nil {
		return nil
	}
	r := &receipt{n: s.n, key: nearest.Key, answered: make(chan struct{})}
	nearest.waiting = append(nearest.waiting, r)
	return r
}

// queue is a heap of items, the one that is due first on top.
type queue []*item

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
	it := x.(*item)
	it.index = len(*q)
	*q = append(*q, it)
}

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	last.index = -1
	*q = (*q)[:len(*q)-1]
	return last
}
