package resolver_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// fullConf is a nats-server that keeps every account and compares its store with others twice a
// second.
func fullConf(t *testing.T, op *jwttest.Operator, dir string, port int) string {
	t.Helper()
	return fmt.Sprintf(`
		operator: %s
		system_account: %s
		resolver { type: full, dir: %q, interval: "500ms" }
		resolver_preload { %s: %s }
		listen: 127.0.0.1:%d
		server_name: full
		`, op.Token(t), op.System.ID, dir, op.System.ID, op.SystemAccount(t), port)
}

func inDir(dir, key string, token []byte) bool {
	content, err := os.ReadFile(filepath.Join(dir, key+".jwt"))
	return err == nil && string(content) == string(token)
}

func TestAFullResolverAndThisServerAgreeAfterEitherWasAway(t *testing.T) {
	t.Parallel()
	op, dir, port := jwttest.NewOperator(t), t.TempDir(), natstest.FreePort(t)
	var n *server.Server
	start := func() *environment {
		n = natstest.Start(t, fullConf(t, op, dir, port))
		return newEnvironmentAt(t, op, n)
	}
	env := start()
	srv := startServer(t, env)
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	first, second, third := env.signed(t, a, 100), env.signed(t, b, 100), env.signed(t, c, 100)
	srv.push(t, a.ID, first)
	natstest.Eventually(t, "the nats-server has the push",
		func() bool { return inDir(dir, a.ID, first) })
	if _, err := env.nc.Request("$SYS.REQ.CLAIMS.UPDATE", second, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	srv.eventuallyHas(t, b.ID, second)

	// JWTs are pushed to the nats-server while this server is away.
	srv.disconnect()
	newer := env.signed(t, a, 50)
	for _, token := range [][]byte{newer, third} {
		if _, err := env.nc.Request("$SYS.REQ.CLAIMS.UPDATE", token, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	srv.connect(t)
	srv.eventuallyHas(t, a.ID, newer)
	srv.eventuallyHas(t, c.ID, third)

	// A JWT is pushed here while the nats-server is away. It asks for the pack when it is back.
	srv.disconnect()
	natstest.Stop(n)
	newest := env.signed(t, b, 10)
	srv.push(t, b.ID, newest)
	srv.environment = start()
	srv.connect(t)
	natstest.Eventually(t, "the nats-server has it",
		func() bool { return inDir(dir, b.ID, newest) })
	natstest.Eventually(t, "both stores are the same", func() bool {
		digest := srv.registry.Digest()
		return len(srv.pack(t, digest[:])) == 0
	})
	srv.wantUpdatesEnd(t)
}

// wantUpdatesEnd waits until no update is published for longer than several intervals.
func (srv *accountServer) wantUpdatesEnd(t *testing.T) {
	t.Helper()
	eventuallyQuiet(t, srv.count(t, "$SYS.ACCOUNT.*.CLAIMS.UPDATE"))
}

// The nats-server keeps a JWT that another operator signed. This server refuses it.
func TestAStoreThatStaysDifferentIsLoggedOnce(t *testing.T) {
	t.Parallel()
	op, dir := jwttest.NewOperator(t), t.TempDir()
	env := newEnvironmentAt(t, op, natstest.Start(t, fullConf(t, op, dir, -1)))
	foreign := jwttest.NewAccount(t)
	token := jwttest.NewOperator(t).Account(t, foreign)
	if _, err := env.nc.Request("$SYS.REQ.CLAIMS.UPDATE", token, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	srv := startServer(t, env)
	natstest.Eventually(t, "the difference is logged", func() bool {
		return srv.log.Count(foreign.ID[:12]+" (untrusted issuer in request: ") == 1
	})
	packs := env.count(t, "$SYS.REQ.CLAIMS.PACK")
	natstest.Eventually(t, "the nats-server has asked often",
		func() bool { return packs.Load() > 12 })
	if n := srv.log.Count(foreign.ID[:12]); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// A change that came by a broadcast is not announced at all.
func TestAChangeIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	var all []*jwttest.Account
	for range 4 {
		all = append(all, jwttest.NewAccount(t))
	}
	env := newEnvironment(t, op, all...)
	// A nats-server does not load an account without clients, and an update of it must be announced
	// twice.
	for _, a := range all {
		creds, _ := a.User(t)
		natstest.Connect(t, env.nats.ClientURL(), creds)
	}
	srv := startServer(t, env)
	srv.waitForServer(t)
	updates := env.count(t, "$SYS.ACCOUNT.*.CLAIMS.UPDATE")
	for i, c := range []struct {
		name  string
		offer func(a *jwttest.Account, token []byte)
		want  int64
	}{
		{"a POST", func(a *jwttest.Account, token []byte) { srv.push(t, a.ID, token) }, 1},
		{"a push over NATS", func(_ *jwttest.Account, token []byte) {
			srv.request(t,
				"$SYS.REQ.CLAIMS.UPDATE", token)
		}, 1},
		{"an update", func(a *jwttest.Account, token []byte) {
			srv.request(t, "$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.UPDATE", token)
		}, 0},
		{"an update of the old kind, which the test publishes twice", func(a *jwttest.Account,
			token []byte) {
			srv.request(t, "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", token)
		}, 2},
	} {
		before, a := updates.Load(), all[i]
		token := env.signed(t, a, 0, func(c *jwt.AccountClaims) { c.Name = "pushed" })
		for range 2 { // the second time it is stored already
			c.offer(a, token)
			natstest.Eventually(t, "it is stored and nothing is pending", func() bool {
				return srv.has(a.ID, token) && srv.nothingPending(a.ID)
			})
			if c.name == "a POST" {
				break // an unchanged POST is announced again: people push again to be sure
			}
		}
		natstest.Eventually(t, "the updates come",
			func() bool { return updates.Load()-before >= c.want })
		time.Sleep(300 * time.Millisecond) // no more may come
		if n := updates.Load() - before; n != c.want {
			t.Errorf("%s makes %d updates, not %d", c.name, n, c.want)
		}
	}
}

// An announcement of an older JWT is still pending when this server comes back.
func TestANewerJWTThatANATSServerHasGotMeanwhileIsNotLost(t *testing.T) {
	t.Parallel()
	op, dir := jwttest.NewOperator(t), t.TempDir()
	env := newEnvironmentAt(t, op, natstest.Start(t, fullConf(t, op, dir, -1)))
	srv := startServer(t, env)
	srv.waitForServer(t)
	for range 5 {
		srv.disconnect()
		a := jwttest.NewAccount(t)
		older, newer := env.signed(t, a, 100), env.signed(t, a, 50)
		srv.push(t, a.ID, older)
		if _, err := env.nc.Request("$SYS.REQ.CLAIMS.UPDATE", newer, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		updates := env.count(t, "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE")
		srv.connect(t)
		srv.eventuallyHas(t, a.ID, newer)
		natstest.Eventually(t, "nothing is pending",
			func() bool { return srv.nothingPending(a.ID) })
		if !inDir(dir, a.ID, newer) || updates.Load() > 2 {
			t.Errorf("the nats-server has another one, after %d updates", updates.Load())
		}
	}
}

// The directories of two account servers were restored, so they have older JWTs than the
// nats-server, and announcements of those are pending. Either may answer the comparison of stores.
func TestRestoredDirectoriesUndoNothing(t *testing.T) {
	t.Parallel()
	op, dir := jwttest.NewOperator(t), t.TempDir()
	env := newEnvironmentAt(t, op, natstest.Start(t, fullConf(t, op, dir, -1)))
	srv, other := startServer(t, env), newServer(t, env, jwtstore.NewMemory(true))
	other.server.ReadOnly = true // it takes nothing over
	srv.waitForServer(t)
	for range 6 {
		srv.disconnect()
		other.disconnect()
		a := jwttest.NewAccount(t)
		older, newer := env.signed(t, a, 100), env.signed(t, a, 50)
		srv.push(t, a.ID, older)
		other.push(t, a.ID, older)
		if _, err := env.nc.Request("$SYS.REQ.CLAIMS.UPDATE", newer, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		var undone atomic.Int64
		_, err := env.nc.Subscribe("$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", func(m *nats.Msg) {
			if string(m.Data) == string(older) {
				undone.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		other.connect(t)
		srv.connect(t)
		natstest.Eventually(t, "nothing is pending",
			func() bool { return srv.nothingPending(a.ID) })
		// One that does not say in time what it runs, as on a busy machine, is told what was pending for it.
		isLate := srv.log.Count("answer")+other.log.Count("answer") > 0
		if undone.Load() > 0 && !isLate {
			t.Errorf("the older one was announced %d times", undone.Load())
		}
		natstest.Eventually(t, "the newer one is stored",
			func() bool { return inDir(dir, a.ID, newer) && srv.has(a.ID, newer) })
	}
}

// Two updates at once may leave a nats-server with the newer JWT in its directory, while it runs
// the older one. It takes no notice of an update that its directory has.
func TestANatsServerThatRunsAnOlderJWTThanItHasStored(t *testing.T) {
	t.Parallel()
	op, dir, a := jwttest.NewOperator(t), t.TempDir(), jwttest.NewAccount(t)
	env := newEnvironmentAt(t, op, natstest.Start(t, fullConf(t, op, dir, -1)))
	srv := startServer(t, env)
	older, newer := env.signed(t, a, 100), env.signed(t, a, 50)
	srv.push(t, a.ID, older)
	creds := credsOf(t, a)
	natstest.Eventually(t, "the account is known",
		func() bool { return connects(t, env.nats, creds) })
	srv.eventuallyDelivered(t, a.ID, 1)
	srv.disconnect()
	isStuck := func() bool {
		both := []*environment{env, newEnvironmentAt(t, op, env.nats)}
		var updates sync.WaitGroup
		for i, token := range [][]byte{older, newer} {
			updates.Go(func() {
				_, _ = both[i].nc.Request("$SYS.REQ.CLAIMS.UPDATE", token, 5*time.Second)
			})
		}
		updates.Wait()
		return inDir(dir, a.ID, newer) && bytes.Equal(runs(t, env.nc, env.nats, a.ID), older)
	}
	natstest.Eventually(t, "it runs another one than it has stored", isStuck)
	srv.push(t, a.ID, newer)
	srv.store.Outbox().Acknowledge("full", srv.store.Outbox().PendingFor(a.ID).Seq)
	srv.store.Outbox().SetUnanswered(a.ID, true)
	srv = newServer(t, env, srv.store)
	srv.connect(t)
	natstest.Eventually(t, "it runs the newer one", func() bool {
		return bytes.Equal(runs(t, env.nc, env.nats, a.ID), newer)
	})
	natstest.Eventually(t, "that is what it has stored",
		func() bool { return inDir(dir, a.ID, newer) })
	srv.eventuallyDelivered(t, a.ID, 1)
}
