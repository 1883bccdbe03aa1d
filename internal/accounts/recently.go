package accounts

import (
	"sync"
	"time"
)

// Recently remembers for which accounts, or which tokens, something has happened within a period.
type Recently struct {
	Period time.Duration

	mu       sync.Mutex
	begun    time.Time            // when current was empty
	current  map[string]time.Time // when it happened last; for at least one period
	previous map[string]time.Time // current, as it was when it was a period old
}

// mark notes that it happens now, and reports whether it had happened within the period before.
func (r *Recently) mark(key string, now time.Time) (before bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.happenedLocked(key, now)
	r.current[key] = now
	return before
}

// Allow reports whether it has not happened within the period, and if so notes that it happens now.
func (r *Recently) Allow(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.happenedLocked(key, now) {
		return false
	}
	r.current[key] = now
	return true
}

// undo takes back what was allowed and did not happen.
func (r *Recently) undo(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.current, key)
	delete(r.previous, key)
}

// happenedLocked reports whether it has happened within the period, and forgets what no longer
// counts. A clock that was set back counts as a period that is over. r.mu must be held.
func (r *Recently) happenedLocked(key string, now time.Time) bool {
	if r.current == nil || !r.isWithin(r.begun, now) {
		r.previous, r.current, r.begun = r.current, make(map[string]time.Time), now
	}
	last, isKnown := r.current[key]
	if !isKnown {
		last, isKnown = r.previous[key]
	}
	return isKnown && r.isWithin(last, now)
}

// isWithin reports whether now is in the period after a moment.
func (r *Recently) isWithin(moment, now time.Time) bool {
	elapsed := now.Sub(moment)
	return 0 <= elapsed && elapsed < r.Period
}
