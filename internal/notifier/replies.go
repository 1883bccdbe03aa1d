package notifier

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/logging"
)

// Answers go to <inbox>.<about>.<rest>, where about is one of these or, for an announcement, the
// account's key.
const (
	aboutIDZ  = "idz"
	aboutPing = "ping"
	aboutRuns = "runs" // the number of the question follows
)

// pingReply is where the answers to a question which servers are there go.
func pingReply(subject string) string {
	if subject == idzSubject {
		return aboutIDZ
	}
	return aboutPing
}

// receive takes every message that comes to the session's inbox: an answer, or nats-server's word
// that no subscriber has got the question.
func (s *session) receive(m *nats.Msg) {
	rest, ours := strings.CutPrefix(m.Subject, s.inbox+".")
	if !ours {
		return
	}
	about, rest, _ := strings.Cut(rest, ".")
	noResponders := m.Header.Get("Status") == "503"
	answer, ok := readAnswer(m.Data)
	if !ok && !noResponders {
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	defer s.wakeUp()
	switch now := time.Now(); {
	case noResponders:
		s.notReceived(about, rest, now)
	case about == aboutIDZ || about == aboutPing:
		s.pinged(answer, now)
	case about == aboutRuns:
		s.questions.answer(rest, s.servers, answer)
	default:
		s.updated(about, rest, answer, now)
	}
}

// notReceived takes the message that no nats-server has got another one. For idzSubject that means
// only that none is 2.10 or later.
func (s *session) notReceived(about, rest string, now time.Time) {
	switch about {
	case aboutIDZ, aboutRuns:
	case aboutPing:
		s.servers.discoverBy = now
	default:
		if a := s.current(about, rest); a != nil && a.state == inFlight {
			if len(s.servers.byName) > 0 {
				a.refuse("", "no nats-server takes account updates")
			}
			s.announcements.end(a, now)
		}
	}
}

// current returns the announcement of an account if the attempt is its last, nil if not.
func (s *session) current(key, attempt string) *announcement {
	seq, number := parseReply(attempt)
	a := s.announcements.byKey[key]
	if a == nil || a.Seq != seq || a.number != number || number == 0 {
		return nil
	}
	return a
}

// heartbeat takes what a nats-server publishes of itself. So one that has restarted need not wait
// for the next round.
func (s *session) heartbeat(m *nats.Msg) {
	answer, ok := readAnswer(m.Data)
	if !ok || answer.version == "" {
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	s.pinged(answer, time.Now())
	s.wakeUp()
}

// pinged takes what a nats-server says about itself. The answer to idzSubject has no version.
func (s *session) pinged(answer answer, now time.Time) {
	s.servers.expected = max(s.servers.expected, answer.activeServers)
	srv := s.seen(answer.serverID, now)
	srv.answered = s.servers.round.number
	if answer.version == "" {
		return
	}
	s.servers.identify(srv, answer, now)
	s.countFetched(srv)
	e := identifies
	if isBefore(srv.version, 2, 2) {
		e = identifiesOld
	}
	s.apply(srv, e, now)
}

// seen returns the server that has sent a message. It takes up what a new one lacks.
func (s *session) seen(id serverID, now time.Time) *server {
	srv, isNew := s.servers.register(id, now)
	if isNew && s.announcements.serverAppeared(srv.name) {
		srv.state = untested
	}
	return srv
}

// apply changes the state of a server, which then may get what it lacks.
func (s *session) apply(srv *server, e serverEvent, now time.Time) {
	if s.servers.apply(srv, e, now) && !srv.state.oneAtATime() {
		s.announcements.serverReady(srv.name, now)
	}
}

// countFetched acknowledges what a server has fetched since its start.
func (s *session) countFetched(srv *server) {
	if s.servers.countFetched(srv) {
		s.announcements.finishAllAcknowledged()
	}
}

// updated takes one nats-server's answer to an announcement. One that comes after the end of its
// attempt counts, too.
func (s *session) updated(key, attempt string, answer answer, now time.Time) {
	a := s.current(key, attempt)
	seq, _ := parseReply(attempt)
	if s.n.outbox.PendingFor(key).Seq != seq {
		a, seq = nil, 0 // a newer change is there, or no server lacks this one
	}
	srv := s.seen(answer.serverID, now)
	if answer.resolver != unknownResolver {
		srv.resolver = answer.resolver
	}
	s.record(srv, key, seq, a, answer)
	e := replies
	if srv.version == "" && now.Before(srv.identifyBy) {
		e = repliesEarly
	}
	s.apply(srv, e, now)
	latest := s.announcements.byKey[key]
	if latest == nil || s.announcements.finishAcknowledged(latest) || a == nil {
		return
	}
	a.answered[srv.name] = true
	switch a.state {
	case inFlight:
		s.announcements.endIfAnswered(a, now)
	case waiting:
		s.announcements.follow(a, now)
	}
}

// record records what a nats-server has done with the change seq of an account. a is nil if the
// answer is not to the last attempt, seq is 0 if there is nothing to acknowledge.
func (s *session) record(srv *server, key string, seq uint64, a *announcement, answer answer) {
	switch answer.result {
	case applied:
		s.n.outbox.Acknowledge(srv.name, seq)
	case notCached:
		if a := s.announcements.byKey[key]; a != nil && a.Seq == seq {
			a.notCached[srv.name] = true
			s.watch = max(s.watch, watchWanted)
		}
	case skipped:
		s.countFetched(srv)
		if a == nil {
			return
		}
		if a.sent.Sub(a.At) < skipWindow {
			a.followUp = max(a.followUp, afterSkip)
			return
		}
		s.n.outbox.Acknowledge(srv.name, seq)
	case refused, unclear:
		if answer.result == refused {
			s.n.notes.warnOnce("nats-server %s refuses the update of %s: %s",
				srv.name, logging.ShortKey(key), answer.reason)
		}
		if a != nil {
			a.refuse(srv.name, answer.reason)
		}
	}
}

// clientConnected takes the message that a client has connected to an account. If that server's
// cache lacked the account, it has fetched it now, maybe an older JWT.
func (s *session) clientConnected(m *nats.Msg) {
	key := strings.TrimSuffix(strings.TrimPrefix(m.Subject, "$SYS.ACCOUNT."), ".CONNECT")
	s.n.mu.Lock()
	defer s.n.unlock()
	a := s.announcements.byKey[key]
	if a == nil || len(a.notCached) == 0 { // so it is for nearly all of these messages
		return
	}
	if answer, ok := readAnswer(m.Data); ok && a.notCached[answer.Name] {
		s.announcements.connected(a, answer.Name, time.Now())
		s.wakeUp()
	}
}
