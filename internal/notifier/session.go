package notifier

import (
	"container/heap"
	"context"
	"fmt"
	"time"
)

const (
	pingSubject = "$SYS.REQ.SERVER.PING"

	// window bounds the announcements in flight; each is answered by every nats-server.
	window = 128
	// answerWithin is how long a nats-server has to answer before the announcement is made again.
	answerWithin = 2 * time.Second
	// meetWithin bounds the first round of PING, before which nobody knows who has to answer.
	meetWithin = time.Second
	// skipWindow is how long after the commit "skipped" proves nothing: the nats-server has not loaded the
	// account, but may be fetching it at this moment and have been given the JWT of before.
	skipWindow = 3 * time.Second
	// backoffMost bounds the wait before an announcement is made again.
	backoffMost = 30 * time.Second
	// pingEvery is how often we ask who is there; pingSoonest when there is a reason to.
	pingEvery   = 30 * time.Second
	pingSoonest = 5 * time.Second
	// forgetAfter is how long what a nats-server missed is kept for it.
	forgetAfter = 72 * time.Hour
	// watchAtLeast is how long a session has lasted before it says that somebody stayed away.
	watchAtLeast = time.Hour
)

// updateSubject is where nats-servers of every version take account updates.
func updateSubject(key string) string { return "$SYS.ACCOUNT." + key + ".CLAIMS.UPDATE" }

// session is the outbox at work over one connection. Everything in it is guarded by Notifier.mu.
type session struct {
	n     *Notifier
	conn  Session
	inbox string
	wake  chan struct{} // holds one token when there is something new to look at

	began    time.Time
	peers    map[string]*peer // the nats-servers that are there, by name
	meeting  bool             // the first round of PING is not over
	meetBy   time.Time
	expected int       // how many nats-servers there are, as they say themselves; 0 if none said
	pinged   time.Time // when the last PING went out
	pingDue  time.Time
	swept    bool // those who did not answer the last PING have been dropped

	items  map[string]*item // by account key, everything not yet settled
	queue  queue            // those waiting for their time
	flying map[string]*item // those waiting for answers
	told   map[string]bool  // complaints that have been logged
}

// peer is a nats-server that is there.
type peer struct {
	old  bool // before 2.2.0: it applies updates but answers nothing
	late bool // it let an announcement pass unanswered
	seen time.Time
}

// item is one account's latest change on its way to the peers.
type item struct {
	Change
	due     time.Time
	index   int // in the queue; -1 when it is not there
	tries   int // attempts that ended without every server's acknowledgement
	attempt int // how often it has been announced
	sent    time.Time
	flushed bool            // the connected server has taken the attempt
	heard   map[string]bool // who has answered the attempt
	early   bool            // somebody skipped it too early to count
	waiting []*receipt
}

// attempt is one announcement of a change. Its number keeps an answer from counting for a later one.
type attempt struct {
	Change
	number int
}

// Serve announces through conn until ctx ends. There is one session at a time.
func (n *Notifier) Serve(ctx context.Context, conn Session) {
	s := &session{
		n:       n,
		conn:    conn,
		inbox:   conn.NewInbox(),
		wake:    make(chan struct{}, 1),
		peers:   make(map[string]*peer),
		meeting: true,
		began:   time.Now(),
		meetBy:  time.Now().Add(meetWithin),
		swept:   true,
		items:   make(map[string]*item),
		flying:  make(map[string]*item),
		told:    make(map[string]bool),
	}
	if _, err := conn.Subscribe(s.inbox+".>", s.hear); err != nil {
		n.Log.Warn(fmt.Sprintf("nats error %s", err))
		return
	}
	s.start()
	defer s.end()
	s.run(ctx)
}

// start makes the session the live one and takes up what is owed.
func (s *session) start() {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.n.live = s
	s.n.maxPayload = int(s.conn.MaxPayload())
	for _, c := range s.n.Outbox.Changes() {
		s.enqueue(c, nil)
	}
}

// end lets everybody go who waits for answers that will not come.
func (s *session) end() {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.n.live = nil
	for _, it := range s.items {
		it.release()
	}
}

// run does what is due, then sleeps until something is.
func (s *session) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		batch, ping, next := s.step(time.Now())
		if ping {
			s.publish(pingSubject, "ping", nil)
		}
		s.announce(ctx, batch)
		timer.Reset(time.Until(next))
	}
}

// step moves the clock: it ends what has waited long enough and picks what is to be sent. next is when there will
// be something to do again.
func (s *session) step(now time.Time) (batch []attempt, ping bool, next time.Time) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.meeting && (s.complete() || !now.Before(s.meetBy)) {
		s.met()
	}
	for _, it := range s.flying {
		if now.Sub(it.sent) >= answerWithin {
			s.conclude(it, now)
		}
	}
	if !s.swept && now.Sub(s.pinged) >= answerWithin {
		s.sweep(now)
	}
	if ping = !now.Before(s.pingDue); ping {
		s.pinged, s.pingDue, s.swept = now, now.Add(pingEvery), false
	}
	for !s.meeting && s.queue.Len() > 0 && len(s.flying) < window && !now.Before(s.queue[0].due) {
		if !s.settle(s.queue[0]) { // it may be owed only to somebody who is not there
			batch = append(batch, s.takeOff(now))
		}
	}
	return batch, ping, s.nextStep(now)
}

func (s *session) nextStep(now time.Time) time.Time {
	next := s.pingDue
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if s.meeting {
		earlier(s.meetBy)
	} else if s.queue.Len() > 0 && len(s.flying) < window {
		earlier(s.queue[0].due)
	}
	if !s.swept {
		earlier(s.pinged.Add(answerWithin))
	}
	for _, it := range s.flying {
		earlier(it.sent.Add(answerWithin))
	}
	return next
}

// complete says that as many nats-servers have answered the first PING as there are.
func (s *session) complete() bool {
	return s.expected > 0 && len(s.peers) >= s.expected
}

// met ends the first round of PING.
func (s *session) met() {
	s.meeting = false
	if len(s.peers) == 0 {
		s.complain("no nats-server answers " + pingSubject + ": account updates stay owed until one does; " +
			"nats.usercredentials must be those of a user of the system account who may publish to $SYS.> and subscribe to _INBOX.>")
	}
}

// sweep drops the nats-servers that did not answer the last PING. What is owed to them stays in the Outbox, but not
// for ever: a nats-server without a name of its own comes back from a restart as another one.
func (s *session) sweep(now time.Time) {
	s.swept = true
	if now.Sub(s.began) >= watchAtLeast {
		s.forget(now)
	}
	for name, p := range s.peers {
		if p.seen.Before(s.pinged) {
			delete(s.peers, name)
			s.n.Log.Info(fmt.Sprintf("nats-server %s is gone", name))
		}
	}
	if len(s.peers) == 0 {
		s.pingSoon(pingSoonest)
		return
	}
	for _, it := range s.items {
		s.settle(it)
	}
}

// forget gives up those that have stayed away for too long. Absence only counts while we are there to see it: after
// an outage of our own everybody has been out of sight.
func (s *session) forget(now time.Time) {
	for _, name := range s.n.Outbox.Unseen(now.Add(-forgetAfter)) {
		s.n.Outbox.Forget(name)
		s.n.Log.Warn(fmt.Sprintf("nats-server %s has not been seen for %s and is forgotten: nothing is owed to it any more", name, forgetAfter))
	}
}

// pingSoon asks who is there before it is time to.
func (s *session) pingSoon(after time.Duration) {
	if t := s.pinged.Add(after); t.Before(s.pingDue) {
		s.pingDue = t
		s.prod()
	}
}

// prod makes run look again.
func (s *session) prod() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

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
		it.Change, it.tries = c, 0
		due := time.Now()
		if r != nil {
			due = time.Time{} // what has just been pushed goes before everything that waits its turn
		}
		s.again(it, due)
	}
}

// again puts an item into the queue, or moves it there, to be announced when it is due.
func (s *session) again(it *item, due time.Time) {
	delete(s.flying, it.Key)
	it.due = due
	if it.index < 0 {
		heap.Push(&s.queue, it)
	} else {
		heap.Fix(&s.queue, it.index)
	}
	s.prod()
}

// takeOff moves the first item of the queue into the air.
func (s *session) takeOff(now time.Time) attempt {
	it := heap.Pop(&s.queue).(*item)
	it.attempt++
	it.sent, it.flushed, it.early = now, false, false
	it.heard = make(map[string]bool, len(s.peers))
	s.flying[it.Key] = it
	return attempt{it.Change, it.attempt}
}

// announce publishes what is stored now for each change. It runs without the lock: loading and publishing may
// block.
func (s *session) announce(ctx context.Context, batch []attempt) {
	for _, a := range batch {
		c := a.Change
		token, err := s.n.Load(ctx, c.Key)
		switch {
		case gone(err):
			s.withdraw(c)
		case err != nil:
			s.hold(c, fmt.Sprintf("%s - can't be announced - %s", short(c.Key), err))
		case int64(len(token)) > s.conn.MaxPayload():
			s.hold(c, fmt.Sprintf("%s - can't be announced - the JWT has %d bytes, nats-server takes no more than %d (max_payload)",
				short(c.Key), len(token), s.conn.MaxPayload()))
		default:
			s.publish(updateSubject(c.Key), fmt.Sprintf("%s.%d.%d", c.Key, c.Seq, a.number), token)
		}
	}
	if len(batch) > 0 && s.silentPeers() {
		s.flush(ctx, batch)
	}
}

func (s *session) publish(subject, reply string, data []byte) {
	if err := s.conn.PublishRequest(subject, s.inbox+"."+reply, data); err != nil {
		s.n.Log.Debug(fmt.Sprintf("nats error %s", err)) // the session is over; what was owed stays owed
	}
}

// withdraw ends a change whose account is no longer stored.
func (s *session) withdraw(c Change) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	for _, name := range s.n.Outbox.Servers() {
		s.n.Outbox.Confirm(name, c.Seq)
	}
	if it := s.items[c.Key]; it != nil && it.Seq == c.Seq {
		s.remove(it)
	}
}

// hold puts an item off that can't be sent now, and says why once.
func (s *session) hold(c Change, why string) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.complain(why)
	if it := s.items[c.Key]; it != nil && it.index < 0 {
		s.retry(it, time.Now())
	}
}

// silentPeers says whether somebody is there who never answers.
func (s *session) silentPeers() bool {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	for _, p := range s.peers {
		if p.old {
			return true
		}
	}
	return false
}

// flush is all the proof that there can be for nats-servers before 2.2.0.
func (s *session) flush(ctx context.Context, batch []attempt) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if s.conn.FlushWithContext(ctx) != nil {
		return
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	for _, c := range batch {
		if it := s.flying[c.Key]; it != nil && it.Seq == c.Seq {
			it.flushed = true
		}
	}
}

// complain logs a cause once per session.
func (s *session) complain(cause string) {
	if s.told[cause] || len(s.told) > 10000 {
		return
	}
	s.told[cause] = true
	s.n.Log.Warn(cause)
}

// short is a key as logs show it.
func short(key string) string { return key[:min(len(key), 12)] }
