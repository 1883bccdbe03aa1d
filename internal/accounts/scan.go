package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"nats-account-server/internal/jwtstore"
)

// An account is in the digest, in the keys and in the pack if its JWT is servable and has not
// expired.

// Rescan brings the index up to date with what was changed in the store by hand. It reads only
// that. The error says what can't be read, and wraps ErrUnreadable; the rest counts.
func (c *catalog) Rescan(ctx context.Context) error {
	c.scanning.Lock()
	defer c.scanning.Unlock()
	c.scanned.Store(true) // unless the trust changes from here on
	seen := make(map[string]bool)
	var failed error
	look := func(key string, err error) {
		if seen[key] = true; err == nil {
			err = c.updateIndex(key)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
	}
	for key, err := range c.store.Keys() {
		if ctx.Err() != nil {
			c.scanned.Store(false)
			return context.Cause(ctx)
		}
		look(key, err)
	}
	for _, key := range c.index.Unseen(seen) {
		look(key, nil) // it is gone, unless it has just come
	}
	return failed
}

// Rescanned reports whether a Rescan has seen the whole store since the trust was last set.
func (c *catalog) Rescanned() bool { return c.scanned.Load() }

// updateIndex brings the index up to date with what is stored for one account.
func (c *catalog) updateIndex(key string) error {
	for {
		had, t := c.index.Get(key), c.trust.Load()
		known := jwtstore.Stamp{}
		if had.Mark == t.mark {
			known = had.Stamp
		}
		token, stamp, err := c.store.Load(key, known)
		next := jwtstore.Version{}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if !had.Stored() {
				return nil
			}
		case err != nil:
			return err
		case token == nil:
			return nil
		default:
			next = c.versionOf(t, key, token, stamp, had)
		}
		if c.index.Swap(key, had, next, c.now()) {
			return nil
		}
	}
}

// versionOf describes what the store has returned. Bytes that the index knows are not verified
// again.
func (c *catalog) versionOf(
	t *Trust, key string, token []byte, stamp jwtstore.Stamp, had jwtstore.Version,
) jwtstore.Version {
	hash := sha256.Sum256(bytes.TrimSpace(token))
	if had.Stored() && had.Mark == t.mark && had.Hash == hash {
		had.Stamp = stamp
		return had
	}
	v := jwtstore.Version{Stamp: stamp, Hash: hash, Mark: t.mark}
	if a := c.verdicts.judge(t, key, token, stamp).account; a != nil {
		v.IssuedAt, v.Expires, v.Servable = a.IssuedAt, a.Expires, true
	}
	return v
}

// Digest is the digest of the store, as the last Rescan and all changes since have left it.
func (c *catalog) Digest() Digest { return c.index.Digest(c.now()) }

// Keys returns the accounts that are in the digest, sorted.
func (c *catalog) Keys() []string {
	now, keys := c.now(), []string{}
	for key, v := range c.index.All() {
		if v.Servable && !v.Expired(now) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Pack yields every account that is in the digest and its JWT, by key. What was changed by hand
// since the last Rescan is judged on the way.
func (c *catalog) Pack(ctx context.Context) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		now := c.now()
		for key, v := range c.index.All() {
			if ctx.Err() != nil {
				return
			}
			if !v.Servable || v.Expired(now) {
				continue
			}
			if token := c.packed(key); token != nil && !yield(key, token) {
				return
			}
		}
	}
}

// packed is the JWT of an account, nil if it is not servable any more.
func (c *catalog) packed(key string) []byte {
	for range 3 { // it may change between two looks
		token, stamp, err := c.store.Load(key, jwtstore.Stamp{})
		if err != nil {
			return nil
		}
		token = bytes.TrimSpace(token)
		v := c.index.Get(key)
		if v.Mark == c.trust.Load().mark && (v.Stamp == stamp || v.Hash == sha256.Sum256(token)) {
			if !v.Servable {
				return nil
			}
			return token
		}
		if c.updateIndex(key) != nil {
			return nil
		}
	}
	return nil
}
