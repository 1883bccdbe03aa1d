package accounts_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// verdicts is an observer that remembers.
type verdicts []accounts.Event

func (v *verdicts) Observe(one accounts.Event) { *v = append(*v, one) }

// failing is a committer on a full disk.
type failing struct{ accounts.Committer }

func (failing) Put(_ context.Context, _, _ string, _ []byte, allow func(_, _ []byte) error) (uint64,
	error) {
	if err := allow(nil, nil); err != nil {
		return 0, err
	}
	return 0, errors.New("no space left on device")
}

// TestEveryDecisionIsObservedOnce, with what was and what is offered.
func TestEveryDecisionIsObservedOnce(t *testing.T) {
	var seen verdicts
	b := newBench(t, func(o *accounts.Options) { o.Observer = &seen })
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	sign := func(at time.Time, edits ...func(*jwt.AccountClaims)) []byte {
		return jwttest.Sign(t, b.op.Key, a, at, edits...)
	}
	stored := sign(b.now)
	newer := sign(b.now.Add(time.Second))
	src := accounts.Origin{Kind: accounts.KindHTTP, Address: "192.0.2.1:1", User: "ops"}
	b.announcer.maxPayload = 100_000
	for _, c := range []struct {
		name           string
		gate           *accounts.Registry
		token          []byte
		result, reason string
	}{
		{"a new one", b.gate, stored, accounts.Accepted, ""},
		{"the same", b.gate, append(stored, '\n'), accounts.Unchanged, ""},
		{"a newer one", b.gate, newer, accounts.Accepted, ""},
		{"an older one", b.gate, stored, accounts.Refused, "older"},
		{"one from the future", b.gate, sign(b.now.Add(time.Hour)), accounts.Refused, "future"},
		{"a foreign one", b.gate, jwttest.NewOperator(t).Account(t, a), accounts.Refused, "untrusted"},
		{"one of its own", b.gate, jwttest.Sign(t, a.Key, a, b.now), accounts.Refused, "self-signed"},
		{"another account's", b.gate, jwttest.Sign(t, other.Key, a, b.now), accounts.Refused,
			"bad-issuer"},
		{"one for another", b.gate, jwttest.Sign(t, b.op.Key, other, b.now), accounts.Refused,
			"mismatch"},
		{"garbage", b.gate, []byte("x.y.z"), accounts.Refused, "bad-jwt"},
		{"a broken signature", b.gate, jwttest.Flip(sign(b.now.Add(2 * time.Second))),
			accounts.Refused, "bad-jwt"},
		{"an expired one", b.gate, sign(b.now.Add(time.Second),
			func(c *jwt.AccountClaims) { c.Expires = b.now.Add(-time.Minute).Unix() }),
			accounts.Refused, "blocked"},
		{"a huge one", b.gate, sign(b.now.Add(time.Second),
			func(c *jwt.AccountClaims) { c.Description = string(make([]byte, 100_000)) }),
			accounts.Refused, "too-large"},
		{"one for a full disk", accounts.New(accounts.Options{Store: b.store,
			Committer: failing{b.store}, Announcer: b.announcer,
			Observer: &seen, Trust: b.trust(t, b.op)}), sign(b.now.Add(3 * time.Second)),
			accounts.Refused, "save-failed"},
	} {
		seen = nil
		_, _ = c.gate.Put(context.Background(), a.ID, c.token, src)
		if len(seen) != 1 {
			t.Errorf("%s: observed %v", c.name, seen)
			continue
		}
		v := seen[0]
		if v.Result != c.result || v.Reason != c.reason || v.Origin != src || v.Account != a.ID ||
			v.New == nil {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	seen = nil
	latest := sign(b.now.Add(4 * time.Second))
	if _, err := b.gate.Put(context.Background(), a.ID, latest, src); err != nil || len(seen) != 1 {
		t.Fatal(err, seen)
	}
	v := seen[0]
	if v.Issuer != b.op.ID || *v.Old != version(t, newer) || *v.New != version(t, latest) {
		t.Errorf("%+v, old %+v, new %+v", v, v.Old, v.New)
	}
}

func version(t *testing.T, token []byte) accounts.Version {
	claims, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(token)
	return accounts.Version{ID: claims.ID, IssuedAt: claims.IssuedAt,
		Hash: hex.EncodeToString(sum[:]), Size: len(token)}
}
