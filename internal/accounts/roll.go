package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

// Digest tells two stores apart: the XOR of the SHA-256 of every JWT in them, as nats-server's full resolver has it.
type Digest = [sha256.Size]byte

// roll knows of every account that is stored what tells its version apart, so that nothing has to be read or verified
// to compare two stores. An account counts if its JWT is servable and has not expired: everything else that lies in
// the directory is in neither the digest nor a pack.
type roll struct {
	mu     sync.Mutex
	lines  map[string]line
	digest Digest
	expiry int64 // Unix seconds of the first expiry among those that count, 0 if none expires
}

// line is what the roll knows of one account. It stays when the account goes, so that writes is never the same again.
type line struct {
	writes            uint64
	trust             *Trust // under whom it was judged; nil: nothing is stored
	stamp             Stamp
	hash              Digest
	issuedAt, expires int64 // Unix seconds
	servable          bool
	counts            bool
}

func (r *roll) get(key string) line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines[key]
}

// put replaces the line that had so many writes. It says no if somebody else was faster: what he saw may be newer.
func (r *roll) put(key string, writes uint64, now time.Time, next line) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.lines[key]
	if old.writes != writes {
		return false
	}
	next.writes = writes + 1
	next.counts = next.servable && !next.expired(now)
	if old.counts {
		r.toggle(old.hash)
	}
	if next.counts {
		r.toggle(next.hash)
		if next.expires > 0 && (r.expiry == 0 || next.expires < r.expiry) {
			r.expiry = next.expires
		}
	}
	if r.lines == nil {
		r.lines = make(map[string]line)
	}
	r.lines[key] = next
	return true
}

func (r *roll) toggle(hash Digest) {
	for i := range r.digest {
		r.digest[i] ^= hash[i]
	}
}

func (l line) expired(now time.Time) bool { return l.expires > 0 && l.expires <= now.Unix() }

// expire takes out what has expired, for who holds mu. It looks at nothing as long as nothing has.
func (r *roll) expire(now time.Time) {
	if r.expiry == 0 || r.expiry > now.Unix() {
		return
	}
	r.expiry = 0
	for key, l := range r.lines {
		switch {
		case !l.counts:
		case l.expired(now):
			r.toggle(l.hash)
			l.counts = false
			r.lines[key] = l
		case l.expires > 0 && (r.expiry == 0 || l.expires < r.expiry):
			r.expiry = l.expires
		}
	}
}

func (r *roll) sum(now time.Time) Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	return r.digest
}

// keys returns the accounts that count, sorted.
func (r *roll) keys(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	keys := make([]string, 0, len(r.lines))
	for key, l := range r.lines {
		if l.counts {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// gone returns the accounts that are not among those seen, although something was stored for them.
func (r *roll) gone(seen map[string]bool) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, l := range r.lines {
		if l.trust != nil && !seen[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// enroll brings the line of an account up to date with what is stored. Whoever changes the store calls it afterwards;
// so the last one to write has seen everything that was committed before.
func (r *Registry) enroll(key string) error {
	for {
		had, trust := r.roll.get(key), r.trust.Load()
		known := Stamp{}
		if had.trust == trust {
			known = had.stamp
		}
		token, stamp, err := r.store.Load(key, known)
		next := line{}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if had.trust == nil {
				return nil
			}
		case err != nil:
			return err
		case token == nil:
			return nil
		default:
			next = r.lineOf(trust, key, token, stamp, had)
		}
		if r.roll.put(key, had.writes, r.now(), next) {
			return nil
		}
	}
}

// lineOf judges what is stored. Bytes that the roll knows are not verified again.
func (r *Registry) lineOf(trust *Trust, key string, token []byte, stamp Stamp, had line) line {
	hash := sha256.Sum256(bytes.TrimSpace(token))
	if had.trust == trust && had.hash == hash {
		had.stamp = stamp
		return had
	}
	next := line{trust: trust, stamp: stamp, hash: hash}
	if a, err := r.examine(trust, key, token, stamp, r.cache.get(key)); err == nil {
		next.issuedAt, next.expires, next.servable = a.IssuedAt, a.Expires, true
	}
	return next
}

// Rescan looks through the whole store for what a hand has changed in it, and reads only that. The error says what
// can't be read; the rest counts.
func (r *Registry) Rescan(ctx context.Context) error {
	r.surveying.Lock()
	defer r.surveying.Unlock()
	r.surveyed.Store(true) // unless the trust changes from here on
	seen := make(map[string]bool)
	var failed error
	look := func(key string, err error) {
		if seen[key] = true; err == nil {
			err = r.enroll(key)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
	}
	for key, err := range r.store.Keys() {
		if ctx.Err() != nil {
			r.surveyed.Store(false)
			return context.Cause(ctx)
		}
		look(key, err)
	}
	for _, key := range r.roll.gone(seen) {
		look(key, nil)
	}
	return failed
}

// Rescanned says whether a Rescan has seen the whole store since the trust was last set.
func (r *Registry) Rescanned() bool { return r.surveyed.Load() }

// Digest is the digest of the store as the last Rescan and all changes since have it.
func (r *Registry) Digest() Digest { return r.roll.sum(r.now()) }

// Keys returns the accounts that are in the digest, sorted.
func (r *Registry) Keys() []string { return r.roll.keys(r.now()) }

// Pack yields every account that is in the digest and its JWT, by key. What was changed by hand since the last Rescan
// is judged on the way.
func (r *Registry) Pack(ctx context.Context) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, key := range r.Keys() {
			if ctx.Err() != nil {
				return
			}
			if token := r.packed(key); token != nil && !yield(key, token) {
				return
			}
		}
	}
}

// packed is the JWT of an account as the roll has it; nil if it is not servable any more.
func (r *Registry) packed(key string) []byte {
	for range 3 { // it may change between two looks
		token, _, err := r.store.Load(key, Stamp{})
		if err != nil {
			return nil
		}
		token = bytes.TrimSpace(token)
		if l := r.roll.get(key); l.trust == r.trust.Load() && l.hash == sha256.Sum256(token) {
			if !l.servable {
				return nil
			}
			return token
		}
		if r.enroll(key) != nil {
			return nil
		}
	}
	return nil
}

// merged is offered for a line of a pack. What is the same as what the roll has, or older, costs no signature check and no
// look at the disk.
func (r *Registry) merged(ctx context.Context, key string, token []byte, src Origin) (Result, error) {
	token = bytes.TrimSpace(token)
	if l := r.roll.get(key); l.servable && l.trust == r.trust.Load() {
		if l.hash == sha256.Sum256(token) {
			return Result{}, nil
		}
		head, err := trust.Peek(token)
		if err == nil && head.Subject == key && head.IssuedAt < l.issuedAt && !ahead(l.issuedAt, r.now()) {
			return Result{}, &OlderError{Stored: time.Unix(l.issuedAt, 0), Offered: time.Unix(head.IssuedAt, 0)}
		}
	}
	return r.offered(ctx, key, token, src)
}
