package jwtstore

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

// Memory is a store that forgets everything when the process ends. It keeps the same contract as Dir, except for what
// comes after a crash.
type Memory struct {
	outbox *Outbox
	keys   keyLocks // held by a Put, Delete or Touch of a key

	mu         sync.RWMutex // guards what follows
	closed     bool
	stored     map[string]*record // the last Put of each account that has a JWT
	tombstones map[string][]byte
}

// NewMemory returns an empty store; announce is as in Outbox.SetAnnounce.
func NewMemory(announce bool) *Memory {
	return &Memory{
		outbox:     newOutbox(announce, nil),
		stored:     map[string]*record{},
		tombstones: map[string][]byte{},
	}
}

// Outbox returns the outbox of this store.
func (m *Memory) Outbox() *Outbox { return m.outbox }

// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known. An account that
// is not there is fs.ErrNotExist. The caller must not change the bytes.
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

// Tombstone returns what was kept of a deleted account, nil if it was never deleted. There are no errors. The caller
// must not change the bytes.
func (m *Memory) Tombstone(key string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.tombstones[key], nil
}

// Keys yields every account that something is stored for now, each once, in any order. There are no errors.
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

// Put asks allow with what is stored and with the account's tombstone (nil if there is none) and stores jwt if allow
// returns nil. An error of allow is returned as it is; any error means that nothing has changed.
func (m *Memory) Put(
	ctx context.Context, key, kind string, jwt []byte, allow func(stored, tombstone []byte) error,
) (seq uint64, err error) {
	if err := checkPut(key, kind, jwt); err != nil {
		return 0, err
	}
	unlock, err := m.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	stored, _, _ := m.Load(key, Stamp{})
	tombstone, _ := m.Tombstone(key)
	if err := allow(stored, tombstone); err != nil {
		return 0, err
	}
	return m.commit(&record{kind: kindPut, key: key, body: bytes.Clone(jwt)})
}

// Delete asks allow with what is stored and with the tombstone that is there (nil if there is none), and commits that
// key has no JWT any more, only the new tombstone that allow returns. If nothing is stored it is fs.ErrNotExist and
// allow is not asked. An error of allow is returned as it is; any error means that nothing has changed.
func (m *Memory) Delete(
	ctx context.Context, key, kind string, allow func(stored, tombstone []byte) (newTombstone []byte, err error),
) (seq uint64, err error) {
	if err := checkDelete(key, kind); err != nil {
		return 0, err
	}
	unlock, err := m.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	stored, _, err := m.Load(key, Stamp{})
	if err != nil {
		return 0, err
	}
	tombstone, _ := m.Tombstone(key)
	if tombstone, err = allow(stored, tombstone); err != nil {
		return 0, err
	}
	if err := checkSize("tombstone", tombstone); err != nil {
		return 0, err
	}
	return m.commit(&record{kind: kindDelete, key: key, body: bytes.Clone(tombstone)})
}

// Touch commits that the stored JWT of key is to be announced once more; fs.ErrNotExist if there is none.
func (m *Memory) Touch(ctx context.Context, key, kind string) (seq uint64, err error) {
	if err := checkDelete(key, kind); err != nil {
		return 0, err
	}
	unlock, err := m.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if _, _, err := m.Load(key, Stamp{}); err != nil {
		return 0, err
	}
	return m.commit(&record{kind: kindTouch, key: key})
}

// commit makes a change visible, to readers and in the outbox.
func (m *Memory) commit(r *record) (seq uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	m.outbox.number(time.Now(), r)
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
