package activations

import (
	"context"
	"io/fs"
	"slices"
	"sync"

	"nats-account-server/internal/jwtstore"
)

// Memory is a Store that is empty at each start. It serves a directory that another program writes:
// the tokens are read from there again.
type Memory struct {
	mu     sync.Mutex
	tokens map[string][]byte         // by hash
	floors map[string]jwtstore.Floor // by hash
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{tokens: map[string][]byte{}, floors: map[string]jwtstore.Floor{}}
}

// Load implements Store. There are no stamps: every version is returned.
func (m *Memory) Load(hash string, _ jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if token, found := m.tokens[hash]; found {
		return token, jwtstore.Stamp{}, nil
	}
	return nil, jwtstore.Stamp{}, fs.ErrNotExist
}

// Put implements Store.
func (m *Memory) Put(_ context.Context, hash, _ string, token []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error)) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, err := allow(jwtstore.Stored{JWT: m.tokens[hash], Floor: m.floors[hash]})
	if err != nil {
		return 0, err
	}
	m.tokens[hash], m.floors[hash] = slices.Clone(token), v.Floor
	return 0, nil
}

// Remove takes a token out.
func (m *Memory) Remove(hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tokens, hash)
	delete(m.floors, hash)
}
