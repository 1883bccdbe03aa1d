package accounts

import (
	"bytes"
	"context"
	"iter"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/jwtstore"
)

// Digest is the digest of the store, as the last rescan and all changes since have left it.
func (c *catalog) Digest() Digest { return c.index.Digest(c.Now()) }

// isShown reports whether an account is in the digest, in the keys and in the pack: its JWT is
// servable and has not expired.
func isShown(v jwtstore.Version, now time.Time) bool { return v.Servable && !v.Expired(now) }

// Keys returns the accounts that are in the digest, sorted.
func (c *catalog) Keys() []string {
	keys, _ := c.FirstKeys(math.MaxInt)
	return keys
}

// FirstKeys returns the first accounts of Keys, no more than limit, and whether these are all.
func (c *catalog) FirstKeys(limit int) (keys []string, all bool) {
	keys = []string{}
	for key := range c.shown(c.Now()) {
		if len(keys) == limit {
			return keys, false
		}
		keys = append(keys, key)
	}
	return keys, true
}

// shown yields the accounts that are in the digest, by key. It reads a part of the index at a time.
func (c *catalog) shown(now time.Time) iter.Seq2[string, jwtstore.Version] {
	return func(yield func(string, jwtstore.Version) bool) {
		for key, v := range c.index.All() {
			if isShown(v, now) && !yield(key, v) {
				return
			}
		}
	}
}

// A pack is read by several goroutines, some accounts at a time: opening a file takes longer than
// sending its line.
const (
	packReaders = 4
	packBatch   = 32
)

// packLine is a line of a pack that is read.
type packLine struct {
	key   string
	had   jwtstore.Version // of the index
	token []byte           // nil: there is none, or it is not shown any more
}

// Pack yields every account that is in the digest and its JWT, by key. What was changed by hand
// since the last rescan is judged on the way. What can't be read is left out. However many accounts
// there are, packBatch of them are in memory at a time.
func (c *catalog) Pack(ctx context.Context) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		now := c.Now()
		var lines []packLine
		send := func() bool {
			c.readLines(lines, now)
			for _, l := range lines {
				if l.token != nil && !yield(l.key, l.token) {
					return false
				}
			}
			lines = lines[:0]
			return true
		}
		for key, had := range c.shown(now) {
			if ctx.Err() != nil {
				return
			}
			lines = append(lines, packLine{key: key, had: had})
			if len(lines) == packBatch && !send() {
				return
			}
		}
		send()
	}
}

// readLines reads the JWTs of some lines, as far as they are shown now.
func (c *catalog) readLines(lines []packLine, now time.Time) {
	var readers errgroup.Group
	readers.SetLimit(packReaders)
	for i := range lines {
		readers.Go(func() error {
			l := &lines[i]
			token, v, err := c.readLine(l.key, l.had)
			if err == nil && isShown(v, now) {
				l.token = bytes.TrimSpace(token)
			}
			return nil // what can't be read is left out
		})
	}
	_ = readers.Wait()
}

// readLine returns what is stored for one account, of which the index had a Version a moment ago.
// As long as that is right, the index is not asked again. What is in memory is not read.
func (c *catalog) readLine(
	key string, had jwtstore.Version,
) (token []byte, v jwtstore.Version, err error) {
	if had.Mark == c.trust.Load().mark && !lacksSummary(had) {
		inMemory, known := c.verdicts.tokenOf(key, had.Stamp), jwtstore.Stamp{}
		if inMemory != nil {
			known = had.Stamp
		}
		token, stamp, err := c.Store.Load(key, known)
		switch {
		case err == nil && token == nil:
			return inMemory, had, nil
		case err == nil && stamp == had.Stamp:
			return token, had, nil
		}
	}
	u, err := c.update(key, true)
	return u.token, u.now, err
}
