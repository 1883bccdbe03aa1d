package accounts

import (
	"hash/maphash"
	"sync"
	"time"
)

// maxRecent bounds what a Recently remembers of one period, to some 2 MiB. What is more is
// forgotten earlier.
const maxRecent = 1 << 16

// Recently remembers for which accounts, or which tokens, something has happened within a period.
// Of each it has a hash only.
type Recently struct {
	Period time.Duration

	mu       sync.Mutex
	seed     maphash.Seed
	start    time.Time                // moments are counted from it
	begun    time.Duration            // when current was empty
	current  map[uint64]time.Duration // when it happened last; for at least one period
	previous map[uint64]time.Duration // current, as it was when it was a period old
}

// mark notes that it happens now, and reports whether it had happened within the period before.
func (r *Recently) mark(key string, now time.Time) (before bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, moment, before := r.happenedLocked(key, now)
	r.current[id] = moment
	return before
}

// Allow reports whether it has not happened within the period, and if so notes that it happens now.
func (r *Recently) Allow(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, moment, before := r.happenedLocked(key, now)
	if !before {
		r.current[id] = moment
	}
	return !before
}

// undo takes back what was allowed and did not happen.
func (r *Recently) undo(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := maphash.String(r.seed, key)
	delete(r.current, id)
	delete(r.previous, id)
}

// happenedLocked reports whether it has happened within the period, and forgets what no longer
// counts. A clock that was set back counts as a period that is over. r.mu must be held.
func (r *Recently) happenedLocked(
	key string, now time.Time,
) (id uint64, moment time.Duration, before bool) {
	if r.current == nil {
		r.seed, r.start = maphash.MakeSeed(), now
	}
	id, moment = maphash.String(r.seed, key), now.Sub(r.start)
	if r.current == nil || !r.isWithin(r.begun, moment) || len(r.current) >= maxRecent {
		r.previous, r.current, r.begun = r.current, make(map[uint64]time.Duration), moment
	}
	last, isKnown := r.current[id]
	if !isKnown {
		last, isKnown = r.previous[id]
	}
	return id, moment, isKnown && r.isWithin(last, moment)
}

// isWithin reports whether now is in the period after a moment.
func (r *Recently) isWithin(moment, now time.Duration) bool {
	return moment <= now && now-moment < r.Period
}
