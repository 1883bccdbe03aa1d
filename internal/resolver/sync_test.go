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
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/resolver"
	"nats-account-server/internal/trust"
)

// comparing is a server on a line of its own, on a clock of its own. peer answers its requests for a pack.
func comparing(t *testing.T, op *jwttest.Operator, stored [][2]string, peer func(l *line, inbox string), during func(l *line)) (asked []time.Duration, log *natstest.Log) {
	t.Helper()
	trusted, err := trust.Parse([]byte(op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	log = &natstest.Log{}
	synctest.Test(t, func(t *testing.T) {
		store := jwtstore.NewMemory(true)
		for _, s := range stored {
			if _, err := store.Put(t.Context(), s[0], "test", []byte(s[1]), jwtAlways); err != nil {
				t.Fatal(err)
			}
		}
		logger := slog.New(logging.New(log, logging.Format{}))
		gate := accounts.New(accounts.Options{Store: store, Committer: store, Announcer: mute{}, Trust: accounts.Trust{Operator: trusted}, Log: logger})
		doors := resolver.New(resolver.Options{Accounts: gate, Log: logger})
		l := newLine()
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		go doors.Serve(ctx, l, func() {})
		go func() {
			for {
				select {
				case inbox := <-l.asked:
					asked = append(asked, time.Since(began).Round(time.Second))
					peer(l, inbox)
				case <-ctx.Done():
					return
				}
			}
		}()
		if during != nil {
			during(l)
		}
		time.Sleep(time.Until(began.Add(time.Hour)))
		cancel()
		synctest.Wait()
	})
	return asked, log
}

func nothing(l *line, inbox string) { l.pass(&nats.Msg{Subject: inbox}) }

var calmRhythm = []time.Duration{0, 1, 3, 7, 15, 25, 35, 45, 55} // minutes

func minutes(all []time.Duration) (rounded []time.Duration) {
	for _, d := range all {
		rounded = append(rounded, d.Round(time.Minute)/time.Minute)
	}
	return rounded
}

// TestStoresAreComparedEveryMinute, and ever less often while that changes nothing.
func TestStoresAreComparedEveryMinute(t *testing.T) {
	op := jwttest.NewOperator(t)
	if asked, _ := comparing(t, op, nil, nothing, nil); !slices.Equal(minutes(asked), calmRhythm) {
		t.Errorf("asked at %v", asked)
	}
	// A peer that says nothing is the same, only each question takes two seconds.
	if asked, _ := comparing(t, op, nil, func(*line, string) {}, nil); !slices.Equal(minutes(asked), calmRhythm) {
		t.Errorf("asked at %v", asked)
	}
	// One that always has something new keeps it at every minute.
	news := func(l *line, inbox string) {
		a := jwttest.NewAccount(t)
		l.pass(&nats.Msg{Subject: inbox, Data: []byte(a.ID + "|" + string(jwttest.Sign(t, op.Key, a, time.Now())))})
		l.pass(&nats.Msg{Subject: inbox})
	}
	if asked, _ := comparing(t, op, nil, news, nil); len(asked) < 60 {
		t.Errorf("asked at %v", asked)
	}
}

// TestWhoTurnsOutToBeDifferentIsAskedSoon, but not again for the same difference.
func TestWhoTurnsOutToBeDifferentIsAskedSoon(t *testing.T) {
	op := jwttest.NewOperator(t)
	asked, _ := comparing(t, op, nil, nothing, func(l *line) {
		time.Sleep(30 * time.Minute)
		for range 600 { // every second, as a nats-server with a short interval does
			l.pass(&nats.Msg{Subject: "$SYS.REQ.CLAIMS.PACK", Reply: "them", Data: make([]byte, 31)}) // of no length that a digest has
			l.pass(&nats.Msg{Subject: "$SYS.REQ.CLAIMS.PACK", Reply: "them", Data: append(make([]byte, 31), 1)})
			time.Sleep(time.Second)
		}
	})
	if want := []time.Duration{0, 1, 3, 7, 15, 25, 30, 31, 33, 37, 45, 55}; !slices.Equal(minutes(asked), want) {
		t.Errorf("asked at %v", asked)
	}
}

// TestWhatKeepsTwoStoresApartHasOneLine, if it does so for longer than one comparison.
func TestWhatKeepsTwoStoresApartHasOneLine(t *testing.T) {
	age := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) // the bubble's clock begins a day later
	op, a, b := jwttest.NewOperator(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	mine, theirs := jwttest.Sign(t, op.Key, a, age), jwttest.Sign(t, op.Key, a, age.Add(-time.Hour))
	stored := [][2]string{{a.ID, string(mine)}, {b.ID, string(jwttest.Sign(t, op.Key, b, age))}}
	_, log := comparing(t, op, stored, func(l *line, inbox string) {
		l.pass(&nats.Msg{Subject: inbox, Data: []byte(a.ID + "|" + string(theirs))})
		l.pass(&nats.Msg{Subject: inbox})
	}, nil)
	first, second := a.ID[:12], b.ID[:12]
	if first > second {
		first, second = second, first
	}
	if want := "another server lacks, or has older: " + first + ", " + second; log.Count(want) != 1 {
		t.Errorf("it says:\n%s", log)
	}
}

// TestReadyIsAfterTheFirstComparison, and not later than five seconds.
func TestReadyIsAfterTheFirstComparison(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(l *line, inbox string)
		want time.Duration
	}{
		{"nobody is there", func(l *line, inbox string) {
			l.pass(&nats.Msg{Subject: inbox, Header: nats.Header{"Status": {"503"}}})
		}, 0},
		{"the other one takes a second", func(l *line, inbox string) {
			time.Sleep(time.Second)
			nothing(l, inbox)
		}, time.Second},
		{"nobody answers", func(*line, string) {}, 2 * time.Second},
		{"the other one has no end", func(l *line, inbox string) {
			for range 100 {
				time.Sleep(time.Second)
				l.pass(&nats.Msg{Subject: inbox, Data: []byte("x")})
			}
		}, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := jwtstore.NewMemory(true), newLine()
				gate := accounts.New(accounts.Options{Store: store, Committer: store, Announcer: mute{}})
				doors := resolver.New(resolver.Options{Accounts: gate, Log: slog.New(slog.DiscardHandler)})
				ctx, cancel := context.WithCancel(t.Context())
				began, ready := time.Now(), make(chan time.Duration, 1)
				go doors.Serve(ctx, l, func() { ready <- time.Since(began) })
				go func() { c.peer(l, <-l.asked) }()
				if got := <-ready; got != c.want {
					t.Errorf("ready after %s", got)
				}
				cancel()
				time.Sleep(5 * time.Minute)
			})
		})
	}
}
