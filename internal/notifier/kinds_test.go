package notifier_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
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

// site is a cluster of three nats-servers, each with another kind of resolver, and a notifier linked to the first. The
// third one's routes go through relays.
type site struct {
	*bench
	a       *jwttest.Account
	servers map[string]*server.Server // url, full, cache
	confs   map[string]string
	routes  []*natstest.Relay // of the cache and of the full one
}

// serveJWTs answers for the bench's store as an account server does.
func (b *bench) serveJWTs(t *testing.T) (url string) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := path.Base(r.URL.Path)
		if key == "accounts" {
			return
		}
		token, _, err := b.store.Load(key, jwtstore.Stamp{})
		switch {
		case key == b.op.System.ID:
			_, _ = w.Write(b.op.SystemAccount(t))
		case err != nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write(token)
		}
	}))
	t.Cleanup(web.Close)
	return web.URL + "/accounts/"
}

func newSite(t *testing.T) *site {
	b := newBench(t)
	s := &site{bench: b, a: jwttest.NewAccount(t), servers: map[string]*server.Server{}, confs: map[string]string{}}
	s.start(t, "url", natstest.URLConf(t, b.op, b.serveJWTs(t), ""), "")
	hub := fmt.Sprintf("127.0.0.1:%d", s.servers["url"].ClusterAddr().Port)
	for _, kind := range []string{"full", "cache"} {
		relay := natstest.NewRelay(t, 0, hub)
		s.routes = append(s.routes, relay)
		s.start(t, kind, s.keeping(t, kind), fmt.Sprintf(", no_advertise: true, routes: [%q]", strings.Replace(relay.URL(), "nats://", "nats-route://", 1)))
	}
	natstest.Eventually(t, "the cluster is formed", func() bool {
		return s.servers["full"].NumRoutes() > 0 && s.servers["cache"].NumRoutes() > 0 && s.servers["url"].NumRoutes() > 1
	})
	s.commit(t, s.a.ID, b.op.Account(t, s.a), time.Now().Add(-time.Minute))
	s.link(t, s.servers["url"].ClientURL(), b.sysCreds(t))
	return s
}

// keeping is the configuration of a nats-server that keeps JWTs in a directory of its own.
func (s *site) keeping(t *testing.T, kind string) string {
	return fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver { type: %s, dir: %q, %s }\nresolver_preload { %s: %s }\n",
		s.op.Token(t), s.op.System.ID, kind, t.TempDir(), map[string]string{"full": `interval: "1h"`, "cache": `ttl: "1h"`}[kind],
		s.op.System.ID, s.op.SystemAccount(t))
}

// start runs a nats-server that listens on the same ports again when it is started again.
func (s *site) start(t *testing.T, kind, conf, cluster string) {
	t.Helper()
	s.confs[kind] = fmt.Sprintf("%sserver_name: %s\nlisten: \"127.0.0.1:%d\"\ncluster { name: c, pool_size: -1, listen: \"127.0.0.1:%d\"%s }\n",
		conf, kind, natstest.FreePort(t), natstest.FreePort(t), cluster)
	s.servers[kind] = natstest.Start(t, s.confs[kind])
}

func (s *site) restart(t *testing.T, kind string) {
	t.Helper()
	natstest.Stop(s.servers[kind])
	s.servers[kind] = natstest.Start(t, s.confs[kind])
}

// answerLookups lets a cache fetch the account: somebody has to answer.
func (s *site) answerLookups(t *testing.T) {
	t.Helper()
	nc := natstest.Connect(t, s.servers["url"].ClientURL(), s.sysCreds(t))
	_, err := nc.Subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", func(m *nats.Msg) {
		if token, _, err := s.store.Load(strings.Split(m.Subject, ".")[3], jwtstore.Stamp{}); err == nil {
			_ = m.Respond(token)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	far := natstest.Connect(t, s.servers["cache"].ClientURL(), s.sysCreds(t))
	natstest.Eventually(t, "the cache reaches who answers", func() bool {
		_, err := far.Request("$SYS.REQ.ACCOUNT."+s.a.ID+".CLAIMS.LOOKUP", nil, time.Second)
		return err == nil
	})
}

// runs says which of the nats-servers run the token.
func (s *site) wantRunning(t *testing.T, token []byte, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		natstest.Eventually(t, kind+" runs the stored JWT", func() bool {
			for _, r := range s.notifier.Report(context.Background(), s.a.ID, true).Servers {
				if r.Name == kind && r.Runs != nil && bytes.Equal(r.Runs.JWT, token) {
					return true
				}
			}
			return false
		})
	}
}

func (s *site) wantOwed(t *testing.T, servers ...string) {
	t.Helper()
	var last string
	natstest.Eventually(t, fmt.Sprintf("owed to %v", servers), func() bool {
		var owed []string
		for _, r := range s.notifier.Report(context.Background(), s.a.ID, false).Servers {
			if !r.Acked {
				owed = append(owed, r.Name)
			}
		}
		if now := fmt.Sprint(owed); now != last {
			last = now
			t.Logf("owed to %v", owed)
		}
		return fmt.Sprint(owed) == fmt.Sprint(servers)
	})
}

func (s *site) change(t *testing.T, edits ...func(*jwt.AccountClaims)) []byte {
	token := s.op.Account(t, s.a, edits...)
	s.commit(t, s.a.ID, token, time.Now())
	return token
}

// TestACacheIsToldWhenTheAccountConnectsThere: "jwt update cache skipped" proves nothing, for the cache may get an older
// JWT elsewhere.
func TestACacheIsToldWhenTheAccountConnectsThere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.wantOwed(t, "cache")
	s.answerLookups(t)
	kickable(t, s.servers["cache"].ClientURL(), s.a)
	s.wantOwed(t)
	token := s.change(t)
	s.wantOwed(t)
	s.wantRunning(t, token, "cache")
}

// TestWhatARestartedServerIsOwed: one that keeps JWTs may have kept an old one; one that does not fetches.
func TestWhatARestartedServerIsOwed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.wantOwed(t, "cache")
	s.answerLookups(t)
	kickable(t, s.servers["cache"].ClientURL(), s.a)
	s.wantOwed(t)
	natstest.Stop(s.servers["full"])
	natstest.Stop(s.servers["cache"])
	token := s.change(t)
	s.wantOwed(t, "cache", "full")
	s.restart(t, "full")
	s.wantOwed(t, "cache")
	s.wantRunning(t, token) // nobody has loaded it
	s.restart(t, "cache")
	s.wantOwed(t, "cache") // it has an old copy, which it would run now
	kickable(t, s.servers["cache"].ClientURL(), s.a)
	s.wantOwed(t)
	s.wantRunning(t, token, "cache")
}

func TestAURLServerThatRestartedIsOwedNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	known, unseen := jwttest.NewAccount(t), jwttest.NewAccount(t)
	hub := b.memoryServer(t, "server_name: hub\ncluster { name: c, pool_size: -1, listen: \"127.0.0.1:-1\" }\n", known, unseen)
	conf := natstest.URLConf(t, b.op, b.serveJWTs(t), fmt.Sprintf("%sserver_name: url\n"+
		"cluster { name: c, pool_size: -1, listen: \"127.0.0.1:-1\", routes: [\"nats-route://127.0.0.1:%d\"] }\n", natstest.AnyPort, hub.ClusterAddr().Port))
	url := natstest.Start(t, conf)
	kickable(t, hub.ClientURL(), known)
	b.commit(t, known.ID, b.op.Account(t, known), time.Now().Add(-time.Minute))
	b.link(t, hub.ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, known.ID, "acknowledged by 2 of 2 nats-servers")
	natstest.Stop(url)
	for range 300 {
		a := jwttest.NewAccount(t)
		b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
	}
	natstest.Eventually(t, "all is owed to the one that is away only", func() bool {
		return len(b.store.Outbox().Pending()) == 300 && !b.store.Outbox().IsPending("hub", b.store.Outbox().Pending()[299].Seq)
	})
	heard := make(chan struct{}, 1000)
	listen(t, b, hub.ClientURL(), "*", func() { heard <- struct{}{} })
	natstest.Start(t, conf)
	natstest.Eventually(t, "nothing is owed", func() bool { return len(b.store.Outbox().Pending()) == 0 })
	if n := len(heard); n > 1 { // one, to see what kind of server it is now
		t.Errorf("%d announcements were made", n)
	}
}

// TestAServerThatWasCutOffGetsWhatItMissed lets it live on with the old JWT meanwhile.
func TestAServerThatWasCutOffGetsWhatItMissed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.wantOwed(t, "cache")
	user, out := kickable(t, s.servers["full"].ClientURL(), s.a)
	s.answerLookups(t)
	kickable(t, s.servers["cache"].ClientURL(), s.a)
	s.wantOwed(t)
	for _, r := range s.routes {
		r.Down()
	}
	natstest.Eventually(t, "they are cut off", func() bool { return s.servers["url"].NumRoutes() == 0 })
	token := s.change(t, revoking(user))
	s.wantOwed(t, "cache", "full")
	select {
	case <-out:
		t.Fatal("the user is gone although his server can't know")
	default:
	}
	for _, r := range s.routes {
		r.Up()
	}
	within(t, "the user is thrown out", out)
	s.wantOwed(t)
	s.wantRunning(t, token, "full", "cache")
}
