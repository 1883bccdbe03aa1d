package resolver_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// broadcast announces JWTs of an account in turns, as any user of the system account can.
func broadcast(t *testing.T, nc *nats.Conn, key string, times int, tokens ...[]byte) {
	t.Helper()
	for range times {
		for _, token := range tokens {
			if err := nc.Publish("$SYS.ACCOUNT."+key+".CLAIMS.UPDATE", token); err != nil {
				t.Error(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}

// lastSeq commits a change and returns its sequence number.
func (srv *accountServer) lastSeq(t *testing.T) uint64 {
	t.Helper()
	a := jwttest.NewAccount(t)
	srv.push(t, a.ID, srv.signed(t, a, 100))
	return srv.store.Outbox().PendingFor(a.ID).Seq
}

// The system account is served from the configuration.
func TestTheConfiguredSystemAccountIsAnnouncedAgainstAnOlderOne(t *testing.T) {
	t.Parallel()
	c := newFetchingCluster(t, 2, nil)
	key := c.op.System.ID
	older, served := c.signed(t, c.op.System, 200), c.signed(t, c.op.System, 100)
	head, err := trust.Peek(served)
	if err != nil {
		t.Fatal(err)
	}
	c.push(t, key, served)
	c.eventuallyRuns(t, key, served)
	c.disconnect()
	trusted := trustIn(t, c.op)
	trusted.System = accounts.NewAccount(served, head)
	srv := newServer(t, c.envs[1], jwtstore.NewMemory(true)) // it does not store the account
	srv.registry.SetTrust(trusted)
	srv.connect(t)
	said := []*answers{c.envs[0].answersOf(t, key), c.envs[1].answersOf(t, key)}
	update, reply := "$SYS.ACCOUNT."+key+".CLAIMS.UPDATE", c.nc.NewInbox()+"."+key+".mine"
	if err := c.nc.PublishRequest(update, reply, older); err != nil {
		t.Fatal(err)
	}
	for _, a := range said {
		a.eventuallySay(t, "jwt updated")
	}
	c.eventuallyRuns(t, key, served)
}

// A client at each of two nats-servers announces two JWTs of one second in turns, each in its
// order.
func TestTwoJWTsOfOneSecondInTurnsCauseFewAnnouncements(t *testing.T) {
	t.Parallel()
	for name, accountServers := range map[string]int{"one account server": 1,
		"two account servers": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFetchingCluster(t, 2, nil)
			stores := []*accountServer{c.accountServer}
			if accountServers > 1 {
				stores = append(stores, startServer(t, c.envs[1]))
			}
			a := c.newLoaded(t, 300)
			named := func(name string) []byte {
				return c.signed(t, a, 100, func(c *jwt.AccountClaims) { c.Name = name })
			}
			one, other := named("one"), named("other")
			const times = 25 // a nats-server takes a while for each
			all := c.count(t, "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE")
			before := c.lastSeq(t)
			var clients sync.WaitGroup
			clients.Go(func() { broadcast(t, c.envs[0].nc, a.ID, times, one, other) })
			clients.Go(func() { broadcast(t, c.envs[1].nc, a.ID, times, other, one) })
			clients.Wait()
			eventuallyQuiet(t, all)
			if n := c.lastSeq(t) - before; n > 15 {
				t.Errorf("it has committed %d changes", n)
			}
			if ours := all.Load() - 4*times; ours > 20 {
				t.Errorf("the account servers have announced it %d times", ours)
			}
			stored, _, err := c.store.Load(a.ID, jwtstore.Stamp{})
			if err != nil || !bytes.Equal(stored, one) && !bytes.Equal(stored, other) {
				t.Fatalf("it stores %s, %v", stored, err)
			}
			for _, s := range stores {
				s.eventuallyHas(t, a.ID, stored)
			}
			c.eventuallyRuns(t, a.ID, stored)
		})
	}
}
