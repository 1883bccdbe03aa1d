package monitor

import (
	"context"
	"slices"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// TestPendingAccountsComeInParts by key, all of them once, whatever the order of the changes.
func TestPendingAccountsComeInParts(t *testing.T) {
	store := jwtstore.NewMemory(true)
	var want []string
	allow := func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }
	for range 2*changesAtOnce + 10 {
		key := jwttest.AccountKey(t)
		if _, err := store.Put(context.Background(), key, "test", []byte("jwt"), allow); err != nil {
			t.Fatal(err)
		}
		want = append(want, key)
	}
	slices.Sort(want)
	for _, max := range []int{50, 600, 5000} {
		var got []string
		for after, more := "", true; more; {
			var keys []string
			if keys, more = pendingAfter(store.Outbox(), after, max); len(keys) == 0 || len(keys) > 2*max {
				t.Fatalf("a part has %d accounts, and may have %d", len(keys), 2*max)
			}
			got = append(got, keys...)
			after = keys[len(keys)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("in parts of %d: %d accounts, want %d", max, len(got), len(want))
		}
	}
}
