package accounts

import (
	"sync"
	"time"
)

// maxRecent bounds the keys that a Recently remembers before it drops those whose period is
// over.
const maxRecent = 4096

// Recently remembers for which accounts, or which tokens, something has happened within a period.
type Recently struct {
	Period time.Duration

	mu   sync.Mutex
	last map[string]time.Time
}

// mark notes that it happens now, and reports whether it had happened within the period before.
func (r *Recently) mark(key string, now time.Time) (before bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.happenedLocked(key, now)
	r.setLocked(key, now)
	return before
}

// Allow reports whether it has not happened within the period, and if so notes that it happens now.
func (r *Recently) Allow(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.happenedLocked(key, now) {
		return false
	}
	r.setLocked(key, now)
	return true
}

// undo takes back what was allowed and did not happen.
func (r *Recently) undo(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, key)
}

func (r *Recently) happenedLocked(key string, now time.Time) bool {
	last, known := r.last[key]
	return known && now.Sub(last) < r.Period
}

func (r *Recently) setLocked(key string, now time.Time) {
	if r.last == nil {
		r.last = make(map[string]time.Time)
	}
	if len(r.last) >= maxRecent {
		for other, last := range r.last {
			if now.Sub(last) >= r.Period {
				delete(r.last, other)
			}
		}
	}
	r.last[key] = now
}
