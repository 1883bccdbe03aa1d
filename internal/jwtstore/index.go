package jwtstore

import (
	"crypto/sha256"
	"crypto/subtle"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"
)

// Version is what an Index knows of one account. It tells one JWT from another, so that neither has
// to be read. The caller makes it from the claims.
type Version struct {
	Seq      uint64            // of the last change that was committed; 0: none is known
	Stamp    Stamp             // under which the store returned the JWT; zero: nothing is stored
	Hash     [sha256.Size]byte // SHA-256 of the JWT without the space around it
	IssuedAt int64             // Unix seconds
	Expires  int64             // Unix seconds, 0 = never
	Mark     uint64            // the caller's mark of the trust under which it judged the JWT
	Servable bool              // the judgement
}

// Stored reports whether a JWT is stored, servable or not.
func (v Version) Stored() bool { return v.Stamp != Stamp{} }

// Expired reports whether the JWT has expired.
func (v Version) Expired(now time.Time) bool { return v.Expires > 0 && v.Expires <= now.Unix() }

// counts reports whether the version is part of the digest.
func (v Version) counts(now time.Time) bool { return v.Servable && !v.Expired(now) }

// Index holds the Version of every account, deleted ones included, and their digest. It is never
// the truth about the JWTs: what the store returns counts.
//
//	key ──> Version        Get, Swap, Commit, All
//	digest                 the XOR of the hashes of all servable versions that have not expired
//
// Each call is short and returns copies. An account that has expired leaves the digest by itself.
// The zero Index is empty and ready. An Index may be used from any goroutine.
type Index struct {
	mu      sync.Mutex
	entries map[string]indexEntry
	digest  [sha256.Size]byte
	// nextExpiry is the first moment at which an account leaves the digest, in Unix seconds; 0
	// means never.
	nextExpiry int64
}

// indexEntry is a Version, and whether it is in the digest.
type indexEntry struct {
	Version
	counted bool
}

// Get returns what is known of an account; the zero Version if that is nothing.
func (x *Index) Get(key string) Version {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.entries[key].Version
}

// Swap replaces the Version of an account, and reports whether it was still old. The sequence
// number stays.
func (x *Index) Swap(key string, old, new Version, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.entries[key].Version != old {
		return false
	}
	new.Seq = max(new.Seq, old.Seq)
	x.setLocked(key, new, now)
	return true
}

// Commit records a change that the store has committed. It does nothing if a later change of the
// account is known.
func (x *Index) Commit(key string, v Version, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if v.Seq > x.entries[key].Seq {
		x.setLocked(key, v, now)
	}
}

// setLocked replaces a Version and brings the digest up to date. x.mu must be held.
func (x *Index) setLocked(key string, v Version, now time.Time) {
	if old := x.entries[key]; old.counted {
		x.toggleLocked(old.Hash)
	}
	e := indexEntry{v, v.counts(now)}
	if e.counted {
		x.toggleLocked(v.Hash)
		x.expectLocked(v.Expires)
	}
	if x.entries == nil {
		x.entries = make(map[string]indexEntry)
	}
	x.entries[key] = e
}

// toggleLocked adds a hash to the digest, or takes it out again. x.mu must be held.
func (x *Index) toggleLocked(hash [sha256.Size]byte) {
	subtle.XORBytes(x.digest[:], x.digest[:], hash[:])
}

// expectLocked notes when a version expires. x.mu must be held.
func (x *Index) expectLocked(expires int64) {
	if expires > 0 && (x.nextExpiry == 0 || expires < x.nextExpiry) {
		x.nextExpiry = expires
	}
}

// Digest returns the digest. It costs nothing as long as no account expires.
func (x *Index) Digest(now time.Time) [sha256.Size]byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.nextExpiry > 0 && x.nextExpiry <= now.Unix() {
		x.expireLocked(now)
	}
	return x.digest
}

// expireLocked takes what has expired out of the digest. x.mu must be held.
func (x *Index) expireLocked(now time.Time) {
	x.nextExpiry = 0
	for key, e := range x.entries {
		switch {
		case !e.counted:
		case e.Expired(now):
			x.toggleLocked(e.Hash)
			e.counted = false
			x.entries[key] = e
		default:
			x.expectLocked(e.Expires)
		}
	}
}

// All yields every account for which something is stored, by key. The Index may change meanwhile;
// what is yielded is as it is at that moment.
func (x *Index) All() iter.Seq2[string, Version] {
	return func(yield func(string, Version) bool) {
		x.mu.Lock()
		keys := slices.Sorted(maps.Keys(x.entries))
		x.mu.Unlock()
		for _, key := range keys {
			if v := x.Get(key); v.Stored() && !yield(key, v) {
				return
			}
		}
	}
}
