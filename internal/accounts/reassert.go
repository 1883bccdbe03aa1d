package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"nats-account-server/internal/logging"
)

const (
	// reassertInterval is how often an account is announced again because another JWT of it was.
	reassertInterval = time.Second
	// maxReassertInterval is how long two servers that contradict each other for ever come to wait.
	maxReassertInterval = 10 * time.Minute
)

// reassert announces the stored JWT again, after one was announced that may not replace it. A
// nats-server runs any JWT that the operator signed, an older one too, and one with a directory
// keeps whatever it is given.
func (a *announcing) reassert(o *offer) {
	if a.reasserter.heard(o.key, o.hash, o.from.Peer, a.announceStored) {
		a.log.Warn(fmt.Sprintf("%s - a JWT was announced that may not replace the stored one: "+
			"the stored one is announced again", logging.ShortKey(o.key)))
		a.announceStored(o.key)
	}
}

// announceStored announces the stored JWT of an account.
func (a *announcing) announceStored(key string) {
	seq, err := a.committer.Touch(context.Background(), key, KindReassert)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it is the configured system account, or has just been deleted
	case err != nil:
		a.log.Warn(fmt.Sprintf("%s - can't be announced again - %s", logging.ShortKey(key), err))
	default:
		a.announcer.Announce(key, seq, a.now())
	}
}

// reasserter keeps an account from being announced again more than once in a period, without losing
// the last event.
//
//	        heard                   heard
//	(none) ──────> waiting ──────────────────> repeat
//	  ^               │ ^                        │ the period ends: announce
//	  │               │ └────────────────────────┘
//	  │               │ the period ends
//	  └───────────── quiet ──> waiting, when heard
//	  the period ends
//
// The first event is announced at once. An account that is quiet is remembered for one more period.
type reasserter struct {
	mu       sync.Mutex
	accounts map[string]*reassertion
}

type reassertState int

const (
	waiting reassertState = iota // an announcement was made in this period
	repeat                       // so it was, and there was another event since
	quiet                        // the last period ended without another event
)

// reassertion is the present period of one account.
type reassertion struct {
	state  reassertState
	other  Digest // of the JWT that was announced by another server last
	period time.Duration
	ends   time.Time
}

// heard notes that another JWT was announced, and reports whether the stored one is to be announced
// now. If it is to be announced later, announce is called then. If another account server announces
// the same JWT after each announcement, neither server will give in: the periods double.
func (m *reasserter) heard(key string, other Digest, peer bool, announce func(key string)) (now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[key]
	switch {
	case a == nil:
		a = &reassertion{state: quiet, period: reassertInterval}
		if m.accounts == nil {
			m.accounts = make(map[string]*reassertion)
		}
		m.accounts[key] = a
	case peer && a.other == other:
		a.period = min(2*a.period, maxReassertInterval)
	default:
		a.period = reassertInterval
	}
	a.other = other
	if a.state != quiet {
		a.state = repeat
		return false
	}
	a.state = waiting
	m.beginLocked(key, a, announce)
	return true
}

// beginLocked begins a period. m.mu must be held.
func (m *reasserter) beginLocked(key string, a *reassertion, announce func(key string)) {
	a.ends = time.Now().Add(a.period)
	time.AfterFunc(a.period, func() {
		if m.end(key, a, announce) {
			announce(key)
		}
	})
}

// end ends a period, and reports whether the stored JWT is to be announced now.
func (m *reasserter) end(key string, a *reassertion, announce func(key string)) (now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.accounts[key] != a || time.Now().Before(a.ends) {
		return false // another period has begun since this timer was set
	}
	switch a.state {
	case repeat:
		a.state = waiting
		m.beginLocked(key, a, announce)
		return true
	case waiting:
		a.state = quiet
		m.beginLocked(key, a, announce)
	case quiet:
		delete(m.accounts, key)
	}
	return false
}
