package notifier

import (
	"context"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/pause"
)

// connects is where nats-servers publish that a client has connected to an account. The server
// loads the account for it.
const connects = "$SYS.ACCOUNT.*.CONNECT"

// updateSubject is where nats-servers of every version take account updates.
func updateSubject(key string) string { return "$SYS.ACCOUNT." + key + ".CLAIMS.UPDATE" }

// session announces over one connection. Notifier.mu guards what is in it.
type session struct {
	n    *Notifier
	conn *link
	wake chan struct{} // holds one token when run has to look again

	servers       *servers
	announcements *announcements
	comparer      *comparer
	sender        *sender
	gatherings    gatherings
	clients       clientState
}

// clientState is what the session knows about clients which connect to accounts.
type clientState int

const (
	clientsIgnored clientState = iota // no cache has answered that it lacks an account
	clientsMatter                     // one has: the session is to learn of clients
	clientsWatched                    // it learns of them
)

// Serve announces through conn the JWTs that from has, until ctx ends. There is one session at a
// time. It takes up what is pending when servers appear. user is that of conn. facts is asked what is
// acknowledged and not in effect.
func (n *Notifier) Serve(
	ctx context.Context, conn Conn, user User, from Accounts, facts Facts,
) {
	s := newSession(n, conn, user, from)
	if !s.conn.subscribe(s.conn.inbox+".>", s.receive) ||
		!s.conn.subscribe(n.inbox+".>", s.receiveAnswer) ||
		!s.conn.subscribe(heartbeats, s.heartbeat) {
		return
	}
	n.mu.Lock()
	n.session, n.maxPayload = s, int(conn.MaxPayload())
	n.counts.Sessions++
	clear(n.notes.warned)
	n.mu.Unlock()
	var tasks sync.WaitGroup
	s.comparer.queue.work(ctx, &tasks, func(c comparison) {
		s.comparer.compare(ctx, c)
		s.compared(c)
	})
	tasks.Go(func() { (&asker{n, from, facts}).run(ctx) })
	s.run(ctx)
	tasks.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.session = nil
	for _, a := range s.announcements.byKey {
		s.announcements.finish(a) // no answers will come in this session
	}
}

// newSession returns a session that has subscribed to nothing yet.
func newSession(n *Notifier, conn Conn, user User, from Accounts) *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inbox == "" {
		inbox := conn.NewInbox()
		end := strings.LastIndex(inbox, ".") + 1
		n.inbox, n.process = inbox[:end]+n.outbox.ID(), inbox[end:]
	}
	now := time.Now()
	n.unanswered.sessionBegan(now)
	s := &session{
		n:          n,
		conn:       &link{Conn: conn, inbox: conn.NewInbox(), log: n.notes.log},
		wake:       make(chan struct{}, 1),
		servers:    newServers(n, user, now),
		comparer:   newComparer(n, from),
		gatherings: gatherings{byNumber: make(map[string]*gathering)},
	}
	s.announcements = newAnnouncements(n, s.servers)
	s.sender = &sender{n, s.conn, from, s.announcements, s.comparer}
	return s
}

// work is what is to be done without the lock: it may block. run does it in the order of the
// fields.
type work struct {
	requests []request  // about the servers
	watch    bool       // subscribe to connects
	send     []outgoing // attempts
	flush    bool       // what a server takes that never answers
}

// run does what is due, then waits until something is. It publishes, and handlers of messages only
// change what is to be published. So neither a slow connection nor a slow store delays a handler.
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
		w := s.step(time.Now())
		for _, q := range w.requests {
			s.conn.request(q)
		}
		if w.watch {
			s.watchClients()
		}
		for _, o := range w.send {
			s.sender.send(ctx, o)
		}
		if w.flush && s.conn.flush(ctx) {
			s.flushed(w.send)
		}
		timer.Reset(time.Until(s.next()))
	}
}

// step ends what has waited long enough, and picks what is to be done.
func (s *session) step(now time.Time) (w work) {
	s.n.mu.Lock()
	defer s.n.unlock()
	s.servers.endDiscovery(now)
	s.announcements.endOverdue(now)
	due, roundEnded := s.servers.takePings(now)
	if roundEnded {
		s.announcements.finishAllAcknowledged()
	}
	lists, overdue := s.servers.takeLists(now)
	for _, srv := range lists {
		due = append(due, request{subject: accountzOf(srv.id), reply: aboutList})
	}
	for _, srv := range overdue {
		s.endList(srv, now)
	}
	due = append(due, s.n.unanswered.scan(s.announcements, now)...)
	s.announcements.takeUpMore(now)
	w = work{requests: due, watch: s.clients == clientsMatter, send: s.announcements.take(now)}
	w.flush = len(w.send) > 0 && s.servers.any((*server).isMute)
	return w
}

// next returns when there is more to do, unless a message or a change wakes the session before.
func (s *session) next() time.Time {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.n.unanswered.next(s.announcements.next(s.servers.next()))
}

// wakeUp makes run look again. It never blocks.
func (s *session) wakeUp() { pause.Wake(s.wake) }

// flushed counts a batch that the connected nats-server has taken as acknowledged by nats-servers
// before 2.2: there can be no other proof.
func (s *session) flushed(batch []outgoing) {
	s.n.mu.Lock()
	defer s.n.unlock()
	for _, o := range batch {
		a := s.announcements.active[o.Key]
		if o.purpose.confirms() || a == nil || a.Seq != o.Seq {
			continue
		}
		for _, srv := range s.servers.byName {
			if srv.isMute() {
				s.servers.setAnswered(srv)
				s.announcements.acknowledge(srv, a, true)
				s.apply(srv, replies, time.Now())
			}
		}
		s.announcements.endIfAnswered(a)
	}
}

// watchClients begins to learn of clients that connect. It is called only when a cache lacks an
// account, since each client is a message.
func (s *session) watchClients() {
	if s.conn.subscribe(connects, s.clientConnected) {
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		s.clients = clientsWatched
	}
}
