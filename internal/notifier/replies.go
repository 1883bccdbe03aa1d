package notifier

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

// Answers to requests go to <inbox>.<about>.<rest>, where about is one of these.
//
// Answers to announcements go to <inbox>.<process>.<digest>.<key>.<seq>.<number of the attempt>,
// below an inbox that outlives the process: a server may answer when the session has ended long
// ago. The digest is that of the JWT. The number counts the attempts of the process.
const (
	aboutIDZ  = "idz"  // which servers are there; there is no rest
	aboutPing = "ping" // the same
	aboutRuns = "runs" // what is run for an account; the rest is the number of the gathering
	// aboutConfirm is for what is run for an account, when a change is to be confirmed. The rest is
	// as for an announcement, from the key on.
	aboutConfirm = "heard"
	aboutList    = "list" // which accounts are loaded; there is no rest
	// aboutLoaded is for the list of a server that may have been forgotten; there is no rest.
	aboutLoaded = "loaded"
	aboutCheck  = "check" // whether a server has got an older JWT late; the rest is the key
	// aboutLookup is for which JWT others have stored. The rest is as for aboutConfirm, or only the
	// key. The answer is a JWT, or empty.
	aboutLookup = "lookup"
	// aboutNothing is for answers that are not read.
	aboutNothing = "nothing"
)

// connectInterval is the least time between two announcements that clients cause which connect to a
// cache.
const connectInterval = time.Second

// receiveAnswer takes every answer to an announcement, also to one of an earlier session or
// process.
func (s *session) receiveAnswer(m *nats.Msg) {
	rest, ours := strings.CutPrefix(m.Subject, s.n.inbox+".")
	parts := strings.SplitN(rest, ".", 4)
	answer, ok := readAnswer(m.Data)
	if !ours || len(parts) < 4 || !ok {
		return
	}
	process, applied, key, attempt := parts[0], parts[1], parts[2], parts[3]
	if process != s.n.process {
		attempt = "" // the number is of another process
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	defer s.wakeUp()
	s.updated(digest(applied), key, attempt, answer, time.Now())
}

// receive takes every message that comes to the session's inbox: an answer, or nats-server's word
// that no subscriber has got the request.
func (s *session) receive(m *nats.Msg) {
	rest, ours := strings.CutPrefix(m.Subject, s.conn.inbox+".")
	if !ours {
		return
	}
	about, rest, _ := strings.Cut(rest, ".")
	noResponders := m.Header.Get("Status") == "503"
	if about == aboutLookup {
		key, attempt, _ := strings.Cut(rest, ".")
		s.found(key, attempt, m.Data)
		return
	}
	answer, ok := readAnswer(m.Data)
	if !ok && !noResponders {
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	defer s.wakeUp()
	// For idzSubject, no responders means only that none is 2.10 or later. Another request ends
	// when its time is over.
	switch {
	case !noResponders:
		s.answered(about, rest, answer, time.Now())
	case about == aboutPing:
		s.servers.discoverBy = time.Now() // no nats-server is there
	}
}

// answered takes one server's answer to a request.
func (s *session) answered(about, rest string, answer answer, now time.Time) {
	switch about {
	case aboutIDZ:
		s.pinged(answer, now)
		s.servers.measure(answer.serverID, now)
	case aboutPing:
		s.pinged(answer, now)
	case aboutRuns:
		if srv := s.servers.find(answer.serverID); srv != nil {
			s.gatherings.answer(rest, srv.name, answer.running)
		}
	case aboutList:
		s.listed(answer, now)
	case aboutLoaded:
		s.checkLoaded(answer, now)
	case aboutConfirm:
		key, attempt, _ := strings.Cut(rest, ".")
		s.answeredConfirmation(key, attempt, answer)
	case aboutCheck:
		s.answeredCheck(rest, answer)
	}
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

// pinged takes what a nats-server says about itself. The answer to idzSubject has no version; the
// one to the request that register demands then has.
func (s *session) pinged(answer answer, now time.Time) {
	s.servers.expected = max(s.servers.expected, answer.activeServers)
	srv := s.seen(answer.serverID, now, false)
	if srv == nil {
		return
	}
	srv.round = s.servers.round.number
	if answer.version == "" {
		return
	}
	if srv.version == "" {
		srv.probeAt = now // the first probe need not wait any more
	}
	srv.version, srv.cluster = answer.version, answer.cluster
	// An announcement to one that never answers would find out nothing.
	if srv.isMute() {
		s.apply(srv, replies, now)
	}
}

// seen returns the server that has sent a message. It takes up what a new one lacks. If that is
// nothing, the server counts as responsive until it misses an announcement. It returns nil if too
// many are known; a server that has answered an update is preferred.
func (s *session) seen(id serverID, now time.Time, preferred bool) *server {
	srv, isNew := s.servers.register(id, now, preferred)
	if isNew && s.announcements.serverAppeared(srv.name) {
		srv.state = untested
	}
	return srv
}

// apply changes the state of a server, which then may get what it lacks.
func (s *session) apply(srv *server, e serverEvent, now time.Time) {
	if s.servers.apply(srv, e, now) && srv.isResponsive() {
		srv.taken = 0 // it begins anew with what it lacks
		s.announcements.takeUp(srv, now)
	}
}

// updated takes one nats-server's answer to an announcement. One that comes after the end of its
// attempt counts, too. One for a change that was replaced may show that the server does not run the
// newer one any more.
func (s *session) updated(sent digest, key, attempt string, answer answer, now time.Time) {
	srv := s.seen(answer.serverID, now, answer.result != refused)
	if srv == nil {
		return
	}
	s.servers.setAnswered(srv)
	if answer.resolver != unknownResolver {
		srv.resolver = answer.resolver
	}
	seq, number := parseReply(attempt)
	a := s.announcements.byKey[key]
	isLatest := a != nil && a.Seq == seq
	isLast := isLatest && a.number == number && number > 0
	s.n.counts.add(isLatest, answer.result)
	if !isLast || a.state != inFlight {
		s.n.unanswered.answered(key, srv.name)
	}
	switch {
	case isLatest:
		s.record(srv, a, isLast, answer, now)
		defer a.release()
	case answer.result == applied:
		s.answeredLate(srv, key, number, sent)
	}
	s.showsItself(srv, now)
	if isLatest && !s.announcements.finishAcknowledged(a) && isLast {
		s.announcements.goOn(a)
	}
}

// showsItself has a server that has answered an announcement get what it lacks. One that fetches
// gets it after its list.
func (s *session) showsItself(srv *server, now time.Time) {
	if !srv.isResponsive() {
		s.servers.wantList(srv, now)
	}
	if !srv.list.isOpen() {
		s.apply(srv, replies, now)
	}
}

// These are the reasons why a change is still pending for a server that has not loaded the account.
const (
	notLoadedYet = "it has not loaded the account: the update is sent again in a moment"
	notCachedYet = "it has not cached the account: it gets the update when a client connects"
)

// record records what a nats-server has done with a change. isLast is set if the answer is to the
// last attempt: only such an answer can demand the next one. Nothing but "skipped" proves less when
// it is late.
func (s *session) record(srv *server, a *announcement, isLast bool, answer answer, now time.Time) {
	isAcked := answer.result == applied || answer.result == skipped && isLast &&
		willFetch(a.Change, a.sent)
	of := outcome{state: accounts.ServerAcknowledged}
	switch answer.result {
	case notCached:
		of = outcome{accounts.ServerNotInUse, notCachedYet}
		a.notCached[srv.name] = true
		s.clients = max(s.clients, clientsMatter)
	case skipped:
		of = outcome{accounts.ServerNotInUse, notLoadedYet}
	case refused:
		of = outcome{accounts.ServerRefused, answer.reason}
		s.n.refusals[srv.name] = Refusal{Account: a.Key, Reason: answer.reason, At: now}
		s.n.notes.warnOnce("nats-server %s refuses the update of %s: %s; it is sent again, less "+
			"and less often: correct the JWT and push it", srv.name,
			logging.ShortKey(a.Key), of.reason)
	}
	if isLast {
		a.answered[srv.name], a.said[srv.name] = true, of
	}
	switch {
	case isAcked:
		s.announcements.acknowledge(srv, a, answer.result == applied)
	case isLast:
		s.retryAfter(a, answer.result, now)
	}
}

// retryAfter demands the next attempt, if a server's answer to the last one is not an
// acknowledgement.
func (s *session) retryAfter(a *announcement, r result, now time.Time) {
	switch {
	case r == refused:
		a.refuse(now)
	case r == notCached && s.clients != clientsWatched:
		a.retry(now.Add(connectInterval)) // a client may connect before that is watched for
	case r == skipped:
		a.retry(a.Known.Add(fetchWindow))
	}
}

// clientConnected takes the message that a client has connected to an account. If that server's
// cache lacked the account, it has fetched it now, maybe an older JWT.
func (s *session) clientConnected(m *nats.Msg) {
	key := strings.TrimSuffix(strings.TrimPrefix(m.Subject, "$SYS.ACCOUNT."), ".CONNECT")
	s.n.mu.Lock()
	defer s.n.unlock()
	a := s.announcements.byKey[key]
	if a == nil { // so it is for nearly all of these messages
		s.takeUpAgain(key, m.Data)
		return
	}
	if answer, ok := readAnswer(m.Data); ok && a.notCached[answer.Name] {
		delete(a.notCached, answer.Name)
		a.retry(a.sent.Add(connectInterval))
		if a.state == waiting {
			s.announcements.end(a)
		}
		s.wakeUp()
	}
}

// takeUpAgain announces a change that has waited for a client of a cache, if very many did.
func (s *session) takeUpAgain(key string, data []byte) {
	c := s.n.outbox.PendingFor(key)
	if c.Seq == 0 {
		return
	}
	answer, ok := readAnswer(data)
	srv := s.servers.byName[answer.Name]
	if ok && srv != nil && srv.mayLackInCache(c.Seq) && s.n.outbox.IsPending(srv.name, c.Seq) {
		s.announcements.apply(s.announcements.get(c), wanted, time.Now().Add(connectInterval))
		s.wakeUp()
	}
}
