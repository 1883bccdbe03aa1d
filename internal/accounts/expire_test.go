package accounts_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// stubborn is a store that does not delete one of its accounts.
type stubborn struct {
	accounts.Committer
	keeps string
}

func (s *stubborn) Delete(ctx context.Context, key, door string, allow func(_, _ []byte) ([]byte,
	error)) (uint64, error) {
	if key == s.keeps {
		return 0, errors.New("no")
	}
	return s.Committer.Delete(ctx, key, door, allow)
}

// TestExpiredAccountsAreDeleted, each by itself.
func TestExpiredAccountsAreDeleted(t *testing.T) {
	store := &stubborn{}
	b := newBench(t, func(o *accounts.Options) { store.Committer, o.Committer = o.Committer, store })
	ends := func(at time.Duration) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.Expires = b.now.Add(at).Unix() }
	}
	var keys []string
	for _, after := range []time.Duration{time.Minute, time.Minute, time.Minute, time.Hour, 0} {
		a := jwttest.NewAccount(t)
		edit := ends(after)
		if after == 0 {
			edit = func(*jwt.AccountClaims) {}
		}
		if _, err := b.submit(a.ID, jwttest.Sign(t, b.op.Key, a, b.now, edit)); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, a.ID)
	}
	b.plant(t, b.op.System.ID, jwttest.Sign(t, b.op.Key, b.op.System, b.now, ends(time.Minute)))
	stray := jwttest.NewAccount(t)
	b.plant(t, stray.ID, []byte("no JWT"))
	slices.Sort(keys[:3])
	store.keeps = keys[0]
	there := func(want int) {
		t.Helper()
		n := 0
		for _, key := range append(keys, b.op.System.ID, stray.ID) {
			if b.stored(t, key) != nil {
				n++
			}
		}
		if n != want {
			t.Errorf("%d accounts are there", n)
		}
	}
	if err := b.gate.Expire(context.Background()); err != nil {
		t.Error(err)
	}
	there(7)
	b.now = b.now.Add(2 * time.Minute)
	byHand := jwttest.NewAccount(t)
	b.plant(t, byHand.ID, jwttest.Sign(t, b.op.Key, byHand, b.now, ends(-time.Second)))
	if err := b.gate.Expire(context.Background()); err == nil {
		t.Error("it does not say what is in the way")
	}
	there(5) // the system account, what is in the way, and what has not expired
	if b.stored(t, byHand.ID) != nil {
		t.Error("what a hand has put there is there")
	}
	store.keeps = ""
	if err := b.gate.Expire(context.Background()); err != nil {
		t.Error(err)
	}
	there(4)
	if _, err := b.gate.GetLocal(context.Background(), keys[0]); !errors.Is(err, accounts.ErrNotFound) {
		t.Error(err)
	}
}
