package accounts_test

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
)

// TestRecently allows something once in a period, and again at once if the clock was set back.
func TestRecently(t *testing.T) {
	r := accounts.Recently{Period: 5 * time.Second}
	start := time.Unix(1_000_000, 0) // without a monotonic clock
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {4 * time.Second, false}, {5 * time.Second, true}, {9 * time.Second, false},
		{-time.Hour, true}, {-time.Hour + time.Second, false}, {time.Hour, true},
	} {
		if got := r.Allow("A", start.Add(c.at)); got != c.want {
			t.Errorf("allowed at %s: %v", c.at, got)
		}
	}
}

// BenchmarkRecently takes the same time however many accounts there are.
func BenchmarkRecently(b *testing.B) {
	for _, n := range []int{1_000, 25_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			keys := make([]string, n)
			for i := range keys {
				keys[i] = strconv.Itoa(i)
			}
			r := accounts.Recently{Period: time.Minute}
			now, i := time.Unix(1_000_000, 0), 0
			for b.Loop() {
				r.Allow(keys[i%n], now)
				now, i = now.Add(time.Millisecond), i+1
			}
		})
	}
}

// TestRecentlyIsBounded remembers a million accounts of one moment in little memory, and the last
// of them all the same.
func TestRecentlyIsBounded(t *testing.T) {
	const all, limit = 1_000_000, 8 << 20
	r := accounts.Recently{Period: time.Hour}
	now := time.Unix(1_000_000, 0)
	before := heapBytes()
	for i := range all {
		r.Allow("some account with a key of that length "+strconv.Itoa(i), now)
	}
	if grown := heapBytes() - before; grown > limit {
		t.Errorf("it takes %d bytes, want at most %d", grown, limit)
	}
	if r.Allow("some account with a key of that length "+strconv.Itoa(all-1), now) {
		t.Error("it has forgotten the last one")
	}
}

// heapBytes returns what is in use after a collection.
func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
