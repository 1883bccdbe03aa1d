package dirsync

import (
	"context"
	"io/fs"
	"slices"
	"sync"

	"nats-account-server/internal/accounts"
)

// Shelf keeps the activation tokens of a folder that somebody else writes. It is filled anew at each start: nobody is owed
// any of them. It implements accounts.Tokens.
type Shelf struct {
	mu     sync.Mutex
	tokens map[string][]byte
}

// NewShelf returns an empty Shelf.
func NewShelf() *Shelf { return &Shelf{tokens: map[string][]byte{}} }

// Load implements accounts.Tokens; there are no stamps.
func (s *Shelf) Load(hash string, _ accounts.Stamp) ([]byte, accounts.Stamp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token, found := s.tokens[hash]; found {
		return token, accounts.Stamp{}, nil
	}
	return nil, accounts.Stamp{}, fs.ErrNotExist
}

// Put implements accounts.Tokens.
func (s *Shelf) Put(_ context.Context, hash, _ string, token []byte, allow func(stored, tombstone []byte) error) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := allow(s.tokens[hash], nil); err != nil {
		return 0, err
	}
	s.tokens[hash] = slices.Clone(token)
	return 0, nil
}

func (s *Shelf) remove(hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, hash)
}
