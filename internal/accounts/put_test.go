package accounts_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func TestARaceOfAnOlderAndANewerJWTEndsWithTheNewer(t *testing.T) {
	e := newEnv(t)
	for range 50 {
		a := jwttest.NewAccount(t)
		newer := e.op.Account(t, a)
		older := jwttest.Sign(t, e.op.Signing, a, e.now.Add(-time.Minute))
		var race sync.WaitGroup
		for _, token := range [][]byte{older, newer} {
			race.Go(func() { _, _ = e.push(a.ID, token) })
		}
		race.Wait()
		if !bytes.Equal(e.stored(t, a.ID), newer) {
			t.Fatal("the older JWT stands")
		}
	}
}

// TestTrustIsLookedAtAgainAtTheCommit: a reload may have replaced the operator since the JWT came.
func TestTrustIsLookedAtAgainAtTheCommit(t *testing.T) {
	var e *testEnv
	reload := &reloading{}
	e = newEnv(t, func(o *accounts.Options) {
		reload.Committer = o.Committer
		o.Committer = reload
	})
	reload.before = func() { e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t))) }
	a := jwttest.NewAccount(t)
	_, err := e.push(a.ID, e.signed(t, a, 0))
	wantError(t, err, accounts.ErrUntrusted)
	if e.stored(t, a.ID) != nil {
		t.Error("it is stored")
	}
}

// reloading is a Committer before which something happens.
type reloading struct {
	accounts.Committer
	before func()
}

func (r *reloading) Put(
	ctx context.Context, key, kind string, token []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error),
) (uint64, error) {
	r.before()
	return r.Committer.Put(ctx, key, kind, token, allow)
}

// TestSameAndOlderLinesCostNothing: neither a look at the store nor a signature check.
func TestSameAndOlderLinesCostNothing(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token, older := jwttest.Sign(t, e.op.Key, a, e.now), jwttest.Sign(t, e.op.Key, a,
		e.now.Add(-time.Second))
	if _, err := e.push(a.ID, token); err != nil {
		t.Fatal(err)
	}
	per := testing.AllocsPerRun(100, func() {
		if result, err := e.registry.Put(context.Background(), a.ID, token, fromPeer); result.Changed ||
			err != nil {
			t.Error(result, err)
		}
	})
	if per > 2 {
		t.Errorf("the same line takes %.0f allocations", per)
	}
	_, err := e.registry.Put(context.Background(), a.ID, jwttest.Flip(older), fromPeer)
	if !errors.As(err, new(*accounts.OlderError)) {
		t.Errorf("an older line with a broken signature: %v", err)
	}
}

// TestWhatCameByABroadcastIsNotAnnounced, unless the account has just changed: it is not known then
// in the order.
func TestWhatCameByABroadcastIsNotAnnounced(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	offer := func(at time.Duration) {
		t.Helper()
		result, err := e.registry.Put(context.Background(), a.ID, jwttest.Sign(t, e.op.Key, a,
			e.now.Add(at)), byUpdate)
		if err != nil || !result.Changed {
			t.Fatal(result, err)
		}
	}
	offer(0)
	if len(e.announcer.heard) != 1 || e.announcer.count() != 0 {
		t.Errorf("heard %d, told %d", len(e.announcer.heard), e.announcer.count())
	}
	offer(time.Second)
	if len(e.announcer.heard) != 1 || e.announcer.count() != 1 {
		t.Errorf("right after another: heard %d, told %d", len(e.announcer.heard),
			e.announcer.count())
	}
	e.now = e.now.Add(time.Minute)
	offer(0)
	if len(e.announcer.heard) != 2 || e.announcer.count() != 1 {
		t.Errorf("later: heard %d, told %d", len(e.announcer.heard), e.announcer.count())
	}
}

// TestALineThatIsNoJWTOfTheAccount is no reason to compare.
func TestALineThatIsNoJWTOfTheAccount(t *testing.T) {
	e := newEnv(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	for token, want := range map[string]error{
		"x":                                    accounts.ErrBadJWT,
		string(e.signed(t, other, -time.Hour)): accounts.ErrMismatch,
	} {
		_, err := e.registry.Put(t.Context(), a.ID, []byte(token), fromPeer)
		wantError(t, err, want)
	}
}

func FuzzPut(f *testing.F) {
	op := jwttest.NewOperator(f)
	trusted, err := trust.Parse([]byte(op.Token(f)))
	if err != nil {
		f.Fatal(err)
	}
	a := jwttest.NewAccount(f)
	good := op.Account(f, a)
	f.Add(good)
	f.Add([]byte("a.b.c"))
	f.Add(jwttest.Sign(f, a.Key, a, time.Now()))
	f.Add(op.Account(f, jwttest.NewAccount(f)))
	f.Fuzz(func(t *testing.T, body []byte) {
		store := jwtstore.NewMemory(true)
		registry := accounts.New(accounts.Options{Store: store, Committer: store,
			Announcer: &announcer{}, Trust: accounts.Trust{Operators: trust.Operators{trusted}}})
		_, err := registry.Put(context.Background(), a.ID, body, byHTTP)
		token, _, loadErr := store.Load(a.ID, jwtstore.Stamp{})
		if (err == nil) != (loadErr == nil) || err == nil && !bytes.Equal(token, good) {
			t.Fatalf("let in: %q", token)
		}
	})
}
