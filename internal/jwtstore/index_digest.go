package jwtstore

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Digest returns the digest.
func (x *Index) Digest(now time.Time) Hash {
	x.counting.Lock()
	defer x.counting.Unlock()
	digest, ok := x.digestAt(now.Unix())
	for ; !ok; digest, ok = x.digestAt(now.Unix()) {
		x.countDigest(now)
	}
	return digest
}

// digestAt returns the digest after what has expired has left it. ok is false if it is not known
// what has, or if the clock was set back.
func (x *Index) digestAt(now int64) (digest Hash, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := x.expiring.rest // what of it has expired is not known
	if now < x.live.countedAt || rest != 0 && rest <= now {
		return Hash{}, false
	}
	for gone, ok := x.expiring.take(now); ok; gone, ok = x.expiring.take(now) {
		x.live.countedAt = max(x.live.countedAt, gone.at)
		had := x.getLocked(gone.key)
		if e := had; e.counted && e.Expires == gone.at {
			e.counted = false
			x.putLocked(gone.key, had, e)
		}
	}
	return x.live.digest, true
}

// countDigest makes the digest that of this moment. It looks at all entries, at some at a time: others
// may change entries meanwhile. x.counting must be held.
func (x *Index) countDigest(now time.Time) {
	x.mu.Lock()
	x.counted = &expiries{}
	x.mu.Unlock()
	x.eachPart(func(part []keyedEntry) {
		for _, e := range part {
			counts := e.indexEntry
			if counts.counted = e.counts(now); counts.counted != e.counted {
				x.putLocked(e.key, e.indexEntry, counts)
			} else {
				x.expectLocked(e.key, counts)
			}
		}
	})
	x.mu.Lock()
	x.expiring, x.counted = *x.counted, nil
	x.live.countedAt = now.Unix()
	x.mu.Unlock()
}

// maxExpiries bounds what is in memory of the accounts that expire next.
const maxExpiries = 1000

// expiry is when an account leaves the digest.
type expiry struct {
	at  int64 // Unix seconds
	key string
}

// expiries is the accounts that expire next, and a bound for the rest. So what expires next is
// known without a look at all accounts, until as many have expired.
type expiries struct {
	soon []expiry // in order
	rest int64    // no other account expires before, in Unix seconds; 0: none expires
}

// find returns where an account is or would be.
func (x *expiries) find(e expiry) (n int, found bool) {
	return slices.BinarySearchFunc(x.soon, e, func(a, b expiry) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key))
	})
}

// add adds an account. If there are too many, the last one is one of the rest.
func (x *expiries) add(e expiry) {
	if e.at <= 0 || x.rest != 0 && e.at >= x.rest {
		return
	}
	if n, found := x.find(e); !found {
		x.soon = slices.Insert(x.soon, n, e)
	}
	if len(x.soon) > maxExpiries {
		x.rest = x.soon[maxExpiries].at
		x.soon = x.soon[:maxExpiries]
	}
}

// remove takes an account out, if it is not one of the rest.
func (x *expiries) remove(e expiry) {
	if n, found := x.find(e); found {
		x.soon = slices.Delete(x.soon, n, n+1)
	}
}

// take takes the first account out that has expired.
func (x *expiries) take(now int64) (e expiry, ok bool) {
	if len(x.soon) == 0 || x.soon[0].at > now {
		return expiry{}, false
	}
	e = x.soon[0]
	x.soon = slices.Delete(x.soon, 0, 1)
	return e, true
}

// first returns when the first account expires, at the earliest; 0 if none does.
func (x *expiries) first() int64 {
	if len(x.soon) > 0 {
		return x.soon[0].at
	}
	return x.rest
}
