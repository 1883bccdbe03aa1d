package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/auth"
)

// office is a desk whose compares take 80 ms of the bubble's time. A password is right if it is its own hash.
type office struct {
	desk     *auth.Desk
	rules    auth.Rules
	guard    *auth.Guard
	log      *bytes.Buffer
	compares atomic.Int64 // so far
	running  atomic.Int64
	most     atomic.Int64 // that ran at once
}

func newOffice(users ...string) *office {
	o := &office{log: &bytes.Buffer{}}
	o.desk = auth.NewDesk(slog.New(slog.NewTextHandler(o.log, nil)))
	o.desk.SetCompare(o.compare)
	for _, u := range users {
		o.rules.Users = append(o.rules.Users, auth.User{Name: u, Hash: "pw-" + u, Role: auth.Reader})
	}
	o.guard = o.desk.Guard(o.rules)
	return o
}

func (o *office) compare(hash, password []byte) error {
	o.compares.Add(1)
	if now := o.running.Add(1); now > o.most.Load() {
		o.most.Store(now)
	}
	defer o.running.Add(-1)
	time.Sleep(80 * time.Millisecond)
	if !bytes.Equal(hash, password) {
		return errors.New("no")
	}
	return nil
}

func (o *office) login(user, password, address string) error {
	return o.loginWithin(context.Background(), user, password, address)
}

func (o *office) loginWithin(ctx context.Context, user, password, address string) error {
	_, err := o.guard.Admit(ctx, auth.Visitor{Authorization: basic(user, password), Address: address + ":1"}, auth.Reader)
	return err
}

// later is what a LaterError says, "" if err is none.
func later(err error) string {
	l, ok := errors.AsType[*auth.LaterError](err)
	switch {
	case !ok:
		return ""
	case l.Slowed:
		return fmt.Sprintf("slowed %d", l.Seconds())
	default:
		return "busy"
	}
}

func TestAHerdPaysForOneCompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("nats")
		var herd sync.WaitGroup
		for i := range 200 {
			herd.Go(func() {
				if err := o.login("nats", "pw-nats", fmt.Sprintf("192.0.2.%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		herd.Wait()
		if err := o.login("nats", "pw-nats", "192.0.2.1"); err != nil {
			t.Error(err)
		}
		if n := o.compares.Load(); n != 1 {
			t.Errorf("%d compares", n)
		}
		o.guard = o.desk.Guard(o.rules) // a reload
		if err := o.login("nats", "pw-nats", "192.0.2.1"); err != nil || o.compares.Load() != 2 {
			t.Errorf("after a reload: %v, %d compares", err, o.compares.Load())
		}
	})
}

// Between not being remembered and being compared somebody else's compare may end.
func TestWhoComesLateIsNotComparedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("nats")
		if err := o.login("nats", "pw-nats", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		if err := o.guard.Late(basic("nats", "pw-nats"), "nats", "pw-nats", "192.0.2.1:1"); err != nil || o.compares.Load() != 1 {
			t.Errorf("%v, %d compares", err, o.compares.Load())
		}
	})
}

func TestOnlySuccessesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("nats")
		for i := range 3 {
			if err := o.login("nats", "x", "192.0.2.1"); !errors.Is(err, auth.ErrWrong) || o.compares.Load() != int64(i+1) {
				t.Errorf("%v, %d compares", err, o.compares.Load())
			}
		}
		if o.guard.Known() != 0 {
			t.Errorf("%d are remembered", o.guard.Known())
		}
	})
}

func TestTheMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var users []string
		for i := range auth.MaxKnown + 10 {
			users = append(users, fmt.Sprint("u", i))
		}
		o := newOffice(users...)
		for _, u := range users {
			if err := o.login(u, "pw-"+u, "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.guard.Known(); n != auth.MaxKnown {
			t.Errorf("%d are remembered", n)
		}
	})
}

func TestTwoComparesAtOnceAndABoundedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("nats", "ops")
		if err := o.login("nats", "pw-nats", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		var busy, wrong atomic.Int64
		var flood sync.WaitGroup
		for i := range 300 {
			flood.Go(func() {
				switch err := o.login("ops", fmt.Sprint("guess", i), fmt.Sprintf("198.51.100.%d", i%256)); {
				case errors.Is(err, auth.ErrWrong):
					wrong.Add(1)
				case later(err) == "busy":
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := o.login("nats", "pw-nats", "192.0.2.1"); err != nil || time.Since(began) != 0 {
			t.Errorf("who is remembered: %v after %s", err, time.Since(began))
		}
		flood.Wait()
		if o.most.Load() != 2 {
			t.Errorf("%d compares at once", o.most.Load())
		}
		if wrong.Load() != 64 || busy.Load() != 300-64 {
			t.Errorf("%d were compared, %d turned away", wrong.Load(), busy.Load())
		}
		if n := o.desk.Failures(); n != 64 {
			t.Errorf("%d failures", n)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("the queue lasted %s", d)
		}
	})
}

// Only so much of the queue is one address's, and its compares come one after the other.
func TestOneAddressTakesOneSeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("nats", "ops")
		var flood sync.WaitGroup
		outcomes := map[string]int{}
		var mu sync.Mutex
		for i := range 40 {
			flood.Go(func() {
				err := o.login("ops", fmt.Sprint("guess", i), "198.51.100.1")
				mu.Lock()
				defer mu.Unlock()
				outcomes[later(err)]++
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := o.login("nats", "pw-nats", "192.0.2.1"); err != nil || time.Since(began) != 80*time.Millisecond {
			t.Errorf("another address: %v after %s", err, time.Since(began))
		}
		flood.Wait()
		if o.most.Load() != 2 || outcomes["busy"] != 40-16 || outcomes[""] != 5 || outcomes["slowed 1"] != 11 {
			t.Errorf("%v, %d at once", outcomes, o.most.Load())
		}
	})
}

func TestFailuresAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("nats", "ops", "other")
		const at = "192.0.2.1"
		if err := o.login("nats", "pw-nats", at); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := o.login("ops", "x", at); !errors.Is(err, auth.ErrWrong) {
				t.Fatal(err)
			}
		}
		for _, wait := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			compares := o.compares.Load()
			if got := later(o.login("ops", "pw-ops", at)); got != fmt.Sprint("slowed ", wait) {
				t.Errorf("%q, want %d s", got, wait)
			}
			if o.compares.Load() != compares {
				t.Error("it was compared all the same")
			}
			if err := o.login("nats", "pw-nats", at); err != nil { // behind the same NAT
				t.Errorf("who is remembered: %v", err)
			}
			if err := o.login("ops", "x", "192.0.2.2"); !errors.Is(err, auth.ErrWrong) {
				t.Errorf("another address: %v", err)
			}
			if err := o.login("other", "pw-other", "192.0.2.2"); err != nil { // and begins anew
				t.Errorf("another address: %v", err)
			}
			o.guard = o.desk.Guard(o.rules) // a reload helps nobody
			if got := later(o.login("ops", "pw-ops", at)); got == "" {
				t.Error("not slowed down after a reload")
			}
			time.Sleep(2 * time.Minute)
			if err := o.login("nats", "pw-nats", "192.0.2.3"); err != nil {
				t.Error(err)
			}
			if err := o.login("ops", "x", at); !errors.Is(err, auth.ErrWrong) {
				t.Errorf("after the wait: %v", err)
			}
		}
		time.Sleep(time.Minute)
		if err := o.login("ops", "pw-ops", at); err != nil {
			t.Errorf("the right one at last: %v", err)
		}
		o.guard = o.desk.Guard(o.rules)
		for range 5 {
			if err := o.login("ops", "x", at); !errors.Is(err, auth.ErrWrong) {
				t.Errorf("the count does not begin anew with a success: %v", err)
			}
		}
	})
}

func TestFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("ops")
		for range 20 {
			if err := o.login("ops", "x", "192.0.2.1"); !errors.Is(err, auth.ErrWrong) {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Minute)
		}
	})
}

func TestWhatCountsAsOneAddress(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "[::ffff:192.0.2.1]", true},
		{"[2001:db8::1]", "[2001:db8::ffff:0:0:2]", true},
		{"[2001:db8::1]", "[2001:db8:0:1::1]", false},
		{"[fe80::1%eth0]", "[fe80::2%eth1]", true},
		{"nonsense", "", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice("ops")
			for range 5 {
				_ = o.login("ops", "x", c.a)
			}
			if got := later(o.login("ops", "x", c.b)) != ""; got != c.same {
				t.Errorf("%s and %s: %v", c.a, c.b, got)
			}
		})
	}
}

func TestAFloodOfAddressesIsBoundedInMemoryAndLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("ops")
		began := time.Now()
		for i := range auth.MaxClients + 100 {
			_ = o.login("ops", "x", fmt.Sprintf("[2001:db8:%x::1]", i+1))
		}
		if n := o.desk.Clients(); n != auth.MaxClients {
			t.Errorf("%d addresses are kept", n)
		}
		minutes := int(time.Since(began)/time.Minute) + 1
		if n := strings.Count(o.log.String(), "\n"); n > 21*minutes || n < 20 {
			t.Errorf("%d lines in %d minutes", n, minutes)
		}
		if !strings.Contains(o.log.String(), "more addresses failed to log in since ") {
			t.Error("no line sums up")
		}
		time.Sleep(time.Hour)
		_ = o.login("ops", "x", "192.0.2.1")
		if n := o.desk.Clients(); n != 1 {
			t.Errorf("%d addresses are kept after an hour", n)
		}
	})
}

func TestASuccessLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("ops")
		if err := o.login("ops", "pw-ops", "192.0.2.1"); err != nil || o.desk.Clients() != 0 || o.log.Len() > 0 {
			t.Errorf("%v, %d addresses, log %s", err, o.desk.Clients(), o.log)
		}
	})
}

func TestOneLineAMinuteForAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("ops")
		name := "a\nb\x1b" + strings.Repeat("é", 200)
		for range 4 {
			_ = o.login(name, "hush", "192.0.2.1")
		}
		if n := strings.Count(o.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d lines: %s", n, o.log)
		}
		time.Sleep(time.Minute)
		_ = o.login(name, "hush", "192.0.2.1")
		log := o.log.String()
		if strings.Count(log, "level=WARN") != 2 || !strings.Contains(log, "and 3 times more since ") ||
			!strings.Contains(log, "wrong user or password from 192.0.2.1, user ") {
			t.Errorf("log: %s", log)
		}
		if strings.ContainsAny(log, "\x1bé") || strings.Count(log, "\n") != 2 || strings.Contains(log, "hush") || len(log) > 1500 {
			t.Errorf("log: %q", log)
		}
	})
}

// Whoever hangs up leaves the queue, and takes nobody along who waits for the same compare.
func TestLeavingTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("a", "b", "c", "d")
		go func() { _ = o.login("a", "pw-a", "192.0.2.1") }()
		go func() { _ = o.login("b", "pw-b", "192.0.2.2") }()
		synctest.Wait() // both seats are taken
		ctx, hangUp := context.WithCancel(t.Context())
		var left sync.WaitGroup
		for _, user := range []string{"c", "c", "d"} {
			left.Go(func() {
				if err := o.loginWithin(ctx, user, "pw-"+user, "192.0.2.3"); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		left.Go(func() {
			if err := o.login("c", "pw-c", "192.0.2.4"); err != nil {
				t.Errorf("who stays: %v", err)
			}
		})
		synctest.Wait()
		hangUp()
		left.Wait()
		time.Sleep(time.Second)
		if n := o.compares.Load(); n != 3 {
			t.Errorf("%d compares, those of a, b and c are wanted", n)
		}
		if n := o.desk.Clients(); n != 0 {
			t.Errorf("%d addresses are kept", n)
		}
	})
}

// A compare that takes for ever is not waited for.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("a", "b", "c")
		o.desk.SetCompare(func(_, _ []byte) error { time.Sleep(time.Minute); return nil })
		go func() { _ = o.login("a", "pw-a", "192.0.2.1") }()
		go func() { _ = o.login("b", "pw-b", "192.0.2.2") }()
		synctest.Wait()
		if got := later(o.login("c", "pw-c", "192.0.2.3")); got != "busy" {
			t.Errorf("%q", got)
		}
		time.Sleep(2 * time.Minute)
	})
}

// The time of an answer gives no name away: an unknown user costs a compare too, at what the others cost.
func TestAnUnknownUserCostsACompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("cheap", "dear")
		hashes := map[string]int{}
		o.desk.SetCompare(func(hash, password []byte) error { hashes[string(hash)]++; return nil })
		for i := range 200 {
			if err := o.login(fmt.Sprint("stranger", i), "pw-cheap", fmt.Sprintf("192.0.2.%d", i)); !errors.Is(err, auth.ErrWrong) {
				t.Fatal(err)
			}
		}
		if hashes["pw-cheap"] < 50 || hashes["pw-dear"] < 50 {
			t.Errorf("compared with %v", hashes)
		}
		clear(hashes)
		for i := range 20 {
			_ = o.login("stranger", fmt.Sprint(i), fmt.Sprintf("198.51.100.%d", i))
		}
		if len(hashes) != 1 {
			t.Errorf("the same name is compared with %v", hashes)
		}
	})
}
