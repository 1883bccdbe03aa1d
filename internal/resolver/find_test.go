package resolver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

const lookups = "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP"

// replies answers every lookup as another server, and counts them.
func (env *environment) replies(t *testing.T, answer func(m *nats.Msg)) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	nc := natstest.Connect(t, env.nats.ClientURL(), env.creds)
	if _, err := nc.Subscribe(lookups, func(m *nats.Msg) {
		n.Add(1)
		answer(m)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return n
}

// An answer that is not the account's JWT, signed by the operator, counts as none.
func TestAnswersToLookupsAreVerified(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	srv := startServer(t, env)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := env.signed(t, a, 0)
	for _, c := range []struct {
		name    string
		answers [][]byte
		found   bool
	}{
		{"a good one", [][]byte{token}, true},
		{"a good one after others", [][]byte{nil, []byte("<script>"), jwttest.Sign(t, a.Key, a,
			time.Now()), token}, true},
		{"nothing", [][]byte{nil}, false},
		{"any content", [][]byte{[]byte("<script>any content</script>")}, false},
		{"another account's", [][]byte{env.signed(t, other, 0)}, false},
		{"another operator's", [][]byte{jwttest.NewOperator(t).Account(t, a)}, false},
		{"its own", [][]byte{jwttest.Sign(t, a.Key, a, time.Now())}, false},
		{"a broken one", [][]byte{jwttest.Flip(token)}, false},
	} {
		nc := natstest.Connect(t, env.nats.ClientURL(), env.creds)
		if _, err := nc.Subscribe("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.LOOKUP", func(m *nats.Msg) {
			for _, answer := range c.answers {
				_ = nc.Publish(m.Reply, answer)
			}
		}); err != nil {
			t.Fatal(err)
		}
		nc.Flush()
		srv.forgetMisses(t)
		var got *accounts.Account
		var err error
		// On a busy machine the answers may not come in time, or the connection.
		natstest.Eventually(t, c.name+": it is known whether others have it", func() bool {
			got, err = srv.registry.Get(t.Context(), a.ID)
			return err == nil || errors.Is(err, accounts.ErrNotFound)
		})
		if c.found && (err != nil || !bytes.Equal(got.JWT, token)) || !c.found &&
			!errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		var text []byte
		natstest.Eventually(t, c.name+": the same of the text", func() bool {
			text, err = srv.registry.GetRaw(t.Context(), a.ID)
			return err == nil || errors.Is(err, accounts.ErrNotFound)
		})
		if !c.found && !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("%s: as text %q, %v", c.name, text, err)
		}
		nc.Close()
	}
	if srv.has(a.ID, token) {
		t.Error("it is stored")
	}
}

// TestOfSeveralAnswersTheNewestIsTaken, whichever comes first, and of one second the greater hash. A single
// server is not waited for.
func TestOfSeveralAnswersTheNewestIsTaken(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	srv := newServer(t, env, jwtstore.NewMemory(true))
	srv.connect(t)
	a := jwttest.NewAccount(t)
	now := time.Now()
	older, token := env.signed(t, a, 60), jwttest.Sign(t, env.op.Signing, a, now)
	twin := jwttest.Sign(t, env.op.Signing, a, now, func(c *jwt.AccountClaims) { c.Name = "twin" })
	if one, other := sha256.Sum256(token), sha256.Sum256(twin); bytes.Compare(one[:], other[:]) > 0 {
		token, twin = twin, token
	}
	after := func(d time.Duration, answer []byte) (stop func()) {
		return env.answering(t, func(m *nats.Msg) { time.AfterFunc(d, func() { _ = m.Respond(answer) }) })
	}
	for _, row := range []struct {
		name          string
		first, second []byte
	}{
		{"the newer one comes later", older, twin},
		{"the newer one comes first", twin, older},
		{"the greater one comes later", token, twin},
		{"the greater one comes first", twin, token},
		{"one has it", twin, nil},
		{"another one has it", nil, twin},
	} {
		stops := []func(){after(0, row.first), after(30*time.Millisecond, row.second)}
		for range 2 { // on a busy machine the second answer may come too late, but not each time
			natstest.Eventually(t, row.name+": the newest is found", func() bool {
				got, err := srv.registry.Get(t.Context(), a.ID)
				return err == nil && bytes.Equal(got.JWT, twin)
			})
		}
		for _, stop := range stops {
			stop()
		}
	}
	srv.client.SetExpects(true) // other servers
	after(0, twin)
	fastest := time.Second
	for range 10 {
		began := time.Now()
		if _, err := srv.registry.Get(t.Context(), a.ID); err != nil {
			t.Error(err)
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest > 100*time.Millisecond {
		t.Errorf("a single server is waited for: %s", fastest)
	}
}

// forgetMisses connects anew: an account that was unknown may be known now.
func (srv *accountServer) forgetMisses(t *testing.T) {
	t.Helper()
	srv.disconnect()
	srv.connect(t)
}

// Many requests at a time ask once, and the next ones ask again: a server may have the account by
// then.
func TestMissesAskOnce(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	srv := startServer(t, env)
	a := jwttest.NewAccount(t)
	token := env.signed(t, a, 0)
	var known atomic.Bool
	asked := env.replies(t, func(m *nats.Msg) {
		if known.Load() {
			_ = m.Respond(token)
			return
		}
		time.AfterFunc(50*time.Millisecond, func() { _ = m.Respond(nil) })
	})
	find := func() (found int64) {
		var all sync.WaitGroup
		var n atomic.Int64
		for range 100 {
			all.Go(func() {
				if _, err := srv.registry.Get(t.Context(), a.ID); err == nil {
					n.Add(1)
				}
			})
		}
		all.Wait()
		return n.Load()
	}
	// On a busy machine a request may come when the others have their answer, but not each time.
	natstest.Eventually(t, "a hundred requests ask once, and so do the next ones", func() bool {
		before := asked.Load()
		if n := find() + find(); n != 0 {
			t.Errorf("%d found", n)
		}
		return asked.Load()-before == 2
	})
	known.Store(true)
	if n := find(); n != 100 {
		t.Errorf("%d found", n)
	}
}

// TestAMissWaitsForASecondAtMost, and for nothing while NATS is away. Then it is not known what
// other servers have.
func TestAMissWaitsForASecondAtMost(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	env.replies(t, func(*nats.Msg) {})
	srv := newServer(t, env, jwtstore.NewMemory(true))
	// waits wants a miss to wait for so long. On a busy machine it may be late, but not each time.
	waits := func(name string, least, most time.Duration) {
		t.Helper()
		natstest.Eventually(t, name, func() bool {
			began := time.Now()
			_, err := srv.registry.Get(t.Context(), jwttest.NewAccount(t).ID)
			d := time.Since(began)
			if !errors.Is(err, accounts.ErrPeers) || d < least {
				t.Fatalf("%s: %v after %s", name, err, d)
			}
			return d <= most
		})
	}
	waits("without NATS a miss does not wait", 0, 500*time.Millisecond)
	srv.connect(t)
	waits("a miss waits for a second", 900*time.Millisecond, 1500*time.Millisecond)
	srv.client.SetSigning("", 200*time.Millisecond) // signrequesttimeout
	waits("a miss waits for less than a second", 150*time.Millisecond, 950*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := srv.registry.Get(ctx, jwttest.NewAccount(t).ID); !errors.Is(err,
		accounts.ErrPeers) {
		t.Error(err)
	}
}

// In a second at most 50 are asked for.
func TestOnlyAccountKeysAreAskedFor(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	asked := env.replies(t, func(m *nats.Msg) { _ = m.Respond(nil) })
	srv := startServer(t, env)
	for _, key := range []string{
		"*", ">", "", "x y 0\r\n\r\nPUB pwned 5\r\nhello\r\nPUB x", strings.Repeat("A", 56), "A.B",
		env.op.ID,
	} {
		if _, err := srv.registry.Get(t.Context(), key); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("%q: %v", key, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
	var all sync.WaitGroup
	began := time.Now()
	for range 500 {
		key := jwttest.NewAccount(t).ID
		all.Go(func() { _, _ = srv.registry.Get(t.Context(), key) })
	}
	all.Wait()
	seconds := int64(time.Since(began)/time.Second) + 1
	if n := asked.Load(); n == 0 || n > 50*(seconds+1) {
		t.Errorf("asked %d times", n)
	}
}

// The own subscription does not count as another server.
func TestAMissIsAnsweredAtOnceWithoutAnotherServer(t *testing.T) {
	t.Parallel()
	srv := startServer(t, startEnvironment(t))
	natstest.Eventually(t, "a miss is answered within half a second", func() bool {
		began := time.Now()
		_, err := srv.registry.Get(t.Context(), jwttest.NewAccount(t).ID)
		return errors.Is(err, accounts.ErrNotFound) && time.Since(began) < 500*time.Millisecond
	})
}

// TestAnAccountIsOnlyUnknownIfAllServersSaySo, and as soon as they do.
func TestAnAccountIsOnlyUnknownIfAllServersSaySo(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	srv := startServer(t, env)
	// ask wants a miss to end so. On a busy machine an answer may be late, but not each time: then it is not
	// known whether the account is unknown. expected is how many answers are waited for next.
	ask := func(name string, want error, expected int) {
		t.Helper()
		natstest.Eventually(t, name, func() bool {
			_, err := srv.registry.Get(t.Context(), jwttest.NewAccount(t).ID)
			if !errors.Is(err, want) && !errors.Is(err, accounts.ErrPeers) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			return errors.Is(err, want) && srv.client.Expected() == expected
		})
	}
	ask("no other server", accounts.ErrNotFound, 0)
	empty := func(m *nats.Msg) { _ = m.Respond(nil) }
	first, second := env.answering(t, empty), env.answering(t, empty)
	ask("both say no", accounts.ErrNotFound, 2)
	second()
	ask("one says no", accounts.ErrPeers, 2)
	again := env.answering(t, empty)
	ask("both say no again", accounts.ErrNotFound, 2)
	again()
	first()
	ask("both are away", accounts.ErrPeers, 2)
	srv.disconnect()
	ask("NATS is away", accounts.ErrPeers, 2)
	srv.connect(t)
	ask("both are still away", accounts.ErrPeers, 2)
	srv.client.SetExpects(true)
	ask("NATS is configured anew", accounts.ErrNotFound, 0)
	env.answering(t, func(*nats.Msg) {})
	ask("a server is silent", accounts.ErrPeers, 0)
	srv.disconnect()
	ask("NATS is away again", accounts.ErrPeers, 0)
	srv.client.SetExpects(false)
	ask("NATS is not configured, or was never connected", accounts.ErrNotFound, 0)
}

// answering answers every lookup as another server, until stop is called.
func (env *environment) answering(t *testing.T, answer func(m *nats.Msg)) (stop func()) {
	t.Helper()
	nc := natstest.Connect(t, env.nats.ClientURL(), env.creds)
	if _, err := nc.Subscribe(lookups, answer); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc.Close
}

// TestAServerThatGaveAPackIsExpectedToAnswer, before it has answered any lookup.
func TestAServerThatGaveAPackIsExpectedToAnswer(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	other, srv := startServer(t, env), newServer(t, env, jwtstore.NewMemory(true))
	srv.connect(t)
	natstest.Eventually(t, "the stores are compared", func() bool {
		_, err := srv.registry.Get(t.Context(), jwttest.NewAccount(t).ID)
		return errors.Is(err, accounts.ErrNotFound)
	})
	other.disconnect()
	_, err := srv.registry.Get(t.Context(), jwttest.NewAccount(t).ID)
	if !errors.Is(err, accounts.ErrPeers) {
		t.Error(err)
	}
}

// TestAFloodOfUnknownAccountsHidesNoAccount that another server has. Without another server each is
// still answered.
func TestAFloodOfUnknownAccountsHidesNoAccount(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	srv := startServer(t, env)
	flood := func() (unknown, other int64) {
		var all sync.WaitGroup
		var n, m atomic.Int64
		for range 400 {
			key := jwttest.NewAccount(t).ID
			all.Go(func() {
				if _, err := srv.registry.Get(t.Context(), key); errors.Is(err,
					accounts.ErrNotFound) {
					n.Add(1)
				} else {
					m.Add(1)
				}
			})
		}
		all.Wait()
		return n.Load(), m.Load()
	}
	_, err := srv.registry.Get(t.Context(), jwttest.NewAccount(t).ID) // it is known now that there is none
	if err == nil {
		t.Error("it is found")
	}
	// On a busy machine what is known may be older than a second, but not each time.
	natstest.Eventually(t, "without another server all are unknown", func() bool {
		_, other := flood()
		return other == 0
	})
	a := jwttest.NewAccount(t)
	token := env.signed(t, a, 0)
	env.replies(t, func(m *nats.Msg) {
		if strings.Contains(m.Subject, a.ID) {
			_ = m.Respond(token)
			return
		}
		_ = m.Respond(nil)
	})
	natstest.Eventually(t, "the other server is known", func() bool {
		_, err := srv.registry.Get(t.Context(), a.ID)
		return err == nil
	})
	var flooding sync.WaitGroup
	flooding.Go(func() { flood() })
	for range 40 {
		if _, err := srv.registry.Get(t.Context(), a.ID); err != nil &&
			!errors.Is(err, accounts.ErrPeers) {
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	flooding.Wait()
}
