package jwtstore

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Memory is a store that forgets everything when the process ends. It keeps the same contract as Dir, except for
// what comes after a crash.
type Memory struct {
	keys keyLocks

	mu       sync.RWMutex
	announce bool
	closed   bool
	versions map[string]memoryVersion
	led      *ledger
}

type memoryVersion struct {
	seq uint64
	jwt []byte
}

// NewMemory returns an empty store; announce is as in SetAnnounce.
func NewMemory(announce bool) *Memory {
	return &Memory{announce: announce, versions: map[string]memoryVersion{}, led: newLedger()}
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

// Put asks allow with what is stored (nil if nothing is) and stores jwt if allow returns nil. An error of allow is
// returned as it is; any error means that nothing has changed.
func (m *Memory) Put(ctx context.Context, key, door string, jwt []byte, allow func(stored []byte) error) (seq uint64, err error) {
	if err := checkPut(key, door, jwt); err != nil {
		return 0, err
	}
	unlock, err := m.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	stored, _, _ := m.Load(key, Stamp{})
	if err := allow(stored); err != nil {
		return 0, err
	}
	jwt = slices.Clone(jwt)
	return m.commit(key, func(seq uint64) { m.versions[key] = memoryVersion{seq: seq, jwt: jwt} })
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
	return m.commit(key, func(uint64) {})
}

func (m *Memory) commit(key string, apply func(seq uint64)) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	seq := m.led.head + 1
	apply(seq)
	m.led.commit(seq, key, time.Now(), m.announce)
	return seq, nil
}

// SetAnnounce says whether later changes are owed to nats-servers. What is owed already stays owed.
func (m *Memory) SetAnnounce(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.announce = on
}

// Changes returns what some server may still lack, oldest first; only the latest change of each account.
func (m *Memory) Changes() []Change {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.led.changes()
}

// Latest returns the change of an account that some server may still lack; the zero Change if there is none.
func (m *Memory) Latest(key string) Change {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.led.latest(key)
}

// Seen says when a server was last met; the zero time if it is not known.
func (m *Memory) Seen(server string) time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.led.seen(server)
}

// Meet records that the server of this name exists. One that is new lacks every change that Changes returns.
func (m *Memory) Meet(server string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if server != "" {
		m.led.meet(server, at)
	}
}

// Servers returns the names of all that were met and not forgotten.
func (m *Memory) Servers() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.led.names()
}

// Unseen returns the servers that were last met before a moment.
func (m *Memory) Unseen(before time.Time) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.led.unseen(before)
}

// Lacks says whether the server has yet to acknowledge the change. Nobody lacks one that Changes does not return.
func (m *Memory) Lacks(server string, seq uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.led.lacks(server, seq)
}

// Confirm records that the server has acknowledged the change.
func (m *Memory) Confirm(server string, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.led.confirm(server, seq)
}

// Forget removes a server: it is owed nothing any more.
func (m *Memory) Forget(server string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.led.forget(server)
}

// Close ends Put and Touch.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
