package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

var fromPeer = accounts.Origin{Kind: accounts.KindPack, Peer: true}

// TestOfOneSecondTheGreaterHashWinsBetweenPeers, whichever comes first; over POST it is the later
// one.
func TestOfOneSecondTheGreaterHashWinsBetweenPeers(t *testing.T) {
	b := newBench(t, func(o *accounts.Options) { o.AllowOlder = true })
	a := jwttest.NewAccount(t)
	tokens := [][]byte{
		jwttest.Sign(t, b.op.Signing, a, b.now),
		jwttest.Sign(t, b.op.Signing, a, b.now, func(c *jwt.AccountClaims) { c.Name = "other" }),
	}
	slices.SortFunc(tokens, func(x, y []byte) int {
		hx, hy := sha256.Sum256(x), sha256.Sum256(y)
		return bytes.Compare(hx[:], hy[:])
	})
	lesser, greater := tokens[0], tokens[1]
	merge := func(token []byte) error {
		_, err := b.gate.Put(context.Background(), a.ID, token, fromPeer)
		return err
	}
	if err := errors.Join(merge(lesser), merge(greater)); err != nil {
		t.Fatal(err)
	}
	if err := merge(lesser); !errors.Is(err, accounts.ErrLesser) ||
		!bytes.Equal(b.stored(t, a.ID), greater) {
		t.Errorf("a peer's lesser one: %v", err)
	}
	if _, err := b.submit(a.ID, lesser); err != nil || !bytes.Equal(b.stored(t, a.ID), lesser) {
		t.Errorf("a POST: %v", err)
	}
	older := &accounts.OlderError{}
	if err := merge(jwttest.Sign(t, b.op.Signing, a, b.now.Add(-time.Second))); !errors.As(err, &older) {
		t.Errorf("a peer may not go back, whatever is configured: %v", err)
	}
}

// TestTheDigest is what nats-server computes, and knows at once of every change.
func TestTheDigest(t *testing.T) {
	b := newBench(t)
	want := accounts.Digest{}
	flip := func(token []byte) {
		for i, c := range sha256.Sum256(token) {
			want[i] ^= c
		}
	}
	check := func(step string) {
		t.Helper()
		if got := b.gate.Digest(); got != want {
			t.Errorf("%s: %x, want %x", step, got, want)
		}
	}
	check("nothing")
	a, c := jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, second := jwttest.Sign(t, b.op.Key, a, b.now), jwttest.Sign(t, b.op.Key, a,
		b.now.Add(time.Second))
	for _, token := range [][]byte{first, second} {
		if _, err := b.submit(a.ID, token); err != nil {
			t.Fatal(err)
		}
		flip(token)
		if bytes.Equal(token, second) {
			flip(first)
		}
		check("a push")
	}
	byHand := jwttest.Sign(t, b.op.Key, c, b.now,
		func(c *jwt.AccountClaims) { c.Expires = b.now.Add(time.Minute).Unix() })
	b.plant(t, c.ID, append(byHand, '\n'))
	check("a file that nobody has looked at")
	survey(t, b.gate)
	flip(byHand)
	check("a survey")
	stranger := jwttest.NewAccount(t)
	b.plant(t, stranger.ID, jwttest.NewOperator(t).Account(t, stranger))
	survey(t, b.gate)
	check("a file that is not served")
	b.now = b.now.Add(time.Hour)
	flip(byHand)
	check("an expiry")
	if keys := b.gate.Keys(); !slices.Equal(keys, []string{a.ID}) {
		t.Errorf("keys: %q", keys)
	}
	for key, token := range b.gate.Pack(context.Background()) {
		if key != a.ID || !bytes.Equal(token, second) {
			t.Errorf("packed: %s %s", key, token)
		}
	}
	b.gate.SetTrust(b.trust(t, jwttest.NewOperator(t)))
	survey(t, b.gate)
	want = accounts.Digest{}
	check("another operator")
}

func survey(t *testing.T, gate *accounts.Registry) {
	t.Helper()
	if err := gate.Rescan(context.Background()); err != nil || !gate.Rescanned() {
		t.Fatalf("%v, surveyed: %v", err, gate.Rescanned())
	}
}

// TestTheDigestUnderConcurrentPushes ends as that of what is stored.
func TestTheDigestUnderConcurrentPushes(t *testing.T) {
	b := newBench(t)
	var pushes sync.WaitGroup
	var keys []string
	for range 4 {
		a := jwttest.NewAccount(t)
		keys = append(keys, a.ID)
		for i := range 8 {
			token := jwttest.Sign(t, b.op.Key, a, b.now.Add(time.Duration(i)*time.Second))
			pushes.Go(func() { _, _ = b.gate.Put(context.Background(), a.ID, token, fromPeer) })
		}
		pushes.Go(func() { _ = b.gate.Rescan(context.Background()) })
	}
	pushes.Wait()
	want := accounts.Digest{}
	for _, key := range keys {
		for i, c := range sha256.Sum256(b.stored(t, key)) {
			want[i] ^= c
		}
	}
	if got := b.gate.Digest(); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

// TestSameAndOlderLinesCostNothing: neither a look at the store nor a signature check.
func TestSameAndOlderLinesCostNothing(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	token, older := jwttest.Sign(t, b.op.Key, a, b.now), jwttest.Sign(t, b.op.Key, a,
		b.now.Add(-time.Second))
	if _, err := b.submit(a.ID, token); err != nil {
		t.Fatal(err)
	}
	per := testing.AllocsPerRun(100, func() {
		if result, err := b.gate.Put(context.Background(), a.ID, token, fromPeer); result.Changed ||
			err != nil {
			t.Error(result, err)
		}
	})
	if per > 2 {
		t.Errorf("the same line takes %.0f allocations", per)
	}
	if _, err := b.gate.Put(context.Background(), a.ID, jwttest.Flip(older), fromPeer); !errors.As(err, new(*accounts.OlderError)) {
		t.Errorf("an older line with a broken signature: %v", err) // nobody looked at the signature
	}
}

// TestServersThatContradictEachOtherSlowDown: neither will ever give in.
func TestServersThatContradictEachOtherSlowDown(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	b.plant(t, a.ID, jwttest.Sign(t, b.op.Key, a, b.now))
	theirs := jwttest.NewOperator(t).Account(t, a)
	synctest.Test(t, func(t *testing.T) {
		told := &announcer{}
		gate := accounts.New(accounts.Options{Store: b.store, Committer: b.store, Announcer: told,
			Trust: b.trust(t, b.op),
			Now:   func() time.Time { return b.now }})
		answered := 0
		for range 3600 { // they answer each of ours within a second
			if n := told.count(); n > answered || n == 0 {
				answered = n
				_, _ = gate.Put(context.Background(), a.ID, theirs,
					accounts.Origin{Kind: accounts.KindNATS, Broadcast: true, Peer: true})
			}
			time.Sleep(time.Second)
		}
		if n := told.count(); n < 2 || n > 20 {
			t.Errorf("announced %d times in an hour", n)
		}
		time.Sleep(time.Hour)
	})
}

// TestWhatCameByABroadcastIsNotSaidAgain, unless the account has just changed: then nobody knows
// the order.
func TestWhatCameByABroadcastIsNotSaidAgain(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	offer := func(at time.Duration) {
		t.Helper()
		result, err := b.gate.Put(context.Background(), a.ID, jwttest.Sign(t, b.op.Key, a,
			b.now.Add(at)), accounts.Origin{Kind: accounts.KindNATS, Broadcast: true})
		if err != nil || !result.Changed {
			t.Fatal(result, err)
		}
	}
	offer(0)
	if len(b.announcer.heard) != 1 || b.announcer.count() != 0 {
		t.Errorf("heard %d, told %d", len(b.announcer.heard), b.announcer.count())
	}
	offer(time.Second)
	if len(b.announcer.heard) != 1 || b.announcer.count() != 1 {
		t.Errorf("right after another: heard %d, told %d", len(b.announcer.heard), b.announcer.count())
	}
	b.now = b.now.Add(time.Minute)
	offer(0)
	if len(b.announcer.heard) != 2 || b.announcer.count() != 1 {
		t.Errorf("later: heard %d, told %d", len(b.announcer.heard), b.announcer.count())
	}
}
