package notifier

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// window bounds the announcements in flight; each is answered by every nats-server.
	window = 128
	// answerWithin is how long a nats-server has to answer before the announcement is made again.
	answerWithin = 2 * time.Second
)

// updateSubject is where nats-servers of every version take account updates.
func updateSubject(key string) string { return "$SYS.ACCOUNT." + key + ".CLAIMS.UPDATE" }

// session is the outbox at work over one connection. Everything in it is guarded by Notifier.mu.
type session struct {
	n     *Notifier
	conn  Session
	inbox string
	wake  chan struct{} // holds one token when there is something new to look at
	began time.Time

	peers    map[string]*peer // the nats-servers that are there, by name
	nobody   *peer            // takes their place while none is known
	meeting  bool             // the first round of PING is not over
	meetBy   time.Time
	expected int // how many nats-servers there are, as they say themselves; 0 if none said
	round    round

	items     map[string]*item // by account key, everything not yet settled
	queue     queue            // those waiting for their time
	flying    map[string]*item // those waiting for answers
	cold      bool             // a nats-server has not cached an account that it is owed
	watching  bool             // for connections to accounts that are not cached
	told      map[string]bool  // complaints that have been logged
	questions map[string]*inquiry
	asked     int // questions so far
}

// Serve announces through conn until ctx ends. There is one session at a time.
func (n *Notifier) Serve(ctx context.Context, conn Session) {
	now := time.Now()
	s := &session{
		n:         n,
		conn:      conn,
		inbox:     conn.NewInbox(),
		wake:      make(chan struct{}, 1),
		began:     now,
		peers:     make(map[string]*peer),
		nobody:    &peer{silent: true, probe: now},
		meeting:   true,
		meetBy:    now.Add(meetWithin),
		items:     make(map[string]*item),
		flying:    make(map[string]*item),
		told:      make(map[string]bool),
		questions: make(map[string]*inquiry),
	}
	for subject, handle := range map[string]nats.MsgHandler{s.inbox + ".>": s.hear, heartbeats: s.heartbeat} {
		if _, err := conn.Subscribe(subject, handle); err != nil {
			n.Log.Warn(fmt.Sprintf("nats error %s", err))
			return
		}
	}
	s.start()
	defer s.end()
	s.run(ctx)
}

// start makes the session the live one and takes up what is owed. It waits until somebody shows who can take it.
func (s *session) start() {
	s.n.mu.Lock()
	defer s.n.unlock()
	s.n.live = s
	s.n.maxPayload = int(s.conn.MaxPayload())
	for _, c := range s.n.Outbox.Pending() {
		s.items[c.Key] = &item{Change: c, index: -1}
	}
}

// end lets everybody go who waits for answers that will not come.
func (s *session) end() {
	s.n.mu.Lock()
	defer s.n.unlock()
	s.n.live = nil
	for _, it := range s.items {
		it.release()
	}
	for _, q := range s.questions {
		q.end()
	}
}

// work is what is to be done without the lock: it may block.
type work struct {
	ask      []string  // subjects that ask who is there
	announce []attempt // changes to be published
	watch    bool      // begin to watch for connections
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
		w, next := s.step(time.Now())
		for _, subject := range w.ask {
			s.publish(subject, replyTo(subject), nil)
		}
		if w.watch {
			s.watch()
		}
		s.announce(ctx, w.announce)
		timer.Reset(time.Until(next))
	}
}

// step moves the clock: it ends what has waited long enough and picks what is to be done. next is when there will
// be something to do again.
func (s *session) step(now time.Time) (w work, next time.Time) {
	s.n.mu.Lock()
	defer s.n.unlock()
	if s.meeting && (s.complete() || !now.Before(s.meetBy)) {
		s.met()
	}
	for _, it := range s.flying {
		if now.Sub(it.sent) >= answerWithin {
			s.conclude(it, now)
		}
	}
	w.ask = s.ask(now)
	w.watch, s.watching = s.cold && !s.watching, s.watching || s.cold
	if !s.meeting {
		w.announce = s.takeOffDue(now, s.probe(now))
	}
	return w, s.nextStep(now)
}

// takeOffDue adds to a batch what is due, as far as there is room in the air.
func (s *session) takeOffDue(now time.Time, batch []attempt) []attempt {
	for s.queue.Len() > 0 && len(s.flying) < window && !now.Before(s.queue[0].due) {
		if it := s.queue[0]; !s.settle(it) { // it may be owed only to somebody who is not there
			batch = append(batch, s.takeOff(it, now))
		}
	}
	return batch
}

// nextStep is the nearest moment at which something is due.
func (s *session) nextStep(now time.Time) time.Time {
	next := s.round.next()
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if s.meeting {
		earlier(s.meetBy)
	} else {
		if s.queue.Len() > 0 && len(s.flying) < window {
			earlier(s.queue[0].due)
		}
		for _, p := range s.listeners() {
			if p.silent {
				earlier(p.probe)
			}
		}
	}
	for _, it := range s.flying {
		earlier(it.sent.Add(answerWithin))
	}
	return next
}

// announce publishes what is stored now for each change.
func (s *session) announce(ctx context.Context, batch []attempt) {
	for _, a := range batch {
		c := a.Change
		token, err := s.n.Load(ctx, c.Key)
		switch {
		case gone(err):
			s.withdraw(c)
		case err != nil:
			s.hold(c, fmt.Sprintf("%s - can't be announced - %s", short(c.Key), err))
		case a.asks:
			s.question(a, token)
		case int64(len(token)) > s.conn.MaxPayload():
			s.hold(c, fmt.Sprintf("%s - can't be announced - the JWT has %d bytes, nats-server takes no more than %d (max_payload)",
				short(c.Key), len(token), s.conn.MaxPayload()))
		default:
			s.publish(updateSubject(c.Key), a.reply(), token)
		}
	}
	if len(batch) > 0 && s.speechless() {
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
	defer s.n.unlock()
	for _, name := range s.n.Outbox.Servers() {
		s.n.Outbox.Acknowledge(name, c.Seq)
	}
	if it := s.items[c.Key]; it != nil && it.Seq == c.Seq {
		s.remove(it)
	}
}

// hold puts an item off that can't be sent now, and says why once.
func (s *session) hold(c Change, why string) {
	s.n.mu.Lock()
	defer s.n.unlock()
	s.complain(why)
	if it := s.flying[c.Key]; it != nil {
		s.backOff(it, time.Now())
	}
}

// speechless says whether somebody is there who never answers an update.
func (s *session) speechless() bool {
	s.n.mu.Lock()
	defer s.n.unlock()
	for _, p := range s.peers {
		if p.speechless {
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
	defer s.n.unlock()
	for _, a := range batch {
		if it := s.flying[a.Key]; it != nil && it.Seq == a.Seq {
			it.flushed = true
		}
	}
}

// watch begins to hear of connections to accounts. Those made before may have gone unheard, so that what is owed to
// a cold cache is announced once more.
func (s *session) watch() {
	if _, err := s.conn.Subscribe("$SYS.ACCOUNT.*.CONNECT", s.connected); err != nil {
		s.n.Log.Debug(fmt.Sprintf("nats error %s", err))
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	for _, it := range s.items {
		if len(it.cold) > 0 && it.idle() {
			s.again(it, time.Now())
		}
	}
}

// complain logs a cause once per session.
func (s *session) complain(cause string) {
	if s.told[cause] || len(s.told) > 10000 {
		return
	}
	s.told[cause] = true
	s.n.note(slog.LevelWarn, "%s", cause)
}

// prod makes run look again.
func (s *session) prod() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
