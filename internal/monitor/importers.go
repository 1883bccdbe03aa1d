package monitor

import (
	"iter"
	"sync"
	"time"

	"nats-account-server/internal/jwtstore"
)

// importers returns the accounts that import from one, as the index yields them. isKnown is false
// as long as the index does not know them.
func (m *Monitor) importers(key string) (all iter.Seq[jwtstore.Importer], isKnown bool) {
	all = m.Index.Importers(key)
	return all, m.firstImporters.wait(func() {
		// The first step of the walk has the index find out what it needs.
		for range all {
			return
		}
	})
}

// Importers names some accounts that import from one, by key, as far as the index tells. An entry
// of which the index is not sure is left out: that would need the JWT.
func (m *Monitor) Importers(key string, limit int) (some []jwtstore.Keyed, isMore bool) {
	all, isKnown := m.importers(key)
	if !isKnown {
		return nil, false
	}
	for i := range all {
		switch {
		case i.Unsure:
		case len(some) == limit:
			return some, true
		default:
			some = append(some, jwtstore.Keyed{Key: i.Key, Version: i.Version})
		}
	}
	return some, false
}

// firstLook asks the index for importers for the first time. The index finds out then which
// accounts import from which, and looks at all of them for it: with a million that takes seconds.
// Further questions cost nothing. The zero value is ready.
type firstLook struct {
	once sync.Once
	done chan struct{}
}

// wait reports whether the first question is answered, within maxWait. look is called once, by the
// first caller.
func (l *firstLook) wait(look func()) bool {
	l.once.Do(func() {
		l.done = make(chan struct{})
		go func() {
			defer close(l.done)
			look()
		}()
	})
	select {
	case <-l.done:
		return true
	case <-time.After(maxWait):
		return false
	}
}
