package jwtstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

// Memory is a store that forgets everything when the process ends. It keeps the same contract as
// Dir, except for what comes after a crash.
type Memory struct {
	changes
	outbox *Outbox

	mu         sync.RWMutex // guards what follows
	closed     bool
	stored     map[string]*record // the last Put of each account that has a JWT
	tombstones map[string][]byte
}

// NewMemory returns an empty store; announce is as in Outbox.SetAnnounce.
func NewMemory(announce bool) *Memory {
	m := &Memory{
		outbox:     newOutbox(announce, nil),
		stored:     map[string]*record{},
		tombstones: map[string][]byte{},
	}
	m.changes.store = m
	return m
}

// Outbox returns the outbox of this store.
func (m *Memory) Outbox() *Outbox { return m.outbox }

// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known.
// An account that is not there is fs.ErrNotExist. The caller must not change the bytes.
func (m *Memory) Load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.stored[key]
	if r == nil {
		return nil, Stamp{}, unknown(key)
	}
	now = CommitStamp(r.seq)
	if now == known {
		return nil, now, nil
	}
	return r.body, now, nil
}

// Tombstone returns what was kept of a deleted account, nil if it was never deleted. There are no
// errors. The caller must not change the bytes.
func (m *Memory) Tombstone(key string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.tombstones[key], nil
}

func (m *Memory) tombstone(key string) ([]byte, error) { return m.Tombstone(key) }

// Keys yields every account that something is stored for now, each once, in any order. There are no
// errors.
func (m *Memory) Keys() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		m.mu.RLock()
		all := slices.Collect(maps.Keys(m.stored))
		m.mu.RUnlock()
		for _, key := range all {
			if !trust.IsActivationHash(key) && !yield(key, nil) {
				return
			}
		}
	}
}

// commit makes a change visible, to readers and in the outbox.
func (m *Memory) commit(_ context.Context, r *record) (seq uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	m.outbox.number(time.Now(), []*record{r})
	switch r.kind {
	case kindPut:
		m.stored[r.key] = r
	case kindDelete:
		delete(m.stored, r.key)
		m.tombstones[r.key] = r.body
	}
	m.outbox.apply(r)
	return r.seq, nil
}

// Close ends Put, Delete and Touch.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
