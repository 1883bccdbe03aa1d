package accounts_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// TestWhatPassesByAndMayNotReplaceTheStoredJWT is announced over; what may is not.
func TestWhatPassesByAndMayNotReplaceTheStoredJWT(t *testing.T) {
	b := newBench(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	signed := func(o *jwttest.Operator, at time.Time, edits ...func(*jwt.AccountClaims)) []byte {
		return jwttest.Sign(t, o.Key, a, at, edits...)
	}
	stored := signed(b.op, b.now)
	renamed := func(c *jwt.AccountClaims) { c.Name = "renamed" }
	for _, c := range []struct {
		name, key string
		token     []byte
		want      bool // the stored one is announced again
	}{
		{"the stored one", a.ID, stored, false},
		{"the stored one and a line feed", a.ID, append(stored, '\n'), false},
		{"an older one", a.ID, signed(b.op, b.now.Add(-time.Second)), true},
		{"one of the same second", a.ID, signed(b.op, b.now, renamed), false},
		{"a newer one", a.ID, signed(b.op, b.now.Add(time.Second)), false},
		{"one from the far future", a.ID, signed(b.op, b.now.Add(time.Hour)), true},
		{"a newer one that another operator signed", a.ID, signed(jwttest.NewOperator(t),
			b.now.Add(time.Second)), true},
		{"a newer one with a broken signature", a.ID,
			jwttest.Flip(signed(b.op, b.now.Add(time.Second))), true},
		{"a newer one of another account", a.ID, jwttest.Sign(t, b.op.Key, other,
			b.now.Add(time.Second)), true},
		{"garbage", a.ID, []byte("x.y.z"), true},
		{"nothing", a.ID, nil, true},
		{"one of an account that is not stored", other.ID, jwttest.Sign(t, b.op.Key, other,
			b.now.Add(-time.Hour)), false},
		{"one for no account", "*", []byte("x"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told, store := &announcer{}, jwtstore.NewMemory(true)
				plant(t, store, a.ID, stored)
				gate := accounts.New(accounts.Options{Store: store, Committer: store,
					Announcer: told, Trust: b.trust(t, b.op),
					Now: func() time.Time { return b.now }})
				_, _ = gate.Put(context.Background(), c.key, c.token,
					accounts.Origin{Kind: accounts.KindNATS, Broadcast: true})
				time.Sleep(time.Minute) // of the bubble's clock
				if got := told.count(); got > 1 || got == 1 != c.want {
					t.Errorf("announced %d times", got)
				}
			})
		})
	}
}

// TestRemindersAreAtMostOneASecond, and the last of those who pass by does not have the last word.
func TestRemindersAreAtMostOneASecond(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	b.plant(t, a.ID, jwttest.Sign(t, b.op.Key, a, b.now))
	older := jwttest.Sign(t, b.op.Key, a, b.now.Add(-time.Minute))
	synctest.Test(t, func(t *testing.T) {
		told := &announcer{}
		gate := accounts.New(accounts.Options{Store: b.store, Committer: b.store, Announcer: told,
			Trust: b.trust(t, b.op),
			Now:   func() time.Time { return b.now }})
		for range 100 {
			_, _ = gate.Put(context.Background(), a.ID, older,
				accounts.Origin{Kind: accounts.KindNATS, Broadcast: true})
			time.Sleep(25 * time.Millisecond)
		}
		synctest.Wait()
		if n := told.count(); n != 3 {
			t.Errorf("announced %d times in 2.5 s", n)
		}
		time.Sleep(time.Minute)
		if n := told.count(); n != 4 {
			t.Errorf("announced %d times in the end", n)
		}
	})
}
