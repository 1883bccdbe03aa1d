package notifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// connects is where nats-servers publish that a client has connected to an account. The server loads
// the account for it.
const connects = "$SYS.ACCOUNT.*.CONNECT"

// updateSubject is where nats-servers of every version take account updates.
func updateSubject(key string) string { return "$SYS.ACCOUNT." + key + ".CLAIMS.UPDATE" }

// session announces over one connection. Notifier.mu guards what is in it.
type session struct {
	n        *Notifier
	accounts Accounts
	conn     *link
	wake     chan struct{} // holds one token when run has to look again

	servers       *servers
	announcements *announcements
	comparisons   *comparisons
	gatherings    gatherings
	hasCache      bool // a cache has answered that it lacks an account
	// stuck has the accounts of which a server runs another JWT than it has acknowledged.
	stuck    map[string]bool
	watching bool // the session learns that clients connect
}

// Serve announces through conn the JWTs that from has, until ctx ends. There is one session at a
// time. It takes up what is pending when servers appear.
func (n *Notifier) Serve(ctx context.Context, conn Conn, from Accounts) {
	s := n.newSession(conn, from)
	if !s.conn.subscribe(s.conn.inbox+".>", s.receive) ||
		!s.conn.subscribe(n.inbox+".>", s.receiveAnswer) ||
		!s.conn.subscribe(heartbeats, s.heartbeat) {
		return
	}
	n.mu.Lock()
	n.session, n.maxPayload = s, int(conn.MaxPayload())
	clear(n.notes.warned)
	n.mu.Unlock()
	var tasks sync.WaitGroup
	for range comparers {
		tasks.Go(func() { s.runComparisons(ctx) })
	}
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
func (n *Notifier) newSession(conn Conn, from Accounts) *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inbox == "" {
		inbox := conn.NewInbox()
		end := strings.LastIndex(inbox, ".") + 1
		n.inbox, n.process = inbox[:end]+n.outbox.ID(), inbox[end:]
	}
	now := time.Now()
	n.unanswered.sessionBegan(now)
	servers := newServers(n, now)
	return &session{
		n:             n,
		accounts:      from,
		conn:          &link{Conn: conn, inbox: conn.NewInbox(), log: n.log},
		wake:          make(chan struct{}, 1),
		servers:       servers,
		announcements: newAnnouncements(n, servers),
		comparisons:   newComparisons(),
		stuck:         make(map[string]bool),
		gatherings:    gatherings{byNumber: make(map[string]*gathering)},
	}
}

// work is what is to be done without the lock: it may block. run does it in the order of the fields.
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
			s.send(ctx, o)
		}
		if w.flush {
			s.flush(ctx, w.send)
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
	w = work{requests: due, watch: s.hasCache && !s.watching, send: s.announcements.take(now)}
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

// send publishes the JWT that is stored now, or asks the servers whether they run it. The stored JWT
// may be newer than the change: the servers then get it twice.
func (s *session) send(ctx context.Context, o outgoing) {
	account, err := s.accounts.GetLocal(ctx, o.Key)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		s.withdraw(o.Change)
	case err != nil:
		s.postpone(o.Change, "%s - can't be announced - %s", logging.ShortKey(o.Key), err)
	case o.confirms:
		s.confirm(o, account.JWT)
	case int64(len(account.JWT)) > s.conn.MaxPayload():
		s.postpone(o.Change, "%s - can't be announced - the JWT has %d bytes, "+
			"nats-server takes no more than %d (max_payload)",
			logging.ShortKey(o.Key), len(account.JWT), s.conn.MaxPayload())
	default:
		s.unstick(o.Key, account.JWT)
		s.conn.publish(updateSubject(o.Key), s.n.replySubject(o, account.JWT), account.JWT)
	}
}

// unstick announces an account's JWT with a line feed after it, which changes nothing but the bytes, if
// some server runs another one than it has acknowledged. After two updates at once, a nats-server that
// keeps JWTs may run the one and have stored the other. An update with just that does not change what it
// runs.
func (s *session) unstick(key string, token []byte) {
	s.n.mu.Lock()
	isStuck := s.stuck[key]
	delete(s.stuck, key)
	s.n.mu.Unlock()
	if isStuck {
		s.conn.request(request{updateSubject(key), aboutNothing, append(bytes.Clone(token), '\n')})
	}
}

// replySubject is where the answers to an announcement go, in this session and in later ones.
func (n *Notifier) replySubject(o outgoing, token []byte) string {
	return fmt.Sprintf("%s.%s.%s.%s", n.inbox, n.process, digestOf(token), o.reply())
}

// withdraw ends the announcement of an account that is not stored any more, since another program
// has removed its file. No server lacks it then.
func (s *session) withdraw(c jwtstore.Change) {
	s.n.mu.Lock()
	defer s.n.unlock()
	for _, name := range s.n.outbox.Servers() {
		s.n.outbox.Acknowledge(name, c.Seq)
	}
	if a := s.announcements.byKey[c.Key]; a != nil && a.Seq == c.Seq {
		s.announcements.finish(a)
	}
}

// postpone puts off what can't be sent now, and logs the reason once. The attempt counts as refused.
func (s *session) postpone(c jwtstore.Change, reason string, args ...any) {
	s.n.mu.Lock()
	defer s.n.unlock()
	s.n.notes.warnOnce(reason, args...)
	if a := s.announcements.active[c.Key]; a != nil {
		a.refuse(time.Now())
		s.announcements.end(a)
	}
}

// flush waits, up to answerTimeout, until the connected nats-server has taken the batch. For
// nats-servers before 2.2 it counts as acknowledged then: there can be no other proof.
func (s *session) flush(ctx context.Context, batch []outgoing) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if s.conn.FlushWithContext(ctx) != nil {
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	for _, o := range batch {
		a := s.announcements.active[o.Key]
		if o.confirms || a == nil || a.Seq != o.Seq {
			continue
		}
		for _, srv := range s.servers.byName {
			if srv.isMute() {
				srv.hasAnswered = true
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
		s.watching = true
	}
}
