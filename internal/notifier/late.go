package notifier

import (
	"bytes"
	"context"
	"encoding/hex"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

const (
	// maxComparisons bounds the servers, of one account each, that wait to be compared. A stall
	// that ends may bring that many late answers at once.
	maxComparisons = 50_000
	// maxComparing is how many are compared at once. Each may wait for the disk.
	maxComparing = 8
)

// digest is the start of a JWT's SHA-256, in hex. It is part of the reply subject of an
// announcement, so that an answer says which JWT it is about, however late it comes.
type digest string

// digestOf returns the digest of a JWT that has this hash.
func digestOf(hash accounts.Digest) digest { return digest(hex.EncodeToString(hash[:8])) }

// digestOfJWT returns the digest of a JWT, whatever space is around it.
func digestOfJWT(token []byte) digest { return digestOf(trust.HashOf(token)) }

// comparison is a nats-server that has applied some JWT of an account at a moment at which that may
// not have been the stored one.
type comparison struct {
	key     string
	server  string // "" if the JWT is only stored there, wherever that is
	applied digest // "" if it may be any
	running string // the JWT that it says it runs, "" if it has not said
	// attempt is the number of the attempt that waits for it, 0 if none does.
	attempt int
}

// comparer compares what nats-servers have applied with what is stored. Notifier.mu guards it.
type comparer struct {
	n        *Notifier
	accounts Accounts
	queue    *workQueue[comparison]
	// stuck has the accounts of which a server runs another JWT than it has acknowledged.
	stuck map[string]bool
}

// newComparer returns one with an empty queue.
func newComparer(n *Notifier, accounts Accounts) *comparer {
	return &comparer{
		n:        n,
		accounts: accounts,
		queue:    newWorkQueue[comparison](&n.mu, maxComparisons, maxComparing),
		stuck:    make(map[string]bool),
	}
}

// add queues a comparison, and reports whether it will be made: there may be too many. n.mu must be
// held.
func (q *comparer) add(c comparison) bool {
	ok := q.queue.addLocked(c)
	if !ok {
		q.n.notes.warnOnce("more than %d late answers of nats-servers wait to be looked at: "+
			"the others are left out", maxComparisons)
	}
	return ok
}

// compare announces the stored JWT of an account again if a server has applied another one. A newer
// one is stored instead. If an attempt waits, it is about to announce the stored one anyway.
func (q *comparer) compare(ctx context.Context, c comparison) {
	if c.applied == "" && q.isIncomplete(c.key) {
		return
	}
	account, err := q.accounts.GetLocal(ctx, c.key)
	if err != nil || digestOf(account.Hash) == c.applied { // what can't be read can't be announced
		return
	}
	adopted := c.running != "" && q.accounts.Adopt(ctx, c.key, []byte(c.running))
	if adopted || c.attempt > 0 || c.server == "" {
		return
	}
	q.n.mu.Lock()
	q.stuck[c.key] = c.running != "" // it says so itself
	q.n.notes.warnOnce("%s - nats-server %s may have applied another JWT after the stored one: "+
		"the stored one is announced again", logging.ShortKey(c.key), c.server)
	q.n.unlock()
	q.accounts.Reassert(c.key)
}

// isIncomplete reports whether an account is not wholly in effect somewhere: then a suspicion is not
// enough to announce it again. If a server runs another JWT when it has loaded the account, a round
// finds that.
func (q *comparer) isIncomplete(key string) bool {
	q.n.mu.Lock()
	defer q.n.mu.Unlock()
	return q.n.incomplete.has(key)
}

// takeStuck reports whether a server runs another JWT of an account than it has acknowledged, once.
// n.mu must be held.
func (q *comparer) takeStuck(key string) bool {
	isStuck := q.stuck[key]
	delete(q.stuck, key)
	return isStuck
}

// lookup asks which JWT of an account others have stored. A nats-server that keeps JWTs does not
// run one before it needs the account, and ACCOUNTZ says nothing of it. It answers a lookup before
// an ACCOUNTZ request that is sent later.
func lookup(key, rest string) request {
	return request{subject: "$SYS.REQ.ACCOUNT." + key + ".CLAIMS.LOOKUP",
		reply: aboutLookup + "." + rest}
}

// found takes an answer to a lookup. If it is newer than the stored JWT it is stored, and the
// attempt that waits for the answers does not announce the older one.
func (s *session) found(key, attempt string, token []byte) {
	if token = bytes.TrimSpace(token); !trust.IsAccountKey(key) || len(token) == 0 {
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	c := comparison{key: key, applied: digestOfJWT(token), running: string(token)}
	seq, number := parseReply(attempt)
	a := s.announcements.active[key]
	if a != nil && a.isConfirmation && a.Seq == seq && a.number == number {
		if bytes.Equal(token, a.token) {
			return
		}
		if c.attempt = number; s.comparer.queue.known[c] != nil {
			return
		}
		a.found++
	}
	if !s.comparer.add(c) && c.attempt > 0 {
		a.found--
	}
}

// compared counts a comparison as the answer to the attempt that waits for it.
func (s *session) compared(c comparison) {
	s.n.mu.Lock()
	defer s.n.unlock()
	a, srv := s.announcements.byKey[c.key], s.servers.byName[c.server]
	switch isWaiting := a != nil && c.attempt > 0 && a.number == c.attempt; {
	case !isWaiting:
	case c.server == "":
		if a.found--; a.state == inFlight {
			s.announcements.endIfAnswered(a)
			s.wakeUp()
		}
	case srv != nil:
		a.answered[c.server] = true
		confirmations{s.announcements}.answered(a, srv)
		s.wakeUp()
	}
}

// isLate reports whether an answer to an announcement that is not the last one of its account shows
// that the server applied the JWTs out of order. Answers arrive in the order in which a server
// sends them. So does what is sent to it, but only within a session.
func (p standings) isLate(srv *server, key string, number int) bool {
	a := p.byKey[key]
	switch {
	case a == nil: // the server has acknowledged a later one, unless that is not taken up yet
		return !p.n.outbox.IsPending(srv.name, p.n.outbox.PendingFor(key).Seq)
	case a.number == 0: // the later one is still to be sent
		return false
	}
	return a.answered[srv.name] || number < p.first || !p.n.outbox.IsPending(srv.name, a.Seq)
}

// answeredLate takes an answer to an announcement of a change that was replaced, or of one that is
// no longer pending.
func (s *session) answeredLate(srv *server, key string, number int, applied digest) {
	if trust.IsAccountKey(key) && (standings{s.announcements}).isLate(srv, key, number) {
		s.comparer.add(comparison{key: key, server: srv.name, applied: applied})
	}
}

// answeredCheck takes a server's answer to a check of unanswered: what it runs for an account. If
// the server keeps JWTs and has not loaded the account, it may have kept an older one than the
// stored one. A newer one has been found by the lookup before.
func (s *session) answeredCheck(key string, answer answer) {
	srv := s.servers.find(answer.serverID)
	if srv == nil {
		return
	}
	mayKeep := srv.resolver != fetching && s.n.unanswered.wasCheckedTwice(key)
	switch r := answer.running; {
	case r.State == accounts.Loaded:
		s.comparer.add(comparison{
			key: key, server: srv.name, applied: digestOfJWT(r.JWT), running: string(r.JWT),
		})
	case r.State == accounts.NotLoaded && mayKeep:
		s.comparer.add(comparison{key: key, server: srv.name})
	}
}
