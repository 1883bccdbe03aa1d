package accounts

import (
	"sync"
	"time"
)

// maxRecent bounds the accounts that a recently remembers before it drops those whose period is
// over.
const maxRecent = 4096

// recently remembers for which accounts something has happened within a period.
type recently struct {
	period time.Duration

	mu   sync.Mutex
	last map[string]time.Time
}

// mark notes that it happens now, and reports whether it had happened within the period before.
func (r *recently) mark(key string, now time.Time) (before bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.happenedLocked(key, now)
	r.setLocked(key, now)
	return before
}

// allow reports whether it has not happened within the period, and if so notes that it happens now.
func (r *recently) allow(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.happenedLocked(key, now) {
		return false
	}
	r.setLocked(key, now)
	return true
}

// undo takes back what was allowed and did not happen.
func (r *recently) undo(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, key)
}

func (r *recently) happenedLocked(key string, now time.Time) bool {
	last, known := r.last[key]
	return known && now.Sub(last) < r.period
}

func (r *recently) setLocked(key string, now time.Time) {
	if r.last == nil {
		r.last = make(map[string]time.Time)
	}
	if len(r.last) >= maxRecent {
		for other, last := range r.last {
			if now.Sub(last) >= r.period {
				delete(r.last, other)
			}
		}
	}
	r.last[key] = now
}
