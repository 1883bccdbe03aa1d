package accounts_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// TestExpiredAccountsAreDeleted, each by itself.
func TestExpiredAccountsAreDeleted(t *testing.T) {
	e := newEnv(t)
	ends := func(at time.Duration) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.Expires = e.now.Add(at).Unix() }
	}
	var keys []string
	for _, after := range []time.Duration{time.Minute, time.Minute, time.Minute, time.Hour, 0} {
		a := jwttest.NewAccount(t)
		edit := ends(after)
		if after == 0 {
			edit = func(*jwt.AccountClaims) {}
		}
		if _, err := e.push(a.ID, jwttest.Sign(t, e.op.Key, a, e.now, edit)); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, a.ID)
	}
	e.plant(t, e.op.System.ID, jwttest.Sign(t, e.op.Key, e.op.System, e.now, ends(time.Minute)))
	stray := jwttest.NewAccount(t)
	e.plant(t, stray.ID, []byte("no JWT"))
	slices.Sort(keys[:3])
	e.committer.keeps = keys[0]
	there := func(want int) {
		t.Helper()
		n := 0
		for _, key := range append(keys, e.op.System.ID, stray.ID) {
			if e.stored(t, key) != nil {
				n++
			}
		}
		if n != want {
			t.Errorf("%d accounts are there", n)
		}
	}
	if err := e.registry.Expire(context.Background()); err != nil {
		t.Error(err)
	}
	there(7)
	e.now = e.now.Add(2 * time.Minute)
	byHand := jwttest.NewAccount(t)
	e.plant(t, byHand.ID, jwttest.Sign(t, e.op.Key, byHand, e.now, ends(-time.Second)))
	if err := e.registry.Expire(context.Background()); err == nil {
		t.Error("it does not say what is in the way")
	}
	there(5) // the system account, what is in the way, and what has not expired
	if e.stored(t, byHand.ID) != nil {
		t.Error("what was put there by hand is there")
	}
	e.committer.keeps = ""
	if err := e.registry.Expire(context.Background()); err != nil {
		t.Error(err)
	}
	there(4)
	if _, err := e.registry.GetLocal(context.Background(), keys[0]); !errors.Is(err,
		accounts.ErrNotFound) {
		t.Error(err)
	}
}

// TestExpiryIsTriedAgain at each interval, and a failure that stays is logged once.
func TestExpiryIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a := newEnv(t), jwttest.NewAccount(t)
		e.plant(t, a.ID, e.signed(t, a, 0, func(c *jwt.AccountClaims) {
			c.Expires = e.now.Add(-time.Minute).Unix()
		}))
		expire := func(period time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), period)
			defer cancel()
			e.registry.ExpireEvery(ctx, time.Hour)
		}
		e.committer.keeps = a.ID
		expire(2*time.Hour + time.Minute)
		if n := strings.Count(e.log.String(), "expired JWTs can't be deleted"); n != 1 {
			t.Errorf("logged %d times: %s", n, e.log)
		}
		e.committer.keeps = ""
		if expire(time.Minute); e.stored(t, a.ID) != nil {
			t.Error("it is there although nothing is in the way")
		}
	})
}
