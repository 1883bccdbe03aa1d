package accounts_test

import (
	"context"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// filled is a registry over a directory with n accounts, which it has looked at.
func filled(b *testing.B, n int) (registry *accounts.Registry, keys []string, tokens [][]byte) {
	b.Helper()
	o := jwttest.NewOperator(b)
	trusted, err := trust.Parse([]byte(o.Token(b)))
	if err != nil {
		b.Fatal(err)
	}
	store, err := jwtstore.OpenDir(context.Background(),
		jwtstore.Options{Dir: b.TempDir(), Shard: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	registry = accounts.New(accounts.Options{Store: store, Committer: store,
		Announcer: &announcer{}, Trust: accounts.Trust{Operators: trust.Operators{trusted}},
		CacheBytes: 32 << 20})
	for range n {
		a := jwttest.NewAccount(b)
		keys, tokens = append(keys, a.ID), append(tokens, o.Account(b, a))
	}
	for i, key := range keys {
		if _, err := registry.Put(context.Background(), key, tokens[i], fromPeer); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(time.Second) // until the files are written
	if err := registry.Rescan(context.Background()); err != nil {
		b.Fatal(err)
	}
	return registry, keys, tokens
}

// BenchmarkPutSame is a line of a pack that is stored already.
func BenchmarkPutSame(b *testing.B) {
	registry, keys, tokens := filled(b, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		result, err := registry.Put(context.Background(), keys[i%100], tokens[i%100], fromPeer)
		if result.Changed || err != nil {
			b.Fatal(result, err)
		}
	}
}

// BenchmarkRescan looks through a directory of 2,000 accounts that has not changed.
func BenchmarkRescan(b *testing.B) {
	registry, _, _ := filled(b, 2000)
	for b.Loop() {
		if err := registry.Rescan(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPack gives packs of 2,000 accounts, which are read from files.
func BenchmarkPack(b *testing.B) {
	filled, _, _ := filled(b, 2000)
	o := filled.Options
	o.CacheBytes = 0
	registry := accounts.New(o)
	for b.Loop() {
		n := 0
		for range registry.Pack(context.Background()) {
			n++
		}
		if n != 2000 {
			b.Fatal(n)
		}
	}
}

// BenchmarkDigest is what a comparison with another server costs while nothing changes.
func BenchmarkDigest(b *testing.B) {
	registry, _, _ := filled(b, 100)
	for b.Loop() {
		_ = registry.Digest()
	}
}

// BenchmarkFirstGet is the first request for an account after a start with an unchanged directory.
func BenchmarkFirstGet(b *testing.B) {
	filled, keys, _ := filled(b, 1000)
	var registry *accounts.Registry
	for i := 0; b.Loop(); i++ {
		if i%len(keys) == 0 { // as at a start: nothing is in memory
			b.StopTimer()
			registry = accounts.New(filled.Options)
			b.StartTimer()
		}
		if _, err := registry.GetLocal(b.Context(), keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}
