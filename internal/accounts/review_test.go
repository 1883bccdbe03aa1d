package accounts_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// countingStore counts the JWTs that are read.
type countingStore struct {
	accounts.Store
	read atomic.Int64
}

func (s *countingStore) Load(key string, known jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	token, stamp, err := s.Store.Load(key, known)
	if token != nil {
		s.read.Add(1)
	}
	return token, stamp, err
}

// Very many JWTs are left behind when the operator changes. They are counted in one line, and read
// once.
func TestAReviewCountsWhatIsNoLongerGood(t *testing.T) {
	const many = 40
	store := &countingStore{}
	e := newEnv(t, func(o *accounts.Options) {
		store.Store = o.Store
		o.Store = store
	})
	var all []*jwttest.Account
	for range many {
		a := jwttest.NewAccount(t)
		all = append(all, a)
		e.mustPush(t, a.ID, e.signed(t, a, 0))
	}
	review := func(reads int64, lines ...string) {
		t.Helper()
		e.log.Reset()
		store.read.Store(0)
		e.registry.Review(context.Background(), false)
		for _, line := range lines {
			e.logs(t, line)
		}
		if got := strings.Count(e.log.String(), "\n"); got != min(len(lines), 1) {
			t.Errorf("%d lines are logged:\n%s", got, e.log)
		}
		if got := store.read.Load(); got > reads {
			t.Errorf("%d JWTs are read, want at most %d", got, reads)
		}
	}
	review(0) // all good, under the operator under which they came

	former := e.op
	e.op = jwttest.NewOperator(t)
	e.registry.SetTrust(e.trust(t, e.op))
	review(many+5, "[WRN] 40 of 40 stored JWTs are no longer good and are not served, sign "+
		"these accounts anew and push them: ",
		" (the operator "+e.op.ID+" did not sign it); ", "; and 35 more\n")
	review(5, "[WRN] 40 of 40 stored JWTs are no longer good and are not served")

	if _, err := e.registry.GetLocal(t.Context(), all[0].ID); err == nil {
		t.Error("it is served")
	}
	e.logs(t, all[0].ID[:12]+" - error loading JWT - the operator "+e.op.ID)
	for _, a := range all[:39] {
		e.mustPush(t, a.ID, e.signed(t, a, time.Second))
	}
	review(1, "[WRN] 1 of 40 stored JWTs are no longer good", "push them: "+all[39].ID+" (")

	e.op = former
	e.registry.SetTrust(e.trust(t, e.op))
	e.mustPush(t, all[39].ID, e.signed(t, all[39], time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.log.Reset()
	e.registry.Review(ctx, false)
	if e.log.Len() > 0 {
		t.Errorf("a review that was stopped says:\n%s", e.log)
	}
	review(many+5, "[WRN] 39 of 40 stored JWTs are no longer good")
}

// An index that has nothing learns what is stored.
func TestAReviewFillsANewIndex(t *testing.T) {
	e := newEnv(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.plant(t, a.ID, e.op.Account(t, a))
	e.registry.Review(t.Context(), false)
	e.logs(t, "[INF] the one stored JWT is good under the present operators")
	e = newEnv(t)
	e.plant(t, a.ID, e.op.Account(t, a))
	e.plant(t, b.ID, jwttest.NewOperator(t).Account(t, b))
	e.registry.Review(t.Context(), false)
	e.logs(t, "[WRN] 1 of 2 stored JWTs are no longer good")
}

// A start looks through the store also if something is in the index already: the system account, or what a
// first start has found until it was stopped. What was put into the directory since is found too.
func TestAReviewLooksThroughAStoreOfWhichSomeIsKnown(t *testing.T) {
	e := newEnv(t)
	system, a, b := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.mustPush(t, system.ID, e.signed(t, system, 0))
	e.plant(t, a.ID, e.op.Account(t, a))
	for _, want := range []int{2, 3} {
		e.registry.Review(t.Context(), false)
		if got := len(e.registry.Keys()); got != want {
			t.Errorf("%d accounts are known after the start, want %d", got, want)
		}
		e.plant(t, b.ID, e.op.Account(t, b))
	}
	e.logs(t, "[INF] all 2 stored JWTs are good under the present operators")
}
