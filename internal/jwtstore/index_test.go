package jwtstore_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
)

// indexed is a servable version that the change seq has stored.
func indexed(seq uint64, text string, expires int64) jwtstore.Version {
	return jwtstore.Version{Seq: seq, Stamp: jwtstore.CommitStamp(seq),
		Hash: sha256.Sum256([]byte(text)), Expires: expires, Servable: true}
}

func xor(versions ...jwtstore.Version) (digest [sha256.Size]byte) {
	for _, v := range versions {
		for i := range digest {
			digest[i] ^= v.Hash[i]
		}
	}
	return digest
}

// TestTheDigestIsThatOfTheServable, as long as they have not expired.
func TestTheDigestIsThatOfTheServable(t *testing.T) {
	x := jwtstore.NewIndex()
	a, b, c := indexed(1, "a", 0), indexed(2, "b", 1010), indexed(3, "c", 1020)
	damaged := indexed(4, "damaged", 0)
	damaged.Servable = false
	for key, v := range map[string]jwtstore.Version{"a": a, "b": b, "c": c, "damaged": damaged} {
		x.Commit(key, v)
	}
	x.Commit("late", indexed(5, "late", 1000))
	for _, step := range []struct {
		at   int64
		want [sha256.Size]byte
	}{{1000, xor(a, b, c)}, {1009, xor(a, b, c)}, {1010, xor(a, c)},
		{1019, xor(a, c)}, {1030, xor(a)}} {
		if got := x.Digest(time.Unix(step.at, 0)); got != step.want {
			t.Errorf("at %d: %x", step.at, got)
		}
	}
	x.Commit("a", jwtstore.Version{Seq: 6}) // deleted
	x.Commit("c", indexed(7, "c2", 0))
	if got := x.Digest(time.Unix(1030, 0)); got != xor(indexed(7, "c2", 0)) {
		t.Errorf("in the end: %x", got)
	}
}

// TestAnEarlierChangeDoesNotReplaceALaterOne, in whatever order they are recorded.
func TestAnEarlierChangeDoesNotReplaceALaterOne(t *testing.T) {
	x := jwtstore.NewIndex()
	first, second := indexed(1, "first", 0), indexed(2, "second", 0)
	x.Commit("a", second)
	x.Commit("a", first)
	if got := x.Get("a"); got.Hash != second.Hash || got.Stamp != second.Stamp {
		t.Errorf("it has %+v", got)
	}
	x.Commit("a", jwtstore.Version{Seq: 3})
	x.Commit("a", second)
	if got := x.Get("a"); got.Stored() || got.Seq != 3 {
		t.Errorf("a deleted one is %+v", got)
	}
}

// TestSwapIsCompareAndSet. What was found in the directory does not hide a later change.
func TestSwapIsCompareAndSet(t *testing.T) {
	x := jwtstore.NewIndex()
	found := indexed(0, "by hand", 0)
	found.Stamp = jwtstore.Stamp{1, 2, 3, 4}
	if !x.Swap("a", jwtstore.Version{}, found) || x.Swap("a", jwtstore.Version{}, found) {
		t.Error("it does not compare")
	}
	x.Commit("a", indexed(1, "pushed", 0))
	pushed := x.Get("a")
	if x.Swap("a", found, jwtstore.Version{}) || !x.Swap("a", pushed, found) {
		t.Error("it does not compare")
	}
	if got := x.Get("a"); got.Seq != 1 || got.Hash != found.Hash {
		t.Errorf("it has %+v", got)
	}
	if x.Commit("a", pushed); x.Get("a").Hash != found.Hash {
		t.Error("the same change is recorded twice")
	}
}

// TestAllIsSorted, and shows what is stored at that moment.
func TestAllIsSorted(t *testing.T) {
	x := jwtstore.NewIndex()
	for i, key := range []string{"c", "a", "b", "gone", "d"} {
		x.Commit(key, indexed(uint64(i+1), key, 0))
	}
	x.Commit("gone", jwtstore.Version{Seq: 10})
	var keys []string
	for key, v := range x.All() {
		keys = append(keys, fmt.Sprint(key, v.Seq))
		if key == "a" {
			x.Commit("b", indexed(11, "b2", 0))
			x.Commit("c", jwtstore.Version{Seq: 12})
		}
		if key == "b" {
			break
		}
	}
	for key := range x.All() {
		keys = append(keys, key)
	}
	if want := []string{"a2", "b11", "a", "b", "d"}; !slices.Equal(keys, want) {
		t.Errorf("%q", keys)
	}
}

// TestConcurrentChanges leave the digest of what is there.
func TestConcurrentChanges(t *testing.T) {
	x := jwtstore.NewIndex()
	var all sync.WaitGroup
	for seq := uint64(1); seq <= 200; seq++ {
		all.Go(func() { x.Commit(fmt.Sprint(seq%7), indexed(seq, fmt.Sprint(seq), 0)) })
		all.Go(func() {
			had := x.Get("0")
			next := had
			next.Stamp = jwtstore.Stamp{int64(seq)}
			x.Swap("0", had, next)
		})
	}
	all.Wait()
	var left []jwtstore.Version
	for _, v := range x.All() {
		left = append(left, v)
	}
	if got := x.Digest(time.Unix(1000, 0)); got != xor(left...) || len(left) != 7 {
		t.Errorf("%x of %d", got, len(left))
	}
}

// TestWhatHasExpiredIsListed until it is deleted.
func TestWhatHasExpiredIsListed(t *testing.T) {
	x := jwtstore.NewIndex()
	for i, key := range []string{"later", "b", "a", "never", "gone"} {
		x.Commit(key, indexed(uint64(i+1), key, []int64{1020, 1010, 1000, 0, 1000}[i]))
	}
	x.Commit("gone", jwtstore.Version{Seq: 10})
	var expired, others []string
	for key, v := range x.All() {
		if v.Expired(time.Unix(1010, 0)) {
			expired = append(expired, key)
		} else {
			others = append(others, key)
		}
	}
	if !slices.Equal(expired, []string{"a", "b"}) ||
		!slices.Equal(others, []string{"later", "never"}) {
		t.Errorf("expired are %q, and not %q", expired, others)
	}
}
