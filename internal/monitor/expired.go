package monitor

import (
	"sync"
	"time"

	"nats-account-server/internal/jwtstore"
)

const (
	// inUseFor is how long an account counts as in use after it was asked for.
	inUseFor = 10 * time.Minute
	// maxExpired bounds the expired accounts that are remembered. More are not counted, and an
	// alert needs no exact number.
	maxExpired = 10_000
)

// expiredUse remembers which expired accounts are asked for: their clients try to connect, and a
// newer JWT was forgotten. An account that expired on purpose is not asked for.
type expiredUse struct {
	mu    sync.Mutex           // guards asked
	asked map[string]time.Time // by account; when it was last asked for
}

// ask records that an account which has expired was asked for. It costs a lock and a map, and only
// for accounts that have expired.
func (e *expiredUse) ask(key string, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked == nil {
		e.asked = make(map[string]time.Time)
	}
	if _, known := e.asked[key]; known || len(e.asked) < maxExpired {
		e.asked[key] = now
	}
}

// inUse counts the accounts that were asked for and have expired still. It forgets all others. It
// is called for each collection.
func (e *expiredUse) inUse(index *jwtstore.Index, now time.Time) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, at := range e.asked {
		if v := index.Get(key); now.Sub(at) > inUseFor || !v.Stored() || !v.Expired(now) {
			delete(e.asked, key)
		}
	}
	return len(e.asked)
}

// Served notes that a stored account was asked for. expires is in Unix seconds; 0 is never. It is
// called for each GET and each lookup, so it does nothing for accounts that are valid.
func (m *Metrics) Served(key string, expires int64) {
	if expires == 0 {
		return
	}
	if now := time.Now(); expires <= now.Unix() {
		m.expired.ask(key, now)
	}
}
