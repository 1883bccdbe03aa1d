package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// Rescan brings the index up to date with what was changed in the store by hand, and fills one that
// is new. It reads only what the index does not know. The error says what can't be read, which is
// logged too, and wraps ErrUnreadable. It wraps ErrPartly if the rest counts.
func (c *catalog) Rescan(ctx context.Context) error {
	c.scanning.Lock()
	defer c.scanning.Unlock()
	// Unless the trust changes or the index is lost from here on, it will have been seen.
	c.scanned.Store(true)
	if lost := int64(c.index.Lost()); c.lost.Swap(lost) != lost {
		c.filled.Store(false)
	}
	begun, unknown := time.Now(), 0
	seen := make(map[string]bool)
	var failed unread
	look := func(key string, err error) {
		if seen[key] = true; err == nil {
			had := c.index.Get(key)
			_, _, err = c.update(key, false)
			if !had.Stored() && c.index.Get(key).Stored() {
				unknown++
			}
		}
		if err != nil {
			failed.add(key, err)
		}
	}
	for key, err := range c.Store.Keys() {
		if ctx.Err() != nil {
			c.scanned.Store(false)
			return context.Cause(ctx)
		}
		look(key, err)
	}
	for key := range c.index.All() {
		if !seen[key] {
			look(key, nil) // it is gone, unless it has just come
		}
	}
	c.filled.Store(true)
	if unknown > 0 {
		c.Log.Info(fmt.Sprintf("the index had no entry for %s: read and verified in %s",
			logging.Count(unknown, "stored JWT", "stored JWTs"),
			time.Since(begun).Round(time.Millisecond)))
	}
	return c.reportUnread(failed)
}

// unread is what a Rescan could not read.
type unread struct {
	count int    // shards and files
	first string // account of the first of them; "" for a shard
	err   error  // why it can't be read
}

func (u *unread) add(key string, err error) {
	if u.count++; u.count == 1 || errors.Is(err, jwtstore.ErrDirectory) {
		u.first, u.err = logging.ShortKey(key), err
	}
}

// reportUnread returns the error of a Rescan. It logs what can't be read once, as long as that stays
// the same. c.scanning must be held.
func (c *catalog) reportUnread(u unread) error {
	text := ""
	if u.count > 0 {
		text = logging.Count(u.count, "directory or file of the store can't be read, and what is "+
			"in it is in no pack: mend or remove it; the fault",
			"directories and files of the store can't be read, and what is in them is in no pack: "+
				"mend or remove them; the first") +
			" is " + strings.TrimPrefix(u.first+": "+u.err.Error(), ": ")
	}
	switch {
	case text == c.unread:
	case text == "":
		c.Log.Info("the whole store can be read again")
	default:
		c.Log.Warn(text)
	}
	switch c.unread = text; {
	case u.count == 0:
		return nil
	case errors.Is(u.err, jwtstore.ErrDirectory):
		return fmt.Errorf("%w: %w", ErrUnreadable, u.err)
	}
	return fmt.Errorf("%w: %w", ErrPartly, u.err)
}

// Rescanned reports whether a Rescan has seen the whole store since the trust was last set and the
// index was last lost.
func (c *catalog) Rescanned() bool {
	return c.scanned.Load() && c.lost.Load() == int64(c.index.Lost())
}

// update brings the index up to date with what is stored for one account, and returns that: the
// zero Version if nothing is. What the index knows already is read only if read is set; token is
// nil otherwise.
func (c *catalog) update(key string, read bool) (token []byte, v jwtstore.Version, err error) {
	for {
		had, t := c.index.Get(key), c.trust.Load()
		known := had.Stamp
		if read || had.Mark != t.mark || lacksSummary(had) {
			known = jwtstore.Stamp{}
		}
		token, stamp, err := c.Store.Load(key, known)
		next := had
		switch {
		case errors.Is(err, fs.ErrNotExist):
			next = jwtstore.Version{Seq: had.Seq, Floor: had.Floor}
		case err != nil:
			return nil, had, err
		case token != nil:
			next = c.renewed(t, key, token, stamp, had)
		}
		if next == had || c.index.Swap(key, had, next) {
			c.checkClock(key, next.Floor)
			if c.isEdit(had, next) {
				c.edited(key)
			}
			return token, next, nil
		}
	}
}

// isEdit reports whether a Version is served that was neither committed nor known before. While the
// index is filled, what it does not know is no edit.
func (c *catalog) isEdit(had, next jwtstore.Version) bool {
	return next.Servable && next.Hash != had.Hash && !next.Stamp.IsCommit() &&
		(had.Stored() || c.filled.Load())
}

// lacksSummary reports whether the index knows too little of a JWT that is served: an earlier version of
// this program has written that.
func lacksSummary(v jwtstore.Version) bool { return v.Servable && v.Summary == (jwtstore.Summary{}) }

// renewed describes what the store has returned, where the index had another Version. Bytes that
// the index knows are not verified again.
func (c *catalog) renewed(
	t *Trust, key string, token []byte, stamp jwtstore.Stamp, had jwtstore.Version,
) jwtstore.Version {
	isKnown := had.Mark == t.mark && had.Stored() &&
		(had.Stamp == stamp || had.Hash == sha256.Sum256(bytes.TrimSpace(token)))
	if isKnown {
		if had.Stamp = stamp; lacksSummary(had) {
			head, _ := trust.Peek(bytes.TrimSpace(token)) // it was verified before
			had.Summary = jwtstore.NewSummary(head)
		}
		return had
	}
	check := func(token []byte) (*Account, error) { return t.check(key, token) }
	var v *Verdict[*Account]
	if had.Stored() && had.Mark != t.mark {
		v = c.verdicts.rejudge(key, t.mark, token, stamp, check)
	} else {
		v = c.verdicts.judge(key, t.mark, token, stamp, check)
	}
	next := versionOf(v, c.raised(had.Floor, key, v, stamp))
	if next.Seq = had.Seq; next.Servable && next.IssuedAt < next.Floor.IssuedAt {
		c.Log.Warn(fmt.Sprintf("%s - the stored JWT was issued at %s and is older than one that was "+
			"accepted before: it is served, since it was put there by hand", logging.ShortKey(key),
			time.Unix(next.IssuedAt, 0).UTC().Format(time.RFC3339)))
	}
	return next
}

// Digest is the digest of the store, as the last Rescan and all changes since have left it.
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
// since the last Rescan is judged on the way. What can't be read is left out. However many accounts
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

// readLines reads the JWTs of some lines.
func (c *catalog) readLines(lines []packLine, now time.Time) {
	var taken atomic.Int64
	var readers sync.WaitGroup
	for range min(packReaders, len(lines)) {
		readers.Go(func() {
			for i := taken.Add(1) - 1; i < int64(len(lines)); i = taken.Add(1) - 1 {
				l := &lines[i]
				token, v, err := c.packed(l.key, l.had)
				if err == nil && isShown(v, now) {
					l.token = bytes.TrimSpace(token)
				}
			}
		})
	}
	readers.Wait()
}

// packed returns what is stored for one account, of which the index had a Version a moment ago. As
// long as that is right, the index is not asked again. What is in memory is not read.
func (c *catalog) packed(
	key string, had jwtstore.Version,
) (token []byte, v jwtstore.Version, err error) {
	if had.Mark != c.trust.Load().mark || lacksSummary(had) {
		return c.update(key, true)
	}
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
	return c.update(key, true)
}
