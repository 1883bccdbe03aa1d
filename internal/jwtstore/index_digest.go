package jwtstore

import (
	"sync"
	"time"
)

// digester keeps the digest of an index right as accounts expire.
type digester struct {
	*indexEntries
	counting sync.Mutex // held by digest
}

// digest returns the digest.
func (d *digester) digest(now time.Time) Hash {
	d.counting.Lock()
	defer d.counting.Unlock()
	digest, ok := d.digestAt(now.Unix())
	for ; !ok; digest, ok = d.digestAt(now.Unix()) {
		d.count(now)
	}
	return digest
}

// digestAt returns the digest after what has expired has left it. ok is false if it is not known
// what has, or if the clock was set back.
func (d *digester) digestAt(now int64) (digest Hash, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now < d.live.countedAt || !d.expiring.knows(now) {
		return Hash{}, false
	}
	for gone, ok := d.expiring.take(now); ok; gone, ok = d.expiring.take(now) {
		d.live.countedAt = max(d.live.countedAt, gone.at)
		had := d.getLocked(gone.key)
		if e := had; e.counted && e.Expires == gone.at {
			e.counted = false
			d.putLocked(gone.key, had, e)
		}
	}
	return d.live.digest, true
}

// count makes the digest that of this moment. It looks at all entries, at some at a time: others
// may change entries meanwhile. d.counting must be held.
func (d *digester) count(now time.Time) {
	d.mu.Lock()
	d.counted = &expiries{}
	d.mu.Unlock()
	d.eachPart(func(part []keyedEntry) {
		for _, e := range part {
			counts := e.indexEntry
			if counts.counted = e.counts(now); counts.counted != e.counted {
				d.putLocked(e.key, e.indexEntry, counts)
			} else {
				d.expectLocked(e.key, counts)
			}
		}
	})
	d.mu.Lock()
	d.expiring, d.counted = *d.counted, nil
	d.live.countedAt = now.Unix()
	d.mu.Unlock()
}
