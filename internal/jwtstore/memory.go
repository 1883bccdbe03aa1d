package jwtstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a store that forgets everything when the process ends. It keeps the same contract as Dir, except for
// what comes after a crash.
type Memory struct {
	keys keyLocks

	mu       sync.RWMutex
	closed   bool
	versions map[string]memoryVersion
	graves   map[string][]byte // tombstones
	outbox   *Outbox
}

type memoryVersion struct {
	seq uint64
	jwt []byte
}

// NewMemory returns an empty store; announce is as in Outbox.SetAnnounce.
func NewMemory(announce bool) *Memory {
	return &Memory{versions: map[string]memoryVersion{}, graves: map[string][]byte{}, outbox: newOutbox(announce, nil)}
}

// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known. An account that
// is not there is fs.ErrNotExist. The caller must not change the bytes.
func (m *Memory) Load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, found := m.versions[key]
	if !found {
		return nil, Stamp{}, unknown(key)
	}
	now = commitStamp(v.seq)
	if now == known {
		return nil, now, nil
	}
	return v.jwt, now, nil
}

// Keys yields every account that something is stored for now, each once, in any order. There are no errors.
func (m *Memory) Keys() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		m.mu.RLock()
		all := slices.Collect(maps.Keys(m.versions))
		m.mu.RUnlock()
		for _, key := range all {
			if !isHash(key) && !yield(key, nil) {
				return
			}
		}
	}
}

// Put asks allow with what is stored and with the account's tombstone (nil if there is none) and stores jwt if allow
// returns nil. An error of allow is returned as it is; any error means that nothing has changed.
func (m *Memory) Put(ctx context.Context, key, door string, jwt []byte, allow func(stored, tombstone []byte) error) (seq uint64, err error) {
	if err := checkPut(key, door, jwt); err != nil {
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
	jwt = slices.Clone(jwt)
	return m.commit(record{kind: kindPut, key: key}, func(seq uint64) {
		m.versions[key] = memoryVersion{seq: seq, jwt: jwt}
	})
}

// Delete asks allow with what is stored and with the tombstone that is there (nil if there is none), and commits that
// key has no JWT any more, only the new tombstone that allow returns. If nothing is stored it is fs.ErrNotExist and
// allow is not asked. An error of allow is returned as it is; any error means that nothing has changed.
func (m *Memory) Delete(ctx context.Context, key, door string, allow func(stored, tombstone []byte) (newTombstone []byte, err error)) (seq uint64, err error) {
	if err := checkDelete(key, door); err != nil {
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
	tombstone = slices.Clone(tombstone)
	return m.commit(record{kind: kindDelete, key: key}, func(uint64) {
		delete(m.versions, key)
		m.graves[key] = tombstone
	})
}

// Tombstone returns what was kept of a deleted account, nil if it was never deleted. There are no errors. The caller
// must not change the bytes.
func (m *Memory) Tombstone(key string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.graves[key], nil
}

// Touch commits that the stored JWT of key is to be announced once more; fs.ErrNotExist if there is none.
func (m *Memory) Touch(ctx context.Context, key, door string) (seq uint64, err error) {
	unlock, err := m.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if _, _, err := m.Load(key, Stamp{}); err != nil {
		return 0, err
	}
	return m.commit(record{kind: kindTouch, key: key}, func(uint64) {})
}

// commit makes a change visible: first to readers, then to the outbox.
func (m *Memory) commit(r record, apply func(seq uint64)) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	seq, announce := m.outbox.next()
	apply(seq)
	r.seq, r.at = seq, time.Now()
	if !announce || isHash(r.key) {
		r.flags = flagQuiet
	}
	m.outbox.apply(r)
	return seq, nil
}

// Outbox returns the outbox of this store.
func (m *Memory) Outbox() *Outbox { return m.outbox }

// Close ends Put, Delete and Touch.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
