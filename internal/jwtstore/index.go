package jwtstore

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

// Hash is the SHA-256 of a JWT without the space around it.
type Hash = [sha256.Size]byte

// Version is what an Index knows of one account. It tells one JWT from another, so that neither has
// to be read. The caller makes it from the claims.
type Version struct {
	Seq      uint64 // of the last change that was committed; 0: none is known
	Stamp    Stamp  // under which the store returned the JWT; zero: nothing is stored
	Hash     Hash
	IssuedAt int64  // Unix seconds
	Expires  int64  // Unix seconds, 0 = never
	Mark     uint64 // the caller's mark of the trust under which it judged the JWT
	Servable bool   // the judgement
	Floor    Floor  // what may not be undone
}

// Stored reports whether a JWT is stored, servable or not.
func (v Version) Stored() bool { return v.Stamp != Stamp{} }

// Expired reports whether the JWT has expired.
func (v Version) Expired(now time.Time) bool { return v.Expires > 0 && v.Expires <= now.Unix() }

// counts reports whether the version is part of the digest.
func (v Version) counts(now time.Time) bool { return v.Servable && !v.Expired(now) }

// Floor is the newest version of an account that was ever accepted, and what it replaced within its
// second. It stays when the JWT is deleted, or is not trusted any more. The zero Floor is none.
type Floor struct {
	IssuedAt int64 // Unix seconds
	Hash     Hash
	replaced string // the hashes of what was replaced within the second, one after the other
}

// MaxReplaced bounds the hashes that a Floor remembers. Each is of a JWT that the operator signed
// within the same second.
const MaxReplaced = 64

// After returns the floor after a version was accepted.
func (f Floor) After(issuedAt int64, hash Hash) Floor {
	switch {
	case issuedAt != f.IssuedAt:
		return Floor{IssuedAt: issuedAt, Hash: hash}
	case hash == f.Hash:
		return f
	}
	replaced := bytes.Clone(f.Hash[:])
	for h := range slices.Chunk([]byte(f.replaced), len(hash)) {
		if Hash(h) != hash && len(replaced) < MaxReplaced*len(hash) {
			replaced = append(replaced, h...)
		}
	}
	return Floor{IssuedAt: issuedAt, Hash: hash, replaced: string(replaced)}
}

// HasReplaced reports whether the JWT with this hash was replaced by another one of its second. If
// very many were, the answer is always true.
func (f Floor) HasReplaced(hash Hash) bool {
	for h := range slices.Chunk([]byte(f.replaced), len(hash)) {
		if Hash(h) == hash {
			return true
		}
	}
	return len(f.replaced) >= MaxReplaced*len(hash)
}

// Index holds the Version of every account, deleted ones included, and their digest. It is never
// the truth about the JWTs: what the store returns counts. The store records each change that it
// commits; the caller records by Swap what it finds out otherwise.
//
//	key ──> Version        Get, Swap, All
//	digest                 the XOR of the hashes of all servable versions that have not expired
//
// Each call is short and returns copies. An account that has expired leaves the digest by itself.
// An Index may be used from any goroutine.
type Index struct {
	mu      sync.Mutex
	entries map[string]indexEntry
	digest  Hash
	// The digest is right from countedAt on, and until nextExpiry: the first moment at which an
	// account leaves it. Both are in Unix seconds; a nextExpiry of 0 means never.
	countedAt, nextExpiry int64
}

// indexEntry is a Version, and whether it is in the digest.
type indexEntry struct {
	Version
	counted bool
}

// newIndex returns an empty index.
func newIndex() *Index { return &Index{entries: make(map[string]indexEntry)} }

// Get returns what is known of an account; the zero Version if that is nothing.
func (x *Index) Get(key string) Version {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.entries[key].Version
}

// Swap replaces the Version of an account, and reports whether it was still old. The sequence
// number stays.
func (x *Index) Swap(key string, old, new Version) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.entries[key].Version != old {
		return false
	}
	new.Seq = max(new.Seq, old.Seq)
	x.setLocked(key, new)
	return true
}

// commit records a change that is durable. It does nothing if a later change of the account is
// known.
func (x *Index) commit(r *record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	had := x.entries[r.key]
	switch {
	case r.seq <= had.Seq:
	case r.kind == kindDelete:
		x.setLocked(r.key, Version{Seq: r.seq, Floor: had.Floor})
	case r.kind == kindPut && len(r.version) > 0:
		if e, err := decodeEntry(r.version); err == nil {
			e.Seq, e.Stamp = r.seq, CommitStamp(r.seq)
			x.setLocked(r.key, e.Version)
		}
	}
}

// setLocked replaces a Version and brings the digest up to date. x.mu must be held. A version that
// has expired leaves the digest when it is next asked for.
func (x *Index) setLocked(key string, v Version) {
	if old := x.entries[key]; old.counted {
		x.toggleLocked(old.Hash)
	}
	if v.Servable {
		x.toggleLocked(v.Hash)
		x.expectLocked(v.Expires)
	}
	x.entries[key] = indexEntry{v, v.Servable}
}

// toggleLocked adds a hash to the digest, or takes it out again. x.mu must be held.
func (x *Index) toggleLocked(hash Hash) { subtle.XORBytes(x.digest[:], x.digest[:], hash[:]) }

// expectLocked notes when a version expires. x.mu must be held.
func (x *Index) expectLocked(expires int64) {
	if expires > 0 && (x.nextExpiry == 0 || expires < x.nextExpiry) {
		x.nextExpiry = expires
	}
}

// Digest returns the digest. It costs nothing as long as no account expires and the clock is not
// set back.
func (x *Index) Digest(now time.Time) Hash {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.nextExpiry > 0 && x.nextExpiry <= now.Unix() || now.Unix() < x.countedAt {
		x.countLocked(now)
	}
	return x.digest
}

// countLocked makes the digest that of the moment. x.mu must be held.
func (x *Index) countLocked(now time.Time) {
	x.nextExpiry, x.countedAt = 0, now.Unix()
	for key, e := range x.entries {
		if counts := e.counts(now); counts != e.counted {
			x.toggleLocked(e.Hash)
			e.counted = counts
			x.entries[key] = e
		}
		if e.counted {
			x.expectLocked(e.Expires)
		}
	}
}

// All yields every account for which something is stored, by key, but no activation token. The Index
// may change meanwhile; what is yielded is as it is at that moment.
func (x *Index) All() iter.Seq2[string, Version] {
	return func(yield func(string, Version) bool) {
		x.mu.Lock()
		keys := slices.Sorted(maps.Keys(x.entries))
		x.mu.Unlock()
		for _, key := range keys {
			if trust.IsActivationHash(key) {
				continue
			}
			if v := x.Get(key); v.Stored() && !yield(key, v) {
				return
			}
		}
	}
}
