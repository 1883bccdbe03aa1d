package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
)

// maxKnown is how many headers and certificates are remembered. Only what was right is, so a stranger can't push out
// the others.
const maxKnown = 1024

// mark stands for a header or a certificate: whoever reads our memory finds no password in it.
type mark [sha256.Size]byte

// What is marked.
const (
	markHeader      = 'h'
	markCertificate = 'c'
	markName        = 'n' // of a user
)

// memory knows who was right once.
type memory struct {
	macs sync.Pool // of hash.Hash, with a key of this memory alone

	mu    sync.RWMutex
	known map[mark]identity
}

func newMemory() *memory {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return &memory{
		macs:  sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }},
		known: map[mark]identity{},
	}
}

func (m *memory) mark(kind byte, text []byte) (sum mark) {
	h := m.macs.Get().(hash.Hash)
	defer m.macs.Put(h)
	h.Reset()
	_, _ = h.Write([]byte{kind})
	_, _ = h.Write(text)
	h.Sum(sum[:0])
	return sum
}

func (m *memory) recall(k mark) (identity, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	who, ok := m.known[k]
	return who, ok
}

// remember forgets any other one when it is full.
func (m *memory) remember(k mark, who identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.known {
		if len(m.known) < maxKnown {
			break
		}
		delete(m.known, other)
	}
	m.known[k] = who
}
