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

// env is a limiter whose compares take 80 ms of the test's clock. A password is right if it equals
// the hash.
type env struct {
	limiter  *auth.Limiter
	policy   auth.Policy
	auth     *auth.Authorizer
	log      *bytes.Buffer
	compares atomic.Int64 // so far
	running  atomic.Int64
	most     atomic.Int64 // that ran at once
}

func newEnv(users ...string) *env {
	e := &env{log: &bytes.Buffer{}}
	e.limiter = auth.NewLimiter(slog.New(slog.NewTextHandler(e.log, nil)))
	e.limiter.SetCompare(e.compare)
	for _, u := range users {
		e.policy.Users = append(e.policy.Users,
			auth.User{Name: u, Hash: "pw-" + u, Role: auth.Reader})
	}
	e.auth = auth.NewAuthorizer(e.policy, e.limiter)
	return e
}

func (e *env) compare(hash, password []byte) error {
	e.compares.Add(1)
	if now := e.running.Add(1); now > e.most.Load() {
		e.most.Store(now)
	}
	defer e.running.Add(-1)
	time.Sleep(80 * time.Millisecond)
	if !bytes.Equal(hash, password) {
		return errors.New("no")
	}
	return nil
}

func (e *env) login(user, password, address string) error {
	return e.loginWithin(context.Background(), user, password, address)
}

func (e *env) loginWithin(ctx context.Context, user, password, address string) error {
	_, err := e.auth.Authorize(ctx,
		auth.Credentials{Authorization: basic(user, password), Address: address +
			":1"}, auth.Reader)
	return err
}

// later is what a RetryError says, "" if err is none.
func retry(err error) string {
	l, ok := errors.AsType[*auth.RetryError](err)
	switch {
	case !ok:
		return ""
	case l.Slowed:
		return fmt.Sprintf("slowed %d", l.Seconds())
	default:
		return "busy"
	}
}

func TestManyRequestsPayForOneCompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("nats")
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				if err := e.login("nats", "pw-nats", fmt.Sprintf("192.0.2.%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if err := e.login("nats", "pw-nats", "192.0.2.1"); err != nil {
			t.Error(err)
		}
		if n := e.compares.Load(); n != 1 {
			t.Errorf("%d compares", n)
		}
		e.auth = auth.NewAuthorizer(e.policy, e.limiter) // a reload
		if err := e.login("nats", "pw-nats", "192.0.2.1"); err != nil || e.compares.Load() != 2 {
			t.Errorf("after a reload: %v, %d compares", err, e.compares.Load())
		}
	})
}

// Another request's compare may end after the cache was asked and before the own compare begins.
func TestAHeaderThatWasJustComparedIsNotComparedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("nats")
		if err := e.login("nats", "pw-nats", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		if err := e.auth.Late(basic("nats", "pw-nats"), "nats", "pw-nats", "192.0.2.1:1"); err != nil ||
			e.compares.Load() != 1 {
			t.Errorf("%v, %d compares", err, e.compares.Load())
		}
	})
}

func TestOnlySuccessesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("nats")
		for i := range 3 {
			if err := e.login("nats", "x", "192.0.2.1"); !errors.Is(err, auth.ErrBadCredentials) ||
				e.compares.Load() != int64(i+1) {
				t.Errorf("%v, %d compares", err, e.compares.Load())
			}
		}
		if e.auth.Cached() != 0 {
			t.Errorf("%d are remembered", e.auth.Cached())
		}
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var users []string
		for i := range auth.MaxCached + 10 {
			users = append(users, fmt.Sprint("u", i))
		}
		e := newEnv(users...)
		for _, u := range users {
			if err := e.login(u, "pw-"+u, "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
		}
		if n := e.auth.Cached(); n != auth.MaxCached {
			t.Errorf("%d are remembered", n)
		}
	})
}

func TestTwoComparesAtOnceAndABoundedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("nats", "ops")
		if err := e.login("nats", "pw-nats", "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		var busy, wrong atomic.Int64
		var flood sync.WaitGroup
		for i := range 300 {
			flood.Go(func() {
				switch err := e.login("ops", fmt.Sprint("guess", i), fmt.Sprintf("198.51.100.%d", i%256)); {
				case errors.Is(err, auth.ErrBadCredentials):
					wrong.Add(1)
				case retry(err) == "busy":
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := e.login("nats", "pw-nats", "192.0.2.1"); err != nil || time.Since(began) != 0 {
			t.Errorf("a cached header: %v after %s", err, time.Since(began))
		}
		flood.Wait()
		if e.most.Load() != 2 {
			t.Errorf("%d compares at once", e.most.Load())
		}
		if wrong.Load() != 64 || busy.Load() != 300-64 {
			t.Errorf("%d were compared, %d refused", wrong.Load(), busy.Load())
		}
		if n := e.limiter.Failures(); n != 64 {
			t.Errorf("%d failures", n)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("the queue lasted %s", d)
		}
	})
}

// Only so much of the queue is one address's, and its compares come one after the other.
func TestOneAddressTakesOneOfTheTwoCompares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("nats", "ops")
		var flood sync.WaitGroup
		outcomes := map[string]int{}
		var mu sync.Mutex
		for i := range 40 {
			flood.Go(func() {
				err := e.login("ops", fmt.Sprint("guess", i), "198.51.100.1")
				mu.Lock()
				defer mu.Unlock()
				outcomes[retry(err)]++
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := e.login("nats", "pw-nats", "192.0.2.1"); err != nil ||
			time.Since(began) != 80*time.Millisecond {
			t.Errorf("another address: %v after %s", err, time.Since(began))
		}
		flood.Wait()
		if e.most.Load() != 2 || outcomes["busy"] != 40-16 || outcomes[""] != 5 ||
			outcomes["slowed 1"] != 11 {
			t.Errorf("%v, %d at once", outcomes, e.most.Load())
		}
	})
}

func TestFailuresAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("nats", "ops", "other")
		const at = "192.0.2.1"
		if err := e.login("nats", "pw-nats", at); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := e.login("ops", "x", at); !errors.Is(err, auth.ErrBadCredentials) {
				t.Fatal(err)
			}
		}
		for _, wait := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			compares := e.compares.Load()
			if got := retry(e.login("ops", "pw-ops", at)); got != fmt.Sprint("slowed ", wait) {
				t.Errorf("%q, want %d s", got, wait)
			}
			if e.compares.Load() != compares {
				t.Error("it was compared all the same")
			}
			if err := e.login("nats", "pw-nats", at); err != nil { // behind the same NAT
				t.Errorf("a cached header: %v", err)
			}
			if err := e.login("ops", "x", "192.0.2.2"); !errors.Is(err, auth.ErrBadCredentials) {
				t.Errorf("another address: %v", err)
			}
			if err := e.login("other", "pw-other", "192.0.2.2"); err != nil { // and begins anew
				t.Errorf("another address: %v", err)
			}
			e.auth = auth.NewAuthorizer(e.policy, e.limiter) // a reload changes nothing
			if got := retry(e.login("ops", "pw-ops", at)); got == "" {
				t.Error("not slowed down after a reload")
			}
			time.Sleep(2 * time.Minute)
			if err := e.login("nats", "pw-nats", "192.0.2.3"); err != nil {
				t.Error(err)
			}
			if err := e.login("ops", "x", at); !errors.Is(err, auth.ErrBadCredentials) {
				t.Errorf("after the wait: %v", err)
			}
		}
		time.Sleep(time.Minute)
		if err := e.login("ops", "pw-ops", at); err != nil {
			t.Errorf("the right one at last: %v", err)
		}
		e.auth = auth.NewAuthorizer(e.policy, e.limiter)
		for range 5 {
			if err := e.login("ops", "x", at); !errors.Is(err, auth.ErrBadCredentials) {
				t.Errorf("the count does not begin anew with a success: %v", err)
			}
		}
	})
}

func TestFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("ops")
		for range 20 {
			if err := e.login("ops", "x", "192.0.2.1"); !errors.Is(err, auth.ErrBadCredentials) {
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
			e := newEnv("ops")
			for range 5 {
				_ = e.login("ops", "x", c.a)
			}
			if got := retry(e.login("ops", "x", c.b)) != ""; got != c.same {
				t.Errorf("%s and %s: %v", c.a, c.b, got)
			}
		})
	}
}

func TestAFloodOfAddressesIsBoundedInMemoryAndLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("ops")
		began := time.Now()
		for i := range auth.MaxClients + 100 {
			_ = e.login("ops", "x", fmt.Sprintf("[2001:db8:%x::1]", i+1))
		}
		if n := e.limiter.Clients(); n != auth.MaxClients {
			t.Errorf("%d addresses are kept", n)
		}
		minutes := int(time.Since(began)/time.Minute) + 1
		if n := strings.Count(e.log.String(), "\n"); n > 21*minutes || n < 20 {
			t.Errorf("%d lines in %d minutes", n, minutes)
		}
		if !strings.Contains(e.log.String(), " more lines like the next were left out since ") {
			t.Error("no line sums up")
		}
		time.Sleep(time.Hour)
		_ = e.login("ops", "x", "192.0.2.1")
		if n := e.limiter.Clients(); n != 1 {
			t.Errorf("%d addresses are kept after an hour", n)
		}
	})
}

func TestASuccessLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("ops")
		if err := e.login("ops", "pw-ops", "192.0.2.1"); err != nil || e.limiter.Clients() != 0 ||
			e.log.Len() > 0 {
			t.Errorf("%v, %d addresses, log %s", err, e.limiter.Clients(), e.log)
		}
	})
}

func TestOneLineAMinuteForAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("ops")
		name := "a\nb\x1b" + strings.Repeat("é", 200)
		for range 4 {
			_ = e.login(name, "hush", "192.0.2.1")
		}
		if n := strings.Count(e.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d lines: %s", n, e.log)
		}
		time.Sleep(time.Minute)
		_ = e.login(name, "hush", "192.0.2.1")
		log := e.log.String()
		if strings.Count(log, "level=WARN") != 3 ||
			!strings.Contains(log, "3 more lines like the next were left out since ") ||
			!strings.Contains(log, "wrong user or password from 192.0.2.1, user ") {
			t.Errorf("log: %s", log)
		}
		if strings.ContainsAny(log, "\x1bé") || strings.Count(log, "\n") != 3 ||
			strings.Contains(log, "hush") || len(log) > 1500 {
			t.Errorf("log: %q", log)
		}
	})
}

// A client that hangs up leaves the queue. Other requests that wait for the same compare go on.
func TestHangingUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("a", "b", "c", "d")
		go func() { _ = e.login("a", "pw-a", "192.0.2.1") }()
		go func() { _ = e.login("b", "pw-b", "192.0.2.2") }()
		synctest.Wait() // both compares run
		ctx, hangUp := context.WithCancel(t.Context())
		var left sync.WaitGroup
		for _, user := range []string{"c", "c", "d"} {
			left.Go(func() {
				if err := e.loginWithin(ctx, user, "pw-"+user, "192.0.2.3"); !errors.Is(err,
					context.Canceled) {
					t.Error(err)
				}
			})
		}
		left.Go(func() {
			if err := e.login("c", "pw-c", "192.0.2.4"); err != nil {
				t.Errorf("the one that stays: %v", err)
			}
		})
		synctest.Wait()
		hangUp()
		left.Wait()
		time.Sleep(time.Second)
		if n := e.compares.Load(); n != 3 {
			t.Errorf("%d compares, those of a, b and c are wanted", n)
		}
		if n := e.limiter.Clients(); n != 0 {
			t.Errorf("%d addresses are kept", n)
		}
	})
}

// A compare that takes for ever is not waited for.
func TestALoginWaitsForALimitedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("a", "b", "c")
		e.limiter.SetCompare(func(_, _ []byte) error { time.Sleep(time.Minute); return nil })
		go func() { _ = e.login("a", "pw-a", "192.0.2.1") }()
		go func() { _ = e.login("b", "pw-b", "192.0.2.2") }()
		synctest.Wait()
		if got := retry(e.login("c", "pw-c", "192.0.2.3")); got != "busy" {
			t.Errorf("%q", got)
		}
		time.Sleep(2 * time.Minute)
	})
}

// The time of an answer does not tell which names exist: an unknown user costs as much as the
// others.
func TestAnUnknownUserCostsACompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv("cheap", "dear")
		hashes := map[string]int{}
		e.limiter.SetCompare(func(hash, password []byte) error {
			hashes[string(hash)]++
			return nil
		})
		for i := range 200 {
			if err := e.login(fmt.Sprint("unknown", i), "pw-cheap",
				fmt.Sprintf("192.0.2.%d", i)); !errors.Is(err, auth.ErrBadCredentials) {
				t.Fatal(err)
			}
		}
		if hashes["pw-cheap"] < 50 || hashes["pw-dear"] < 50 {
			t.Errorf("compared with %v", hashes)
		}
		clear(hashes)
		for i := range 20 {
			_ = e.login("unknown", fmt.Sprint(i), fmt.Sprintf("198.51.100.%d", i))
		}
		if len(hashes) != 1 {
			t.Errorf("the same name is compared with %v", hashes)
		}
	})
}
