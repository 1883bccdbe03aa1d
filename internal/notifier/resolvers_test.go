package notifier_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// mixedCluster is a cluster of three nats-servers, named after their kinds of resolver, and a
// notifier connected to "url". The routes of the others go through relays.
type mixedCluster struct {
	*env
	account *jwttest.Account
	servers map[string]*server.Server // url, full, cache
	confs   map[string]string
	routes  []*natstest.Relay
}

// serveJWTs answers for the store as an account server does.
func (e *env) serveJWTs(t *testing.T) (url string) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := path.Base(r.URL.Path)
		if key == "accounts" {
			return
		}
		token, _, err := e.store.Load(key, jwtstore.Stamp{})
		switch {
		case key == e.op.System.ID:
			_, _ = w.Write(e.op.SystemAccount(t))
		case err != nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write(token)
		}
	}))
	t.Cleanup(web.Close)
	return web.URL + "/accounts/"
}

func newMixedCluster(t *testing.T) *mixedCluster {
	c := &mixedCluster{
		env:     newEnv(t),
		account: jwttest.NewAccount(t),
		servers: map[string]*server.Server{},
		confs:   map[string]string{},
	}
	c.start(t, "url", natstest.URLConf(t, c.op, c.serveJWTs(t), ""), "")
	first := fmt.Sprintf("127.0.0.1:%d", c.servers["url"].ClusterAddr().Port)
	for kind, options := range map[string]string{"full": `interval: "1h"`, "cache": `ttl: "1h"`} {
		relay := natstest.NewRelay(t, 0, first)
		c.routes = append(c.routes, relay)
		route := strings.Replace(relay.URL(), "nats://", "nats-route://", 1)
		cluster := fmt.Sprintf(", no_advertise: true, routes: [%q]", route)
		c.start(t, kind, c.dirConf(t, kind, options), cluster)
	}
	natstest.Eventually(t, "the cluster is formed", func() bool {
		routes := func(kind string) int { return c.servers[kind].NumRoutes() }
		return routes("full") > 0 && routes("cache") > 0 && routes("url") > 1
	})
	c.connect(t, c.servers["url"].ClientURL(), c.sysCreds(t))
	natstest.Eventually(t, "all are known", func() bool { return len(c.outbox.Servers()) == 3 })
	c.change(t)
	return c
}

// dirConf is the configuration of a nats-server that keeps JWTs in a directory of its own.
func (c *mixedCluster) dirConf(t *testing.T, kind, options string) string {
	return fmt.Sprintf("operator: %s\nsystem_account: %s\n", c.op.Token(t), c.op.System.ID) +
		fmt.Sprintf("resolver { type: %s, dir: %q, %s }\n", kind, t.TempDir(), options) +
		fmt.Sprintf("resolver_preload { %s: %s }\n", c.op.System.ID, c.op.SystemAccount(t))
}

// start runs a nats-server, which listens on the same ports again when it is started again.
func (c *mixedCluster) start(t *testing.T, kind, conf, cluster string) {
	t.Helper()
	listening := fmt.Sprintf("server_name: %s\nlisten: \"127.0.0.1:%d\"\n", kind,
		natstest.FreePort(t))
	c.confs[kind] = conf + listening + fmt.Sprintf(
		"cluster { name: c, pool_size: -1, listen: \"127.0.0.1:%d\"%s }\n",
		natstest.FreePort(t), cluster)
	c.servers[kind] = natstest.Start(t, c.confs[kind])
}

func (c *mixedCluster) restart(t *testing.T, kind string) {
	t.Helper()
	natstest.Stop(c.servers[kind])
	c.servers[kind] = natstest.Start(t, c.confs[kind])
}

// answerLookups lets the cache fetch accounts, which needs a server that answers lookups.
func (c *mixedCluster) answerLookups(t *testing.T) {
	t.Helper()
	nc := natstest.Connect(t, c.servers["url"].ClientURL(), c.sysCreds(t))
	_, err := nc.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", func(m *nats.Msg) {
		if token, _, err := c.store.Load(strings.Split(m.Subject, ".")[3], jwtstore.Stamp{}); err == nil {
			_ = m.Respond(token)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	far := natstest.Connect(t, c.servers["cache"].ClientURL(), c.sysCreds(t))
	natstest.Eventually(t, "a lookup at the cache is answered", func() bool {
		_, err := far.Request("$SYS.REQ.ACCOUNT."+c.account.ID+".CLAIMS.LOOKUP", nil, time.Second)
		return err == nil
	})
}

// loadInCache connects a client to the account at the cache, which fetches it.
func (c *mixedCluster) loadInCache(t *testing.T) {
	connectUser(t, c.servers["cache"].ClientURL(), c.account)
}

// wantRunning waits until the nats-servers run the token.
func (c *mixedCluster) wantRunning(t *testing.T, token []byte, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		natstest.Eventually(t, kind+" runs the stored JWT", func() bool {
			for _, r := range c.notifier.Report(context.Background(), c.account.ID, true).Servers {
				if r.Name == kind && r.Runs != nil && bytes.Equal(r.Runs.JWT, token) {
					return true
				}
			}
			return false
		})
	}
}

// wantPending waits until the last change is pending for just these nats-servers.
func (c *mixedCluster) wantPending(t *testing.T, servers ...string) {
	t.Helper()
	var last string
	natstest.Eventually(t, fmt.Sprintf("pending for %v", servers), func() bool {
		var pending []string
		for _, r := range c.notifier.Report(context.Background(), c.account.ID, false).Servers {
			if !r.Acked {
				pending = append(pending, r.Name)
			}
		}
		if now := fmt.Sprint(pending); now != last {
			last = now
			t.Logf("pending for %v", pending)
		}
		return fmt.Sprint(pending) == fmt.Sprint(servers)
	})
}

// change commits a new JWT of the account.
func (c *mixedCluster) change(t *testing.T, edits ...func(*jwt.AccountClaims)) []byte {
	t.Helper()
	c.commit(t, c.account, edits...)
	token, _, err := c.store.Load(c.account.ID, jwtstore.Stamp{})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestACacheGetsTheChangeWhenAClientConnectsThere: "jwt update cache skipped" proves nothing, since
// the cache may get an older JWT elsewhere.
func TestACacheGetsTheChangeWhenAClientConnectsThere(t *testing.T) {
	t.Parallel()
	c := newMixedCluster(t)
	c.wantPending(t, "cache")
	c.answerLookups(t)
	c.loadInCache(t)
	c.wantPending(t)
	token := c.change(t)
	c.wantPending(t)
	c.wantRunning(t, token, "cache")
}

// TestWhatIsPendingForARestartedServer: one that keeps JWTs may have kept an old one; one that does
// not fetches.
func TestWhatIsPendingForARestartedServer(t *testing.T) {
	t.Parallel()
	c := newMixedCluster(t)
	c.wantPending(t, "cache")
	c.answerLookups(t)
	c.loadInCache(t)
	c.wantPending(t)
	natstest.Stop(c.servers["full"])
	natstest.Stop(c.servers["cache"])
	token := c.change(t)
	c.wantPending(t, "cache", "full")
	c.restart(t, "full")
	c.wantPending(t, "cache")
	c.wantRunning(t, token) // no client has made a server load it
	c.restart(t, "cache")
	c.wantPending(t, "cache") // it has an old copy, which it would run now
	c.loadInCache(t)
	c.wantPending(t)
	c.wantRunning(t, token, "cache")
}

func TestNothingIsPendingForAURLServerThatRestarted(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	known, unseen := jwttest.NewAccount(t), jwttest.NewAccount(t)
	cluster := func(name, routes string) string {
		return fmt.Sprintf("server_name: %s\ncluster { name: c, pool_size: -1, listen: "+
			"\"127.0.0.1:-1\"%s }\n", name, routes)
	}
	other := e.memoryServer(t, cluster("other", ""), known, unseen)
	routes := fmt.Sprintf(", routes: [\"nats-route://127.0.0.1:%d\"]", other.ClusterAddr().Port)
	conf := natstest.URLConf(t, e.op, e.serveJWTs(t), natstest.AnyPort+cluster("url", routes))
	url := natstest.Start(t, conf)
	connectUser(t, other.ClientURL(), known)
	e.commit(t, known)
	e.connect(t, other.ClientURL(), e.sysCreds(t))
	natstest.Eventually(t, "both have answered, or nothing is pending for them", func() bool {
		d := e.notifier.Delivery(known.ID)
		return d.Servers == 2 && d.Acked+d.NotInUse == 2
	})
	natstest.Stop(url)
	for range 300 {
		e.commit(t, jwttest.NewAccount(t))
	}
	natstest.Eventually(t, "all is pending for the one that is away only", func() bool {
		pending := e.outbox.Pending()
		return len(pending) == 300 && !slices.ContainsFunc(pending, func(c jwtstore.Change) bool {
			return e.outbox.IsPending("other", c.Seq)
		})
	})
	announced := make(chan string, 1000)
	nc := natstest.Connect(t, other.ClientURL(), e.sysCreds(t))
	_, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE",
		func(m *nats.Msg) { announced <- m.Subject })
	if err != nil || nc.Flush() != nil {
		t.Fatal(err, nc.LastError())
	}
	natstest.Start(t, conf)
	natstest.Eventually(t, "nothing is pending",
		func() bool { return len(e.outbox.Pending()) == 0 })
	accounts := map[string]bool{}
	for range len(announced) {
		accounts[<-announced] = true
	}
	if n := len(accounts); n > 1 { // one, perhaps repeated, to see what kind of server it is now
		t.Errorf("changes of %d accounts were announced", n)
	}
}

// TestAURLServerThatFetchedAnOlderJWTGetsTheChange: it began after the commit, but the account
// server that it fetches from was behind.
func TestAURLServerThatFetchedAnOlderJWTGetsTheChange(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, unseen := jwttest.NewAccount(t), jwttest.NewAccount(t)
	behind := env{op: e.op, store: jwtstore.NewMemory(true)}
	put(t, behind.store, a.ID, e.op.Account(t, a))
	conf := natstest.URLConf(t, e.op, behind.serveJWTs(t), natstest.AnyPort+"server_name: url\n")
	creds, user := a.User(t)
	e.outbox.Register("url", time.Now())
	e.commit(t, unseen) // shows that it fetches
	e.commit(t, a, func(c *jwt.AccountClaims) { c.RevokeAt(user, time.Now().Add(time.Minute)) })
	url := natstest.Start(t, conf)
	disconnected := make(chan struct{})
	natstest.Connect(t, url.ClientURL(), creds, nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(disconnected) }))
	e.connect(t, url.ClientURL(), e.sysCreds(t))
	within(t, "the user is disconnected", disconnected)
	natstest.Eventually(t, "nothing is pending",
		func() bool { return len(e.outbox.Pending()) == 0 })
}

// TestAServerThatWasCutOffGetsWhatItMissed: it runs the old JWT meanwhile.
func TestAServerThatWasCutOffGetsWhatItMissed(t *testing.T) {
	t.Parallel()
	c := newMixedCluster(t)
	c.wantPending(t, "cache")
	user, disconnected := connectUser(t, c.servers["full"].ClientURL(), c.account)
	c.answerLookups(t)
	c.loadInCache(t)
	c.wantPending(t)
	for _, r := range c.routes {
		r.Down()
	}
	natstest.Eventually(t, "they are cut off",
		func() bool { return c.servers["url"].NumRoutes() == 0 })
	token := c.change(t, revoking(user))
	c.wantPending(t, "cache", "full")
	select {
	case <-disconnected:
		t.Fatal("the user is disconnected although the server can't know of the revocation")
	default:
	}
	for _, r := range c.routes {
		r.Up()
	}
	within(t, "the user is disconnected", disconnected)
	c.wantPending(t)
	c.wantRunning(t, token, "full", "cache")
}

// TestAServerWithoutANameIsForgottenWhenItIsGone: after a restart it has another name. One that was
// only cut off gets what it missed nevertheless.
func TestAServerWithoutANameIsForgottenWhenItIsGone(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.notifier.SetForget(4 * time.Second) // half of it is the time between two rounds
	a := jwttest.NewAccount(t)
	hub := e.memoryServer(t, "server_name: hub\n"+
		"cluster { name: c, pool_size: -1, listen: \"127.0.0.1:-1\", no_advertise: true }\n", a)
	relay := natstest.NewRelay(t, 0, fmt.Sprintf("nats://127.0.0.1:%d", hub.ClusterAddr().Port))
	route := strings.Replace(relay.URL(), "nats://", "nats-route://", 1)
	far := e.memoryServer(t,
		fmt.Sprintf("cluster { name: c, pool_size: -1, listen: \"127.0.0.1:-1\", "+
			"no_advertise: true, routes: [%q] }\n", route), a)
	user, disconnected := connectUser(t, far.ClientURL(), a)
	e.connect(t, hub.ClientURL(), e.sysCreds(t))
	both := func() bool { return len(e.outbox.Servers()) == 2 }
	natstest.Eventually(t, "both are known", both)
	relay.Down()
	natstest.Eventually(t, "it is cut off", func() bool { return hub.NumRoutes() == 0 })
	e.commit(t, a, revoking(user))
	forgotten := func() bool {
		return fmt.Sprint(e.outbox.Servers()) == "[hub]" && len(e.outbox.Pending()) == 0
	}
	natstest.Eventually(t, "nothing is pending for it", forgotten)
	e.wantLog(t, "nats-server "+far.Name()+" is forgotten: it has no server_name")
	relay.Up()
	within(t, "the user is disconnected", disconnected)
	natstest.Eventually(t, "it is known again", both)
	natstest.Stop(far)
	e.commit(t, a)
	natstest.Eventually(t, "nothing is pending for what is gone", forgotten)
}
