package jwtstore

import (
	"crypto/sha256"
	"iter"
	"time"
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
	Summary  Summary
}

// Stored reports whether a JWT is stored, servable or not.
func (v Version) Stored() bool { return v.Stamp != Stamp{} }

// Expired reports whether the JWT has expired.
func (v Version) Expired(now time.Time) bool { return v.Expires > 0 && v.Expires <= now.Unix() }

// supersedes reports whether a change that was committed is older than what is known of its
// account, whatever the sequence numbers say. What has no floor is not known to be older: its file
// tells.
func (v Version) supersedes(r *record) bool {
	known, floor := v.Floor, r.floorAfter()
	if known == (Floor{}) || floor == (Floor{}) || floor.Hash == known.Hash {
		return false
	}
	return floor.IssuedAt <= known.IssuedAt && !r.mayFollow(known.Hash)
}

// counts reports whether the version is part of the digest.
func (v Version) counts(now time.Time) bool { return v.Servable && !v.Expired(now) }

// Floor is the newest version of an account that was ever accepted, and what it replaced within its
// second. It stays when the JWT is deleted, or is not trusted any more. The zero Floor is none.
type Floor struct {
	IssuedAt int64 // Unix seconds
	Hash     Hash
	replaced hashes // what was replaced within the second
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
	replaced := hashes(f.Hash[:])
	for h := range f.replaced.each() {
		if h != hash && replaced.count() < MaxReplaced {
			replaced = replaced.with(h)
		}
	}
	return Floor{IssuedAt: issuedAt, Hash: hash, replaced: replaced}
}

// join returns the floor after what made either of two, f first.
func (f Floor) join(later Floor) Floor {
	if f.IssuedAt > later.IssuedAt {
		return f
	}
	return f.After(later.IssuedAt, later.Hash).WithReplaced(later.Replaced())
}

// HasReplaced reports whether the JWT with this hash was replaced by another one of its second. If
// very many were, the answer is always true.
func (f Floor) HasReplaced(hash Hash) bool {
	return f.replaced.has(hash) || f.replaced.count() >= MaxReplaced
}

// Replaced yields the hashes of the JWTs that were replaced within the second, the last one first.
func (f Floor) Replaced() iter.Seq[Hash] { return f.replaced.each() }

// WithReplaced returns the floor of a server that was also told what was replaced within the second.
func (f Floor) WithReplaced(told iter.Seq[Hash]) Floor {
	for h := range told {
		if h != f.Hash && !f.HasReplaced(h) {
			f.replaced = f.replaced.with(h)
		}
	}
	return f
}

// hashes is some hashes, one after the other. It is a text so that what has it can be compared.
type hashes string

// has reports whether a hash is one of them.
func (all hashes) has(one Hash) bool {
	for h := range all.each() {
		if h == one {
			return true
		}
	}
	return false
}

// each yields all of them, in order.
func (all hashes) each() iter.Seq[Hash] {
	return func(yield func(Hash) bool) {
		for rest := all; rest != ""; rest = rest[len(Hash{}):] {
			if !yield(Hash([]byte(rest[:len(Hash{})]))) {
				return
			}
		}
	}
}

// with returns all of them and one more.
func (all hashes) with(one Hash) hashes { return all + hashes(one[:]) }

// first returns as many of them at most.
func (all hashes) first(n int) hashes { return all[:min(len(all), n*len(Hash{}))] }

// count returns how many there are.
func (all hashes) count() int { return len(all) / len(Hash{}) }
