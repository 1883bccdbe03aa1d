package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"

	"nats-account-server/internal/logging"
)

const (
	// reassertInterval is how often an account is announced again because another JWT of it was.
	reassertInterval = time.Second
	// maxReassertInterval is how long two servers that contradict each other for ever come to wait.
	maxReassertInterval = 10 * time.Minute
	// sweepAfter is how often accounts are taken out that are not announced again any more.
	sweepAfter = time.Minute
)

// reassert announces the stored JWT again, after one was announced that may not replace it. A
// nats-server runs any JWT that the operator signed, an older one too, and one with a directory
// keeps whatever it is given.
func (a *announcing) reassert(o *offer) {
	a.Announcer.Contested(o.Key)
	if a.reasserter.heard(o.Key, o.from.Peer) {
		a.Log.Warn(fmt.Sprintf("%s - a JWT was announced that may not replace the stored one: "+
			"the stored one is announced again", logging.ShortKey(o.Key)))
		a.announceStored(o.Key)
	}
}

// Reassert announces the stored JWT of an account again, now or when that was not done for some
// time, since a nats-server may run another one.
func (r *Registry) Reassert(key string) {
	if r.announcing.reasserter.want(key) {
		r.announcing.announceStored(key)
	}
}

// Adopt takes the JWT that a nats-server runs, which may have got it while no account server could
// hear of it. If it is newer than the stored one it is stored and announced. Adopt reports whether
// that is so.
func (r *Registry) Adopt(ctx context.Context, key string, running []byte) bool {
	stored, err := r.GetLocal(ctx, key)
	o := newOffer(key, running, Origin{Kind: KindPack, Peer: true}, r.trust.Load())
	if err != nil || o.read() != nil || o.IssuedAt <= stored.IssuedAt {
		return false
	}
	result, err := r.put(ctx, o)
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
	announce func(key string) // at the end of a period

	mu       sync.Mutex
	accounts map[string]*reassertion // those that were announced again lately, by key
	swept    time.Time               // when those that were not were taken out
}

// reassertion is what is remembered of one account for two periods after its last announcement.
type reassertion struct {
	last     time.Time     // announcement
	period   time.Duration // from the last announcement to the next
	waits    bool          // the stored JWT is announced when the period ends
	isLonger bool          // the period has doubled since the last announcement
}

// heard notes that another JWT was announced, and reports whether the stored one is to be announced
// now. Otherwise that is done when the period ends. If another account server has announced it
// after this one, neither may ever give in, since one lacks a key: the periods double. Which JWT
// that was does not matter, as there may be several such servers.
func (m *reasserter) heard(key string, peer bool) (now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.getLocked(key)
	// What is waited for is the period that has begun; the new one begins after it.
	end := a.last.Add(a.period)
	switch {
	case !peer:
		a.period = reassertInterval
	case !a.last.IsZero() && !a.isLonger:
		a.isLonger = true
		a.period = min(2*a.period, maxReassertInterval)
	}
	return m.announceLocked(key, a, end)
}

// want is heard for a JWT that was not announced by another server. It leaves the periods as they
// are.
func (m *reasserter) want(key string) (now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.getLocked(key)
	return m.announceLocked(key, a, a.last.Add(a.period))
}

// getLocked returns what is remembered of an account. m.mu must be held.
func (m *reasserter) getLocked(key string) *reassertion {
	isOver := func(_ string, a *reassertion) bool {
		return !a.waits && time.Since(a.last) >= 2*a.period
	}
	if time.Since(m.swept) >= sweepAfter {
		maps.DeleteFunc(m.accounts, isOver)
		m.swept = time.Now()
	}
	a := m.accounts[key]
	if a == nil || isOver(key, a) {
		a = &reassertion{period: reassertInterval}
		m.accounts[key] = a
	}
	return a
}

// announceLocked reports whether the account is to be announced now. If not, that is done when the
// period ends. m.mu must be held.
func (m *reasserter) announceLocked(key string, a *reassertion, end time.Time) (now bool) {
	switch {
	case a.waits:
		return false
	case time.Until(end) <= 0:
		a.begin()
		return true
	}
	a.waits = true
	time.AfterFunc(time.Until(end), func() {
		m.mu.Lock()
		a.begin()
		m.mu.Unlock()
		m.announce(key)
	})
	return false
}

// begin begins a period, with an announcement.
func (a *reassertion) begin() { a.last, a.waits, a.isLonger = time.Now(), false, false }
