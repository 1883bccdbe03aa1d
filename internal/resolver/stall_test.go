package resolver_test

import (
	"bytes"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// The route to a nats-server stalls while an older JWT is announced. The newer one takes another
// way and is acknowledged. Then the older one arrives, and the nats-server runs it for a moment.
func TestAnUpdateThatArrivesLateIsFollowedByTheStoredJWT(t *testing.T) {
	t.Parallel()
	for name, goOn := range map[string]func(t *testing.T, c *fetchingCluster){
		"in a session with another nats-server": func(t *testing.T, c *fetchingCluster) {
			c.reconnect(t, c.envs[1])
		},
		"after a restart": func(t *testing.T, c *fetchingCluster) {
			c.disconnect()
			c.accountServer = newServer(t, c.envs[1], c.store)
			c.connect(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFetchingCluster(t, 3, nil)
			a := c.newLoaded(t, 300)
			newer := c.signed(t, a, 100)
			route := c.stall(t, a)
			goOn(t, c)
			c.push(t, a.ID, newer)
			c.eventuallyDelivered(t, a.ID, 3)
			late := c.envs[2].answersOf(t, a.ID)
			route.Thaw()
			late.eventuallySay(t, "jwt updated")
			c.eventuallyRuns(t, a.ID, newer)
			c.eventuallyDelivered(t, a.ID, 3)
		})
	}
}

// The older announcement arrives after the newer one was acknowledged everywhere, and after a
// restart. The next process hears the answer to it, or asks what is run if no process was there.
func TestAnUpdateOfAnEarlierProcessThatArrivesLateIsFollowedByTheStoredJWT(t *testing.T) {
	t.Parallel()
	for name, isHeard := range map[string]bool{"its answer is heard": true,
		"its answer is lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFetchingCluster(t, 3, nil)
			a := c.newLoaded(t, 300)
			newer := c.signed(t, a, 100)
			route := c.stall(t, a)
			c.reconnect(t, c.envs[1])
			c.push(t, a.ID, newer)
			c.eventuallyDelivered(t, a.ID, 3)
			late := c.envs[2].answersOf(t, a.ID)
			c.disconnect()
			if !isHeard {
				route.Thaw()
				late.eventuallySay(t, "jwt updated")
			}
			c.accountServer = newServer(t, c.envs[1], c.store)
			c.connect(t)
			c.eventuallyDelivered(t, a.ID, 3)
			if isHeard {
				route.Thaw()
				late.eventuallySay(t, "jwt updated")
			}
			c.eventuallyRuns(t, a.ID, newer)
			c.eventuallyDelivered(t, a.ID, 3)
		})
	}
}

// A client announces an older JWT, whose answers the account server does not get. The route to a
// nats-server stalls meanwhile. Then the older JWT arrives after the newer one.
func TestAnUpdateOfAClientThatArrivesLateIsFollowedByTheStoredJWT(t *testing.T) {
	t.Parallel()
	for name, olderFirst := range map[string]bool{"it was stored": true, "it was refused": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFetchingCluster(t, 3, nil)
			a := c.newLoaded(t, 300)
			c.reconnect(t, c.envs[1])
			older, newer := c.signed(t, a, 200), c.signed(t, a, 100)
			route := c.mesh.Route(0, 2)
			route.Freeze()
			if !olderFirst {
				c.push(t, a.ID, newer)
				c.eventuallyRuns(t, a.ID, newer)
			}
			said := c.envs[1].answersOf(t, a.ID)
			reply := c.nc.NewInbox() + "." + a.ID + ".mine"
			broadcast := "$SYS.ACCOUNT." + a.ID + ".CLAIMS.UPDATE"
			if err := c.envs[0].nc.PublishRequest(broadcast, reply, older); err != nil {
				t.Fatal(err)
			}
			said.eventuallySay(t, "jwt updated")
			if olderFirst {
				c.eventuallyHas(t, a.ID, older)
				c.push(t, a.ID, newer)
			}
			c.eventuallyRuns(t, a.ID, newer)
			late := c.envs[2].answersOf(t, a.ID)
			route.Thaw()
			late.eventuallySay(t, "jwt updated")
			c.eventuallyRuns(t, a.ID, newer)
		})
	}
}

// A client gives a nats-server a newer JWT while the route to it is down. When it is back, an older
// one is pending for that nats-server.
func TestANatsServerThatWasAwayKeepsANewerJWT(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"URL", "full"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newMixedCluster(t, jwttest.NewOperator(t), []string{"URL", kind}, nil)
			a := c.newLoaded(t, 300)
			older, newer := c.signed(t, a, 200), c.signed(t, a, 100)
			route := c.mesh.Route(0, 1)
			route.Down()
			natstest.Eventually(t, "the route is down", func() bool {
				return c.mesh.Servers[0].NumRoutes()+c.mesh.Servers[1].NumRoutes() == 0
			})
			requests := c.count(t, "$SYS.REQ.SERVER.PING.ACCOUNTZ")
			updates := c.count(t, "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE")
			c.push(t, a.ID, older)
			natstest.Eventually(t, "the other nats-server runs the older one", func() bool {
				return bytes.Equal(runs(t, c.envs[0].nc, c.mesh.Servers[0], a.ID), older)
			})
			natstest.Eventually(t, "a request gets no answer", func() bool {
				return requests.Load() > 0 && (requests.Load() > 1 || updates.Load() > 1 ||
					c.log.Count("nats-server n2 is gone") > 0)
			})
			update := "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE"
			if _, err := c.envs[1].nc.Request(update, newer, 20*time.Second); err != nil {
				t.Fatal(err)
			}
			route.Up()
			c.eventuallyHas(t, a.ID, newer)
			c.eventuallyRuns(t, a.ID, newer)
		})
	}
}

// stall freezes the route to the third nats-server while an update of the account is on its way,
// which is older than the newest one. It returns the route when the other nats-servers run it.
func (c *fetchingCluster) stall(t *testing.T, a *jwttest.Account) *natstest.Relay {
	t.Helper()
	older, route := c.signed(t, a, 200), c.mesh.Route(0, 2)
	route.Freeze()
	c.push(t, a.ID, older)
	natstest.Eventually(t, "the other nats-servers run it", func() bool {
		return bytes.Equal(runs(t, c.envs[0].nc, c.mesh.Servers[0], a.ID), older) &&
			bytes.Equal(runs(t, c.envs[1].nc, c.mesh.Servers[1], a.ID), older)
	})
	return route
}
