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

// cacheKey stands for a header, a certificate or a name. No password can be read from it.
type cacheKey [sha256.Size]byte

// What a cacheKey is made of.
const (
	keyHeader      = 'h'
	keyCertificate = 'c'
	keyName        = 'n'
)

// cache holds the identities that credentials have proven.
type cache struct {
	secret []byte // goes into every key, so that keys of two processes differ

	mu    sync.RWMutex
	known map[cacheKey]identity
}

func newCache() *cache {
	c := &cache{secret: make([]byte, sha256.Size), known: map[cacheKey]identity{}}
	_, _ = rand.Read(c.secret) // never fails
	return c
}

// key returns the same key for the same text, as long as the cache lives.
func (c *cache) key(kind byte, text []byte) cacheKey {
	return sha256.Sum256(slices.Concat(c.secret, []byte{kind}, text))
}

func (c *cache) get(k cacheKey) (identity, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	id, ok := c.known[k]
	return id, ok
}

// put drops any other entry if the cache is full.
func (c *cache) put(k cacheKey, id identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.known {
		if len(c.known) < maxCached {
			break
		}
		delete(c.known, other)
	}
	c.known[k] = id
}
