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

// crowded is a gate over a directory with n accounts, which it has looked at.
func crowded(b *testing.B, n int) (gate *accounts.Registry, keys []string, tokens [][]byte) {
	b.Helper()
	o := jwttest.NewOperator(b)
	trusted, err := trust.Parse([]byte(o.Token(b)))
	if err != nil {
		b.Fatal(err)
	}
	store, err := jwtstore.OpenDir(context.Background(), jwtstore.Options{Dir: b.TempDir(), Shard: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	gate = accounts.New(accounts.Options{Store: store, Committer: store, Announcer: &announcer{},
		Trust: accounts.Trust{Operator: trusted}})
	for range n {
		a := jwttest.NewAccount(b)
		keys, tokens = append(keys, a.ID), append(tokens, o.Account(b, a))
	}
	for i, key := range keys {
		if _, err := gate.Put(context.Background(), key, tokens[i], fromPeer); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(time.Second) // until the files are written
	if err := gate.Rescan(context.Background()); err != nil {
		b.Fatal(err)
	}
	return gate, keys, tokens
}

// BenchmarkMergeSame is a line of a pack that is stored already.
func BenchmarkMergeSame(b *testing.B) {
	gate, keys, tokens := crowded(b, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if result, err := gate.Put(context.Background(), keys[i%100], tokens[i%100], fromPeer); result.Changed || err != nil {
			b.Fatal(result, err)
		}
	}
}

// BenchmarkSurvey looks through a directory of 2,000 accounts that nobody has changed.
func BenchmarkSurvey(b *testing.B) {
	gate, _, _ := crowded(b, 2000)
	for b.Loop() {
		if err := gate.Rescan(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPack reads a pack of 2,000 accounts.
func BenchmarkPack(b *testing.B) {
	gate, _, _ := crowded(b, 2000)
	for b.Loop() {
		n := 0
		for range gate.Pack(context.Background()) {
			n++
		}
		if n != 2000 {
			b.Fatal(n)
		}
	}
}

// BenchmarkDigest is what a comparison with another server costs while nothing changes.
func BenchmarkDigest(b *testing.B) {
	gate, _, _ := crowded(b, 100)
	for b.Loop() {
		_ = gate.Digest()
	}
}
