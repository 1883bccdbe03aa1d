package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
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
	a.Announcer.Contested(o.Key)
	if a.reasserter.heard(o.Key, o.from.Peer, a.announceStored) {
		a.Log.Warn(fmt.Sprintf("%s - a JWT was announced that may not replace the stored one: "+
			"the stored one is announced again", logging.ShortKey(o.Key)))
		a.announceStored(o.Key)
	}
}

// Reassert announces the stored JWT of an account again, now or when that was not done for some
// time, since a nats-server may run another one.
func (r *Registry) Reassert(key string) {
	if r.announcing.reasserter.want(key, r.announcing.announceStored) {
		r.announcing.announceStored(key)
	}
}

// Adopt takes the JWT that a nats-server runs, which may have got it while no account server could
// hear of it. If it is newer than the stored one it is stored and announced. Adopt reports whether
// that is so.
func (r *Registry) Adopt(ctx context.Context, key string, running []byte) bool {
	stored, err := r.GetLocal(ctx, key)
	head, unreadable := trust.Peek(running)
	if err != nil || unreadable != nil || head.IssuedAt <= stored.IssuedAt {
		return false
	}
	result, err := r.Put(ctx, key, running, Origin{Kind: KindPack, Peer: true})
	return err == nil && result.Changed
}

// announceStored announces the stored JWT of an account.
func (a *announcing) announceStored(key string) {
	seq, err := a.touch(context.Background(), key, KindReassert)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it has just been deleted
	case err != nil:
		a.Log.Warn(fmt.Sprintf("%s - can't be announced again - %s", logging.ShortKey(key), err))
	default:
		a.Announcer.Announce(key, seq)
	}
}

// reasserter keeps an account from being announced again more than once in a period, without losing
// the last event. The first event is announced at once. Of those in the period after it, one
// announcement is made when the period ends.
type reasserter struct {
	mu sync.Mutex
	// accounts has the accounts that were announced again lately, by key. A timer takes them out.
	accounts map[string]*reassertion
}

// reassertion is what is remembered of one account for two periods after its last announcement.
type reassertion struct {
	last     time.Time     // announcement
	period   time.Duration // from the last announcement to the next
	waits    bool          // the stored JWT is announced when the period ends
	isLonger bool          // the period has doubled since the last announcement
}

// heard notes that another JWT was announced, and reports whether the stored one is to be announced
// now. If it is to be announced later, announce is called then. If another account server has
// announced it after this one, neither may ever give in, since one lacks a key: the periods double.
// Which JWT that was does not matter, as there may be several such servers.
func (m *reasserter) heard(key string, peer bool, announce func(key string)) (now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.getLocked(key)
	// What is waited for is the period that has begun; the new one begins after it.
	wait := time.Until(a.last.Add(a.period))
	switch {
	case !peer:
		a.period = reassertInterval
	case !a.last.IsZero() && !a.isLonger:
		a.isLonger = true
		a.period = min(2*a.period, maxReassertInterval)
	}
	return m.announceLocked(key, a, wait, announce)
}

// want is heard for a JWT that was not announced by another server. It leaves the periods as they
// are.
func (m *reasserter) want(key string, announce func(key string)) (now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.getLocked(key)
	return m.announceLocked(key, a, time.Until(a.last.Add(a.period)), announce)
}

// getLocked returns what is remembered of an account. m.mu must be held.
func (m *reasserter) getLocked(key string) *reassertion {
	a := m.accounts[key]
	if a == nil {
		if m.accounts == nil {
			m.accounts = make(map[string]*reassertion)
		}
		a = &reassertion{period: reassertInterval}
		m.accounts[key] = a
	}
	return a
}

// announceLocked reports whether the account is to be announced now. If not, announce is called
// after a wait, once. m.mu must be held.
func (m *reasserter) announceLocked(
	key string, a *reassertion, wait time.Duration, announce func(key string),
) (now bool) {
	switch {
	case a.waits:
		return false
	case wait <= 0:
		m.beginLocked(key, a)
		return true
	}
	a.waits = true
	time.AfterFunc(wait, func() {
		m.mu.Lock()
		m.beginLocked(key, a)
		m.mu.Unlock()
		announce(key)
	})
	return false
}

// beginLocked begins a period, with an announcement. m.mu must be held.
func (m *reasserter) beginLocked(key string, a *reassertion) {
	began := time.Now()
	a.last, a.waits, a.isLonger = began, false, false
	m.forgetLater(key, a, began)
}

// forgetLater forgets an account two periods after the announcement that began then, unless there
// is another one.
func (m *reasserter) forgetLater(key string, a *reassertion, began time.Time) {
	time.AfterFunc(2*a.period-time.Since(began), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case a.waits || a.last != began:
		case time.Since(began) >= 2*a.period:
			delete(m.accounts, key)
		default: // the period has become longer
			m.forgetLater(key, a, began)
		}
	})
}
