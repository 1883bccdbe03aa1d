package jwtstore

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"nats-account-server/internal/trust"
)

// maxUnflushed bounds the JWTs and tombstones that are unflushed, in bytes. A Put that would exceed
// it waits.
const maxUnflushed = 64 << 20

// unflushed is the committed Puts and Deletes whose files are not written yet. Of each account
// these are the last one, and a Delete before a Put: the tombstone stays when a JWT is put.
//
//	committed        latest       tombstones
//	Put 1            Put 1
//	Delete 2         Delete 2
//	Put 3            Put 3        Delete 2
//	Delete 4         Delete 4
//
// The methods may be called from any goroutine.
type unflushed struct {
	room *semaphore.Weighted // bytes that more changes may have

	mu         sync.RWMutex       // guards what follows
	latest     map[string]*record // by key: the last Put or Delete
	tombstones map[string]*record // by key: a Delete before the last Put
	bytes      int64              // that the bodies of all of them have
}

// newUnflushed returns an empty set without a bound.
func newUnflushed() *unflushed {
	return &unflushed{
		room:       semaphore.NewWeighted(math.MaxInt64),
		latest:     map[string]*record{},
		tombstones: map[string]*record{},
	}
}

// endReplay ends a replay. What is flushed according to the mark goes, and the bodies of the rest
// do not keep the journal's bytes in memory. They may be more than maxUnflushed: after a crash the
// journal can have more changes than it had to.
func (u *unflushed) endReplay(mark uint64) {
	size := int64(0)
	for _, r := range u.all() {
		if r.seq > mark {
			r.body, r.version = bytes.Clone(r.body), bytes.Clone(r.version)
			size += r.bodySize()
		}
	}
	flushed := func(_ string, r *record) bool { return r.seq <= mark }
	maps.DeleteFunc(u.latest, flushed)
	maps.DeleteFunc(u.tombstones, flushed)
	u.bytes = size
	u.room = semaphore.NewWeighted(max(maxUnflushed, size+maxJWT))
	u.room.TryAcquire(size) // it has that much
}

// apply makes durable changes visible. What they supersede need not be flushed any more.
func (u *unflushed) apply(changes []*record) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range changes {
		superseded := u.applyLocked(r)
		u.bytes += r.bodySize() - superseded
		u.room.Release(superseded)
	}
}

// applyLocked returns the size of what r supersedes, in bytes.
func (u *unflushed) applyLocked(r *record) (superseded int64) {
	if r.kind == kindTouch {
		return 0
	}
	before := u.latest[r.key]
	if before != nil {
		r.follow(before.follows)
	}
	u.latest[r.key] = r
	if r.kind == kindPut && before != nil && before.kind == kindDelete {
		u.tombstones[r.key] = before
		return 0
	}
	if r.kind == kindDelete {
		superseded = u.tombstones[r.key].bodySize()
		delete(u.tombstones, r.key)
	}
	return superseded + before.bodySize()
}

// recordFlushed removes changes whose files are durable, unless they were superseded meanwhile.
func (u *unflushed) recordFlushed(changes []*record) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range changes {
		for _, set := range [...]map[string]*record{u.latest, u.tombstones} {
			if set[r.key] == r {
				delete(set, r.key)
				u.bytes -= r.bodySize()
				u.room.Release(r.bodySize())
			}
		}
	}
}

// leave leaves only the tombstone of a change which something newer takes the place of: none of a
// Put.
func (u *unflushed) leave(r *record) {
	if r.kind == kindPut {
		u.recordFlushed([]*record{r})
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.latest[r.key] == r {
		delete(u.latest, r.key)
		u.tombstones[r.key] = r
	}
}

// size returns how many bytes the JWTs and tombstones have.
func (u *unflushed) size() int64 {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.bytes
}

// last returns the last Put or Delete of key, nil if it is flushed.
func (u *unflushed) last(key string) *record {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.latest[key]
}

// tombstone returns the tombstone of key, nil if it has none or it is flushed.
func (u *unflushed) tombstone(key string) []byte {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if r := u.latest[key]; r != nil && r.kind == kindDelete {
		return r.body
	}
	if r := u.tombstones[key]; r != nil {
		return r.body
	}
	return nil
}

// accounts returns every account that has a change here, and whether its last one is a Put.
// Activation tokens are left out.
func (u *unflushed) accounts() map[string]bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	all := make(map[string]bool, len(u.latest))
	for key, r := range u.latest {
		if !trust.IsActivationHash(key) {
			all[key] = r.kind == kindPut
		}
	}
	return all
}

// all returns every change, oldest first.
func (u *unflushed) all() []*record {
	u.mu.RLock()
	defer u.mu.RUnlock()
	all := slices.Collect(maps.Values(u.latest))
	all = slices.AppendSeq(all, maps.Values(u.tombstones))
	slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// oldest returns the lowest sequence number of a change; 0 if there is none.
func (u *unflushed) oldest() (seq uint64) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, set := range [...]map[string]*record{u.latest, u.tombstones} {
		for _, r := range set {
			if seq == 0 || r.seq < seq {
				seq = r.seq
			}
		}
	}
	return seq
}

// count returns how many accounts have a change here.
func (u *unflushed) count() int {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return len(u.latest)
}

// isEmpty reports whether every change is in its file.
func (u *unflushed) isEmpty() bool { return u.oldest() == 0 }
