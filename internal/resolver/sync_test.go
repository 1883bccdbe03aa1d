package resolver_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/resolver"
)

// comparisons describes an hour of a server on a session and a clock of its own.
type comparisons struct {
	op     *jwttest.Operator
	stored [][2]string                        // key and JWT
	peer   func(s *fakeSession, inbox string) // answers a request for a pack
	during func(s *fakeSession)               // runs beside that; nil: nothing does
	asked  []time.Duration                    // when packs were asked for, afterwards
	log    *natstest.Log
}

func (c *comparisons) run(t *testing.T) {
	t.Helper()
	trusted := trustIn(t, c.op)
	c.log, c.asked = &natstest.Log{}, nil
	synctest.Test(t, func(t *testing.T) {
		store := jwtstore.NewMemory(true)
		for _, s := range c.stored {
			if _, err := store.Put(t.Context(), s[0], "test", []byte(s[1]), jwtAlways); err != nil {
				t.Fatal(err)
			}
		}
		log := slog.New(loggingtest.New(c.log, logging.Format{}))
		registry := accounts.New(accounts.Options{
			Store: store, Committer: store, Announcer: silentAnnouncer{}, Trust: trusted, Log: log,
		})
		srv, session := resolver.New(resolver.Options{Accounts: registry,
			Log: log}), newFakeSession()
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		go srv.Serve(ctx, session, func() {})
		go func() {
			for {
				select {
				case inbox := <-session.requests:
					c.asked = append(c.asked, time.Since(began).Round(time.Second))
					c.peer(session, inbox)
				case <-ctx.Done():
					return
				}
			}
		}()
		if c.during != nil {
			c.during(session)
		}
		time.Sleep(time.Until(began.Add(time.Hour)))
		cancel()
		synctest.Wait()
	})
}

// nothing is a peer whose store is the same.
func nothing(s *fakeSession, inbox string) { s.deliver(&nats.Msg{Subject: inbox}) }

// wantAsked checks the minutes in which packs were asked for.
func (c *comparisons) wantAsked(t *testing.T, want ...time.Duration) {
	t.Helper()
	var minutes []time.Duration
	for _, at := range c.asked {
		minutes = append(minutes, at.Round(time.Minute)/time.Minute)
	}
	if !slices.Equal(minutes, want) {
		t.Errorf("asked at %v", c.asked)
	}
}

func TestStoresAreComparedLessOftenWhileThatChangesNothing(t *testing.T) {
	op := jwttest.NewOperator(t)
	c := comparisons{op: op, peer: nothing}
	c.run(t)
	c.wantAsked(t, 0, 1, 3, 7, 15, 25, 35, 45, 55)
	// A peer that does not answer makes no difference, except that each request takes two seconds.
	c.peer = func(*fakeSession, string) {}
	c.run(t)
	c.wantAsked(t, 0, 1, 3, 7, 15, 25, 35, 45, 55)
	// A peer that always has something new is asked every minute.
	c.peer = func(s *fakeSession, inbox string) {
		a := jwttest.NewAccount(t)
		line := packLine(a, jwttest.Sign(t, op.Key, a, time.Now()))
		s.deliver(&nats.Msg{Subject: inbox, Data: []byte(line)})
		s.deliver(&nats.Msg{Subject: inbox})
	}
	c.run(t)
	if len(c.asked) < 60 {
		t.Errorf("asked at %v", c.asked)
	}
}

func TestAServerWithAnotherDigestIsAskedSoonButOnceForEachPairOfDigests(t *testing.T) {
	c := comparisons{op: jwttest.NewOperator(t), peer: nothing}
	c.during = func(s *fakeSession) {
		time.Sleep(30 * time.Minute)
		tooShort, other := make([]byte, 31), append(make([]byte, 31), 1)
		for range 600 { // every second, as a nats-server with a short interval does
			s.deliver(&nats.Msg{Subject: "$SYS.REQ.CLAIMS.PACK", Reply: "them", Data: tooShort})
			s.deliver(&nats.Msg{Subject: "$SYS.REQ.CLAIMS.PACK", Reply: "them", Data: other})
			time.Sleep(time.Second)
		}
	}
	c.run(t)
	c.wantAsked(t, 0, 1, 3, 7, 15, 25, 30, 31, 33, 37, 45, 55)
}

func TestALastingDifferenceOfTwoStoresIsLoggedOnce(t *testing.T) {
	age := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) // the clock of synctest begins a day later
	op, a, b := jwttest.NewOperator(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	ours, theirs := jwttest.Sign(t, op.Key, a, age), jwttest.Sign(t, op.Key, a, age.Add(-time.Hour))
	c := comparisons{op: op, stored: [][2]string{
		{a.ID, string(ours)},
		{b.ID, string(jwttest.Sign(t, op.Key, b, age))},
	}}
	c.peer = func(s *fakeSession, inbox string) {
		s.deliver(&nats.Msg{Subject: inbox, Data: []byte(packLine(a, theirs))})
		s.deliver(&nats.Msg{Subject: inbox})
	}
	c.run(t)
	first, second := a.ID[:12], b.ID[:12]
	if first > second {
		first, second = second, first
	}
	if want := "another server lacks, or has older: " + first + ", " + second; c.log.Count(want) != 1 {
		t.Errorf("it logs:\n%s", c.log)
	}
}

func TestReadyIsAfterTheFirstComparisonButNotLaterThanFiveSeconds(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(s *fakeSession, inbox string)
		want time.Duration
	}{
		{"no other server", func(s *fakeSession, inbox string) {
			s.deliver(&nats.Msg{Subject: inbox, Header: nats.Header{"Status": {"503"}}})
		}, 0},
		{"another server that takes a second", func(s *fakeSession, inbox string) {
			time.Sleep(time.Second)
			nothing(s, inbox)
		}, time.Second},
		{"another server that does not answer", func(*fakeSession, string) {}, 2 * time.Second},
		{"a pack without an end", func(s *fakeSession, inbox string) {
			for range 100 {
				time.Sleep(time.Second)
				s.deliver(&nats.Msg{Subject: inbox, Data: []byte("x")})
			}
		}, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, session := jwtstore.NewMemory(true), newFakeSession()
				srv := resolver.New(resolver.Options{
					Accounts: accounts.New(accounts.Options{
						Store: store, Committer: store, Announcer: silentAnnouncer{},
					}),
					Log: slog.New(slog.DiscardHandler),
				})
				ctx, cancel := context.WithCancel(t.Context())
				began, ready := time.Now(), make(chan time.Duration, 1)
				go srv.Serve(ctx, session, func() { ready <- time.Since(began) })
				go func() { c.peer(session, <-session.requests) }()
				if got := <-ready; got != c.want {
					t.Errorf("ready after %s", got)
				}
				cancel()
				time.Sleep(5 * time.Minute)
			})
		})
	}
}

// slowServer is the session of a nats-server that gets what is sent to it a second later.
type slowServer struct{ *fakeSession }

func (slowServer) FlushWithContext(context.Context) error {
	time.Sleep(time.Second)
	return nil
}

// TestTheSessionHasBegunWhenTheNATSServerHasTheSubscriptions: an operator or a script that sees the line, and
// asks over another connection, is answered.
func TestTheSessionHasBegunWhenTheNATSServerHasTheSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := &natstest.Log{}, jwtstore.NewMemory(true)
		srv := resolver.New(resolver.Options{
			Accounts: accounts.New(accounts.Options{
				Store: store, Committer: store, Announcer: silentAnnouncer{},
			}),
			Log: slog.New(loggingtest.New(log, logging.Format{})),
		})
		ctx, cancel := context.WithCancel(t.Context())
		go srv.Serve(ctx, slowServer{newFakeSession()}, func() {})
		for _, want := range []int{0, 1} {
			time.Sleep(700 * time.Millisecond)
			if n := log.Count(connected); n != want {
				t.Errorf("the line is there %d times, want %d", n, want)
			}
		}
		cancel()
		time.Sleep(time.Minute)
	})
}
