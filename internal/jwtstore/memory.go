package jwtstore

import (
	"context"
	"sync"
	"time"
)

// Memory is a store that forgets everything when the process ends. It keeps the same contract as
// Dir, except for what comes after a crash.
type Memory struct {
	writer
	outbox    *Outbox
	index     *Index
	committed *unflushed // all that is stored: nothing is ever flushed

	mu     sync.Mutex // held during a commit
	closed bool       // guarded by mu: no commit begins any more
}

// NewMemory returns an empty store; announce is as in Outbox.SetAnnounce.
func NewMemory(announce bool) *Memory {
	m := &Memory{
		outbox:    newOutbox(newOutboxState(), announce, nil),
		index:     newIndex(),
		committed: newUnflushed(),
	}
	m.writer.store = m
	return m
}

// Outbox returns the outbox of this store.
func (m *Memory) Outbox() *Outbox { return m.outbox }

// Index returns the index of this store.
func (m *Memory) Index() *Index { return m.index }

// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known.
// An account that is not there is fs.ErrNotExist. The caller must not change the bytes.
func (m *Memory) Load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	if r := m.committed.last(key); r != nil {
		return r.load(known)
	}
	return nil, Stamp{}, unknown(key)
}

// Changes is as in Dir. It is not known here: a Load costs no more.
func (*Memory) Changes(string) uint64 { return 0 }

// Tombstone returns what was kept of a deleted account, nil if it was never deleted. There are no
// errors. The caller must not change the bytes.
func (m *Memory) Tombstone(key string) ([]byte, error) { return m.committed.tombstone(key), nil }

// Scan looks at everything that is stored, and at what the index has besides. Its error is that of
// ctx.
func (m *Memory) Scan(ctx context.Context, s Scan) error {
	all := m.committed.accounts()
	for key := range m.index.All() {
		if !all[key] {
			all[key] = true // it is gone
		}
	}
	for key, stored := range all {
		if stored && ctx.Err() == nil {
			s.Look(key, nil)
		}
	}
	return context.Cause(ctx)
}

// commit makes a change visible, to readers and in the outbox.
func (m *Memory) commit(_ context.Context, r *record) (seq uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	changes := []*record{r}
	m.outbox.number(time.Now(), changes)
	m.committed.room.TryAcquire(r.bodySize()) // there is always room
	m.committed.apply(changes)
	m.index.commit(r)
	m.outbox.commit(r)
	return r.seq, nil
}

// Remove forgets what is stored for key, without a tombstone. The index keeps its floor. Only
// activation tokens that another program's directory no longer has go in this way.
func (m *Memory) Remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.committed.last(key); r != nil {
		m.committed.recordFlushed([]*record{r})
	}
}

// Close ends Put, Delete and Touch.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
