package notifier

import (
	"time"

	"nats-account-server/internal/trust"
)

const (
	// maxUnanswered bounds the accounts that are remembered. Each takes some hundred bytes.
	maxUnanswered = 50_000
	// maxOthers bounds how many there are when an account is added that others have announced. They
	// can announce any number, and leave room for the announcements of this process.
	maxOthers = maxUnanswered / 2
	// unansweredTimeout is how long an account is remembered whose JWT does not change meanwhile.
	unansweredTimeout = 30 * time.Minute
	// scanInterval is how often they are looked through, and maxChecks how many requests that
	// may cause.
	scanInterval = time.Second
	maxChecks    = 100
	// maxNamed is how many servers of one account are told apart.
	maxNamed = 32
)

// checkAfter is when an account is checked, counted from the newer change, or from the start of the
// session, and from the check before. A connection that has stalled is given up
// after some minutes.
var checkAfter = [...]time.Duration{5 * time.Second, 30 * time.Second,
	3 * time.Minute, 15 * time.Minute}

// unanswered has the accounts of which an announcement was sent that some server has not answered.
// It may be on its way, also after the session has ended, and may reach the server after a newer
// one that went another way. Its answer shows that. But the answer may be lost. So when a newer JWT
// of the account is acknowledged, the account is checked several times: the server is asked what it
// runs. All servers are asked after an announcement of others, whose answers this process does not
// get.
//
// It outlives sessions, and the Outbox keeps the keys for the next process. An earlier process may
// also have announced everything that was pending at the start of this one.
type unanswered struct {
	outbox   Outbox
	byKey    map[string]*unansweredAccount
	nextScan time.Time
}

// unansweredAccount is what is remembered of one account.
type unansweredAccount struct {
	// servers has how many announcements each server has not answered. It is nil if it may be any
	// server: there are too many, or an earlier process or another program has announced the
	// account.
	servers map[string]int
	seq     uint64    // of the latest change that was not answered
	isNewer bool      // the account has changed since
	checked int       // how often it was checked since
	due     time.Time // when it is checked next, or, if it has not changed, is forgotten
}

// newUnanswered returns what an earlier process may have left.
func newUnanswered(outbox Outbox) *unanswered {
	u := &unanswered{outbox: outbox, byKey: make(map[string]*unansweredAccount)}
	keys := outbox.Unanswered()
	for _, c := range outbox.PendingOf("", 0, maxUnanswered) {
		keys = append(keys, c.Key)
	}
	for _, key := range keys {
		if m := u.get(key, maxUnanswered); m != nil {
			m.isNewer = true
		}
	}
	return u
}

// get returns what is remembered of an account. It adds one about all servers if there is none, and
// returns nil if that is one too many.
func (u *unanswered) get(key string, atMost int) *unansweredAccount {
	m := u.byKey[key]
	if m == nil && len(u.byKey) < atMost {
		m = &unansweredAccount{}
		u.byKey[key] = m
		u.outbox.SetUnanswered(key, true)
	}
	return m
}

// remove forgets an account.
func (u *unanswered) remove(key string) {
	delete(u.byKey, key)
	u.outbox.SetUnanswered(key, false)
}

// add records that servers have not answered an announcement. It reports false if too many accounts
// are remembered.
func (u *unanswered) add(key string, seq uint64, servers []string, now time.Time) bool {
	isNew := u.byKey[key] == nil
	m := u.get(key, maxUnanswered)
	if m == nil {
		return false
	}
	if isNew {
		m.servers = make(map[string]int)
	}
	if len(m.servers)+len(servers) > maxNamed {
		m.servers = nil
	}
	m.seq = max(m.seq, seq)
	if !m.isNewer {
		m.due = now.Add(unansweredTimeout)
	}
	for _, name := range servers {
		if m.servers != nil {
			m.servers[name]++
		}
	}
	return true
}

// byOthers returns what is remembered of an account that others have announced, nil if too many
// accounts are remembered.
func (u *unanswered) byOthers(key string) *unansweredAccount {
	m := u.get(key, maxOthers)
	if m != nil {
		m.servers = nil
	}
	return m
}

// heard records that others have announced the change of this number.
func (u *unanswered) heard(key string, seq uint64, now time.Time) {
	if m := u.byOthers(key); m != nil && !m.isNewer {
		m.seq, m.due = max(m.seq, seq), now.Add(unansweredTimeout)
	}
}

// contested records that others have announced the account, and that it has changed since or is
// about to be announced again. The checks begin when that does not happen for some time.
func (u *unanswered) contested(key string, now time.Time) {
	if m := u.byOthers(key); m != nil {
		m.isNewer, m.checked, m.due = true, 0, now.Add(checkAfter[0])
	}
}

// checkOnce demands one check of an account at a server.
func (u *unanswered) checkOnce(key, server string, now time.Time) {
	isNew := u.byKey[key] == nil
	m := u.get(key, maxOthers)
	if m == nil {
		return
	}
	if isNew {
		m.servers, m.checked = make(map[string]int), len(checkAfter)
	}
	m.checked = min(m.checked, len(checkAfter)-1) // those of before may all have been made
	if m.servers != nil && len(m.servers) < maxNamed {
		m.servers[server]++
	}
	m.isNewer, m.due = true, now
}

// answered records that a server has answered one announcement of the account.
func (u *unanswered) answered(key, server string) {
	m := u.byKey[key]
	if m == nil || m.servers == nil {
		return
	}
	if m.servers[server]--; m.servers[server] <= 0 {
		delete(m.servers, server)
	}
	if len(m.servers) == 0 {
		u.remove(key)
	}
}

// changed records that the account has a change of this number. Only the first one after an
// announcement that was not answered counts: what follows from an answer causes no more checks.
func (u *unanswered) changed(key string, seq uint64, now time.Time) {
	if m := u.byKey[key]; m != nil && seq > m.seq && !m.isNewer {
		m.isNewer, m.due = true, now.Add(checkAfter[0])
	}
}

// sessionBegan takes up what has changed since the session before, and lets some time pass before
// anything is checked.
func (u *unanswered) sessionBegan(now time.Time) {
	for key, m := range u.byKey {
		u.changed(key, u.outbox.PendingFor(key).Seq, now)
		if m.isNewer {
			m.due = later(m.due, now.Add(checkAfter[0]))
		}
	}
}

// wasCheckedTwice reports whether an account was checked twice.
func (u *unanswered) wasCheckedTwice(key string) bool {
	m := u.byKey[key]
	return m != nil && m.checked == 2
}

// next returns when scan has something to do, at the latest the moment given.
func (u *unanswered) next(latest time.Time) time.Time {
	if len(u.byKey) == 0 {
		return latest
	}
	return earlier(latest, u.nextScan)
}

// scan returns the requests of the checks that are due, at most some hundred. An account of which
// an announcement is in flight waits.
func (u *unanswered) scan(p *announcements, now time.Time) (due []request) {
	if now.Before(u.nextScan) {
		return nil
	}
	u.nextScan = now.Add(scanInterval)
	if p.servers.discovering {
		return nil
	}
	for key, m := range u.byKey {
		switch {
		case now.Before(m.due) || len(due) >= maxChecks:
		case !m.isNewer || m.checked >= len(checkAfter):
			u.remove(key)
		case p.active[key] == nil:
			due = append(due, m.check(p, key)...)
			m.due = now.Add(checkAfter[min(m.checked+1, len(checkAfter)-1)])
			m.checked++
		}
	}
	return due
}

// check asks servers that are there, and have acknowledged the account's latest change, what they
// run for it. All others get that change anyway. Those that keep JWTs are asked what they have
// stored.
func (m *unansweredAccount) check(p *announcements, key string) (due []request) {
	due = append(due, lookup(key, key))
	latest := p.n.outbox.PendingFor(key)
	for name, srv := range p.servers.byName {
		isMeant := m.servers == nil || m.servers[name] > 0
		if isMeant && srv.id != "" && !srv.isMute() && !p.n.outbox.IsPending(name, latest.Seq) {
			due = append(due, request{
				subject: accountzOf(srv.id), reply: aboutCheck + "." + key,
				data: accountPayload(key),
			})
		}
	}
	return due
}

// checkLoaded takes the list of accounts that a server has loaded. Each may have changed
// while the server was forgotten.
func (s *session) checkLoaded(answer answer, now time.Time) {
	srv := s.servers.find(answer.serverID)
	if srv == nil {
		return
	}
	for _, key := range answer.loaded {
		if trust.IsAccountKey(key) {
			s.n.unanswered.checkOnce(key, srv.name, now)
		}
	}
}

// recordUnanswered records which servers have not answered an announcement, when its attempt ends
// or is abandoned.
func (p *announcements) recordUnanswered(a *announcement) {
	if a.isConfirmation {
		return
	}
	var names []string
	for name, srv := range p.servers.byName {
		if !a.answered[name] && !srv.isMute() {
			names = append(names, name)
		}
	}
	if len(names) > 0 && !p.n.unanswered.add(a.Key, a.attempt.seq, names, time.Now()) {
		p.n.notes.warnOnce("more than %d accounts have announcements without an answer: whether "+
			"an older JWT of the others arrives late is not looked after", maxUnanswered)
	}
}
