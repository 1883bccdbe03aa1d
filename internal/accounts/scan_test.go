package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// TestTheDigest is what nats-server computes, and knows at once of every change.
func TestTheDigest(t *testing.T) {
	e := newEnv(t)
	want := accounts.Digest{}
	flip := func(token []byte) {
		for i, c := range sha256.Sum256(token) {
			want[i] ^= c
		}
	}
	check := func(step string) {
		t.Helper()
		if got := e.registry.Digest(); got != want {
			t.Errorf("%s: %x, want %x", step, got, want)
		}
	}
	check("nothing")
	a, c := jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, second := jwttest.Sign(t, e.op.Key, a, e.now), jwttest.Sign(t, e.op.Key, a,
		e.now.Add(time.Second))
	for _, token := range [][]byte{first, second} {
		if _, err := e.push(a.ID, token); err != nil {
			t.Fatal(err)
		}
		flip(token)
		if bytes.Equal(token, second) {
			flip(first)
		}
		check("a push")
	}
	byHand := jwttest.Sign(t, e.op.Key, c, e.now,
		func(c *jwt.AccountClaims) { c.Expires = e.now.Add(time.Minute).Unix() })
	e.plant(t, c.ID, append(byHand, '\n'))
	check("a file that no Rescan has seen")
	rescan(t, e.registry)
	flip(byHand)
	check("a Rescan")
	stranger := jwttest.NewAccount(t)
	e.plant(t, stranger.ID, jwttest.NewOperator(t).Account(t, stranger))
	rescan(t, e.registry)
	check("a file that is not served")
	e.now = e.now.Add(time.Hour)
	flip(byHand)
	check("an expiry")
	if keys := e.registry.Keys(); !slices.Equal(keys, []string{a.ID}) {
		t.Errorf("keys: %q", keys)
	}
	for key, token := range e.registry.Pack(context.Background()) {
		if key != a.ID || !bytes.Equal(token, second) {
			t.Errorf("packed: %s %s", key, token)
		}
	}
	e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t)))
	rescan(t, e.registry)
	want = accounts.Digest{}
	check("another operator")
}

func rescan(t *testing.T, registry *accounts.Registry) {
	t.Helper()
	if err := registry.Rescan(context.Background()); err != nil || !registry.Rescanned() {
		t.Fatalf("%v, rescanned: %v", err, registry.Rescanned())
	}
}

// TestTheDigestUnderConcurrentPushes ends as that of what is stored.
func TestTheDigestUnderConcurrentPushes(t *testing.T) {
	e := newEnv(t)
	var pushes sync.WaitGroup
	var keys []string
	for range 4 {
		a := jwttest.NewAccount(t)
		keys = append(keys, a.ID)
		for i := range 8 {
			token := jwttest.Sign(t, e.op.Key, a, e.now.Add(time.Duration(i)*time.Second))
			pushes.Go(func() { _, _ = e.registry.Put(context.Background(), a.ID, token, fromPeer) })
		}
		pushes.Go(func() { _ = e.registry.Rescan(context.Background()) })
	}
	pushes.Wait()
	want := accounts.Digest{}
	for _, key := range keys {
		for i, c := range sha256.Sum256(e.stored(t, key)) {
			want[i] ^= c
		}
	}
	if got := e.registry.Digest(); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

// TestWhatAHandChangesIsPacked as it is then, although no Rescan has seen it.
func TestWhatAHandChangesIsPacked(t *testing.T) {
	e := newEnv(t)
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	for _, one := range []*jwttest.Account{a, b, c} {
		e.mustPush(t, one.ID, e.signed(t, one, 0))
	}
	newer := e.signed(t, a, -time.Hour, func(c *jwt.AccountClaims) { c.Name = "by hand" })
	e.plant(t, a.ID, append(newer, '\n'))
	e.plant(t, b.ID, []byte("torn"))
	removeByHand(t, e, c.ID)
	packed := map[string]string{}
	for key, token := range e.registry.Pack(t.Context()) {
		packed[key] = string(token)
	}
	if len(packed) != 1 || packed[a.ID] != string(newer) {
		t.Errorf("packed is %q", packed)
	}
	rescan(t, e.registry)
	if keys := e.registry.Keys(); !slices.Equal(keys, []string{a.ID}) {
		t.Errorf("keys %q", keys)
	}
	for range e.registry.Pack(t.Context()) {
		break // a client that has enough
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for key := range e.registry.Pack(ctx) {
		t.Errorf("packed for no one: %s", key)
	}
}

func removeByHand(t *testing.T, e *testEnv, key string) {
	t.Helper()
	remove := func(jwtstore.Stored) ([]byte, error) { return []byte("x"), nil }
	if _, err := e.store.Delete(t.Context(), key, "hand", remove); err != nil {
		t.Fatal(err)
	}
}

// TestARescanThatFails says what can't be read, and counts the rest. One that is given up does not
// count.
func TestARescanThatFails(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.signed(t, a, 0))
	broken := accounts.New(e.options(t, func(o *accounts.Options) {
		o.Store = unreadable{o.Store}
	}))
	wantError(t, broken.Rescan(t.Context()), accounts.ErrUnreadable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, e.registry.Rescan(ctx), context.Canceled)
	if e.registry.Rescanned() {
		t.Error("it counts")
	}
	wantError(t, e.registry.Expire(ctx), context.Canceled)
	rescan(t, e.registry)
	// What the index knows is not read again, but under another operator it is judged again.
	rescan(t, e.registry)
	e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t)))
	if e.registry.Rescanned() {
		t.Error("it counts under another operator")
	}
	rescan(t, e.registry)
	if keys := e.registry.Keys(); len(keys) != 0 {
		t.Errorf("keys %q", keys)
	}
}

// slowScan calls during while it scans.
type slowScan struct {
	accounts.Store
	during func()
}

func (s *slowScan) Scan(ctx context.Context, o jwtstore.Scan) error {
	s.during()
	return s.Store.Scan(ctx, o)
}

// TestARescanCountsWhenItHasEnded, and not under a trust that has come meanwhile. A list of all
// accounts waits for it.
func TestARescanCountsWhenItHasEnded(t *testing.T) {
	store := &slowScan{}
	e := newEnv(t, func(o *accounts.Options) {
		store.Store, o.Store = o.Store, store
	})
	store.during = func() {
		if e.registry.Rescanned() {
			t.Error("it counts while it goes on")
		}
	}
	rescan(t, e.registry)
	store.during = func() { e.registry.SetTrust(e.trust(t, e.op)) }
	if err := e.registry.Rescan(t.Context()); err != nil || e.registry.Rescanned() {
		t.Errorf("%v, it counts under another trust", err)
	}
}

// TestARescanAddsSummaries to an index that an earlier version of this program has made. It judges nothing
// anew: what the index says of a JWT stays.
func TestARescanAddsSummaries(t *testing.T) {
	e := newEnv(t)
	a, exporter := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := e.signed(t, a, 0, func(c *jwt.AccountClaims) {
		c.Name = "orders"
		c.Imports.Add(&jwt.Import{Account: exporter.ID, Subject: "x", Type: jwt.Stream})
		c.Limits.DisallowBearer = true
	})
	e.mustPush(t, a.ID, token)
	index := e.store.Index()
	want := index.Get(a.ID)
	s := want.Summary
	if s.Name != "orders" || s.Imports != 1 || !s.NoBearer || s.Issuer != trust.Issuer(token) ||
		!slices.Equal(slices.Collect(s.Sources()), []string{exporter.ID}) {
		t.Errorf("the summary of a push is %+v", s)
	}
	old := want
	old.Summary = jwtstore.Summary{}
	index.Swap(a.ID, want, old)
	rescan(t, e.registry)
	if got := index.Get(a.ID); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestTheIssuerIsKnownOfWhatIsNotServed, as the JWT says.
func TestTheIssuerIsKnownOfWhatIsNotServed(t *testing.T) {
	e := newEnv(t)
	a, foreign := jwttest.NewAccount(t), jwttest.NewOperator(t)
	e.plant(t, a.ID, foreign.Account(t, a))
	rescan(t, e.registry)
	got := e.store.Index().Get(a.ID)
	if got.Servable || got.Summary.Issuer == "" || got.Summary.Issuer != trust.Issuer(foreign.Account(t, a)) {
		t.Errorf("%+v", got)
	}
}
