package accounts_test

import (
	"context"
	"strings"
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
	e := newEnv(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	signed := func(o *jwttest.Operator, at time.Time, edits ...func(*jwt.AccountClaims)) []byte {
		return jwttest.Sign(t, o.Key, a, at, edits...)
	}
	stored := signed(e.op, e.now)
	renamed := func(c *jwt.AccountClaims) { c.Name = "renamed" }
	for _, c := range []struct {
		name, key string
		token     []byte
		want      bool // the stored one is announced again
	}{
		{"the stored one", a.ID, stored, false},
		{"the stored one and a line feed", a.ID, append(stored, '\n'), false},
		{"an older one", a.ID, signed(e.op, e.now.Add(-time.Second)), true},
		{"one of the same second", a.ID, signed(e.op, e.now, renamed), false},
		{"a newer one", a.ID, signed(e.op, e.now.Add(time.Second)), false},
		{"one from the far future", a.ID, signed(e.op, e.now.Add(time.Hour)), true},
		{"a newer one that another operator signed", a.ID, signed(jwttest.NewOperator(t),
			e.now.Add(time.Second)), true},
		{"a newer one with a broken signature", a.ID,
			jwttest.Flip(signed(e.op, e.now.Add(time.Second))), true},
		{"a newer one of another account", a.ID, jwttest.Sign(t, e.op.Key, other,
			e.now.Add(time.Second)), true},
		{"garbage", a.ID, []byte("x.y.z"), true},
		{"nothing", a.ID, nil, true},
		{"one of an account that is not stored", other.ID, jwttest.Sign(t, e.op.Key, other,
			e.now.Add(-time.Hour)), false},
		{"one for no account", "*", []byte("x"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told, store := &announcer{}, jwtstore.NewMemory(true)
				plant(t, store, a.ID, stored)
				registry := accounts.New(accounts.Options{Store: store, Committer: store,
					Announcer: told, Trust: e.trust(t, e.op),
					Now: func() time.Time { return e.now }})
				_, _ = registry.Put(context.Background(), c.key, c.token,
					byUpdate)
				time.Sleep(time.Minute) // of the bubble's clock
				if got := told.count(); got > 1 || got == 1 != c.want {
					t.Errorf("announced %d times", got)
				}
			})
		})
	}
}

// TestTheStoredJWTIsAnnouncedAtMostOnceASecond, and once more after the last update that passes by.
func TestTheStoredJWTIsAnnouncedAtMostOnceASecond(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, jwttest.Sign(t, e.op.Key, a, e.now))
	older := jwttest.Sign(t, e.op.Key, a, e.now.Add(-time.Minute))
	synctest.Test(t, func(t *testing.T) {
		told := &announcer{}
		registry := accounts.New(accounts.Options{Store: e.store,
			Committer: e.store, Announcer: told, Trust: e.trust(t, e.op),
			Now: func() time.Time { return e.now }})
		for range 100 {
			_, _ = registry.Put(context.Background(), a.ID, older,
				byUpdate)
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

// TestTheConfiguredSystemAccountIsAnnouncedAgain, although its JWT is not stored.
func TestTheConfiguredSystemAccountIsAnnouncedAgain(t *testing.T) {
	e := newEnv(t)
	system, token := e.withSystem(t)
	e.registry.SetTrust(system)
	for i, announced := range [][]byte{jwttest.Flip(token), e.signed(t, e.op.System, -time.Hour)} {
		_, err := e.registry.Put(t.Context(), e.op.System.ID, announced, byUpdate)
		if n := e.announcer.count(); err == nil || n == 0 {
			t.Errorf("%d: announced %d times, %v", i, n, err)
		}
	}
}

// TestAStoredJWTThatCantBeAnnouncedAgain is worth a line.
func TestAStoredJWTThatCantBeAnnouncedAgain(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.signed(t, a, 0))
	e.committer.touchErr = errFull
	_, err := e.registry.Put(t.Context(), a.ID, e.signed(t, a, -time.Hour), byUpdate)
	wantError(t, err, &accounts.OlderError{})
	if n := e.announcer.count(); n != 0 ||
		!strings.Contains(e.log.String(), "can't be announced again") {
		t.Errorf("announced %d times, it logs %s", n, e.log)
	}
}

// TestServersThatContradictEachOtherSlowDown: none will ever give in. A row of JWTs from another
// server does not make this one slow by itself.
func TestServersThatContradictEachOtherSlowDown(t *testing.T) {
	for _, c := range []struct {
		name     string
		others   int // servers, each with another JWT
		messages int // of each, after each announcement of this one
		min, max int // announcements in an hour
	}{
		{"one", 1, 1, 8, 20},
		{"two", 2, 1, 8, 20},
		{"one that says it again and again", 1, 20, 8, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			a := jwttest.NewAccount(t)
			e.plant(t, a.ID, jwttest.Sign(t, e.op.Key, a, e.now))
			var theirs [][]byte
			for range c.others {
				theirs = append(theirs, jwttest.NewOperator(t).Account(t, a))
			}
			synctest.Test(t, func(t *testing.T) {
				told := &announcer{}
				registry := accounts.New(accounts.Options{Store: e.store, Committer: e.store,
					Announcer: told, Trust: e.trust(t, e.op),
					Now: func() time.Time { return e.now }})
				answered := 0
				for range 3600 { // they answer each of ours within a second
					if n := told.count(); n > answered || n == 0 {
						answered = n
						for range c.messages {
							for _, token := range theirs {
								_, _ = registry.Put(context.Background(), a.ID, token, byOutbox)
							}
						}
					}
					time.Sleep(time.Second)
				}
				if n := told.count(); n < c.min || n > c.max {
					t.Errorf("announced %d times in an hour", n)
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

// TestWhatANatsServerRunsIsAdoptedIfItIsNewer, and nothing else of it is.
func TestWhatANatsServerRunsIsAdoptedIfItIsNewer(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	stored := jwttest.Sign(t, e.op.Key, a, e.now)
	renamed := func(c *jwt.AccountClaims) { c.Name = "renamed" }
	for _, c := range []struct {
		name    string
		running []byte
		want    bool
	}{
		{"the stored one", stored, false},
		{"a newer one", jwttest.Sign(t, e.op.Key, a, e.now.Add(time.Second)), true},
		{"an older one", jwttest.Sign(t, e.op.Key, a, e.now.Add(-time.Second)), false},
		{"another one of its second", jwttest.Sign(t, e.op.Key, a, e.now, renamed), false},
		{"a newer one of another operator", jwttest.Sign(t, jwttest.NewOperator(t).Key, a,
			e.now.Add(time.Second)), false},
		{"garbage", []byte("x.y.z"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, told := jwtstore.NewMemory(true), &announcer{}
			plant(t, store, a.ID, stored)
			registry := accounts.New(accounts.Options{Store: store,
				Committer: store, Announcer: told,
				Trust: e.trust(t, e.op), Now: func() time.Time { return e.now }})
			got := registry.Adopt(t.Context(), a.ID, c.running)
			served, err := registry.GetLocal(t.Context(), a.ID)
			if err != nil {
				t.Fatal(err)
			}
			if isServed := string(served.JWT) == string(c.running); got != c.want ||
				c.want && !isServed ||
				told.count() > 0 != c.want {
				t.Errorf("adopted: %v, served: %v, announced: %v", got, isServed, told.count() > 0)
			}
		})
	}
}

// TestReassertIsMadeOncePerSecond, and the last demand is not lost.
func TestReassertIsMadeOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a := newEnv(t), jwttest.NewAccount(t)
		e.plant(t, a.ID, e.signed(t, a, 0))
		for range 5 {
			e.registry.Reassert(a.ID)
		}
		if n := e.announcer.count(); n != 1 {
			t.Errorf("announced %d times at once", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := e.announcer.count(); n != 2 {
			t.Errorf("announced %d times in all", n)
		}
	})
}
