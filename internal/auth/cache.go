package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
)

// maxCached is how many headers and certificates a cache holds. Only valid ones are put in, so that
// a client without one can't push them out.
const maxCached = 1024

// cacheKey stands for an Authorization header or a certificate. No password can be read from it.
type cacheKey [sha256.Size]byte

// cache holds the identities that credentials have proven.
type cache struct {
	secret [sha256.Size]byte // goes into every key, so that keys of two caches differ

	mu sync.Mutex
	// known is guarded by mu.
	known map[cacheKey]identity
}

// newCache returns an empty cache with a secret of its own.
func newCache() *cache {
	c := &cache{known: map[cacheKey]identity{}}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

// key returns the same key for the same credentials, as long as the cache lives. kind keeps headers
// and certificates apart.
func (c *cache) key(kind, text string) cacheKey {
	// The two kinds are no beginning of each other, so no two inputs are the same text.
	return sha256.Sum256(slices.Concat(c.secret[:], []byte(kind), []byte(text)))
}

// get returns what was put in under a key. ok is false if nothing was.
func (c *cache) get(k cacheKey) (identity, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.known[k]
	return id, ok
}

// put drops any other entry if the cache is full.
func (c *cache) put(k cacheKey, id identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Go's maps are walked in a random order, so any entry may go.
	for other := range c.known {
		if len(c.known) < maxCached {
			break
		}
		delete(c.known, other)
	}
	c.known[k] = id
}
