package resolver_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// fetchingCluster is a cluster of nats-servers, most of which fetch JWTs from an account server,
// and that account server, connected to the first of them.
type fetchingCluster struct {
	*accountServer
	mesh *natstest.Mesh
	envs []*environment // one for each nats-server
}

// newFetchingCluster starts n nats-servers. through wraps what answers their HTTP requests; nil
// changes nothing.
func newFetchingCluster(
	t *testing.T, n int, through func(http.Handler) http.Handler,
) *fetchingCluster {
	t.Helper()
	return newMixedCluster(t, jwttest.NewOperator(t), slices.Repeat([]string{"URL"}, n), through)
}

// newMixedCluster is newFetchingCluster for a given operator, with nats-servers of these kinds.
func newMixedCluster(t *testing.T, op *jwttest.Operator, kinds []string,
	through func(http.Handler) http.Handler) *fetchingCluster {
	t.Helper()
	c := &fetchingCluster{accountServer: newServer(t, &environment{op: op},
		jwtstore.NewMemory(true))}
	var handler http.Handler = httpapi.New(httpapi.Options{Accounts: c.registry})
	if through != nil {
		handler = through(handler)
	}
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	c.push(t, op.System.ID, c.signed(t, op.System, 400))
	left := kinds
	c.mesh = natstest.NewMesh(t, len(kinds), func(extra string) string {
		kind := left[0]
		if left = left[1:]; kind == "URL" {
			return natstest.URLConf(t, op, web.URL+"/jwt/v1/accounts/", extra)
		}
		return natstest.DirConf(t, op, kind, t.TempDir(), extra)
	})
	for _, s := range c.mesh.Servers {
		c.envs = append(c.envs, newEnvironmentAt(t, op, s))
	}
	*c.environment = *c.envs[0]
	c.connect(t)
	return c
}

// newLoaded makes an account that every nats-server has loaded and acknowledged.
func (c *fetchingCluster) newLoaded(t *testing.T, ago int) *jwttest.Account {
	t.Helper()
	a := jwttest.NewAccount(t)
	token := c.signed(t, a, ago)
	c.push(t, a.ID, token)
	creds, _ := a.User(t)
	for _, n := range c.mesh.Servers {
		natstest.Eventually(t, "the account is known", func() bool { return connects(t, n, creds) })
	}
	// A nats-server that loads it seconds after the push, as on a busy machine, counts as one that does not
	// use it, until it is pushed again.
	natstest.Eventually(t, "every nats-server has acknowledged it", func() bool {
		if c.isDelivered(a.ID, len(c.mesh.Servers)) {
			return true
		}
		if c.nothingPending(a.ID) {
			c.push(t, a.ID, token)
		}
		return false
	})
	return a
}

// isDelivered reports whether this many nats-servers are known, and all have acknowledged the account's
// JWT.
func (srv *accountServer) isDelivered(key string, servers int) bool {
	d := srv.notifier.Delivery(key)
	return d.Acked == servers && d.Servers == servers
}

// eventuallyDelivered waits until this many nats-servers are known, and all have acknowledged the
// account's JWT.
func (srv *accountServer) eventuallyDelivered(t *testing.T, key string, servers int) {
	t.Helper()
	natstest.Eventually(t, "the change is delivered", func() bool { return srv.isDelivered(key, servers) })
}

// eventuallyRuns waits until each of the nats-servers says, asked there, that it runs this JWT.
func (c *fetchingCluster) eventuallyRuns(t *testing.T, key string, token []byte) {
	t.Helper()
	for i, n := range c.mesh.Servers {
		natstest.Eventually(t, "nats-server "+n.Name()+" runs it", func() bool {
			return bytes.Equal(runs(t, c.envs[i].nc, n, key), token)
		})
	}
}

// answers are what a nats-server says about the updates of one account.
type answers struct {
	mu    sync.Mutex
	texts []string
}

// eventuallySay waits for an answer with one of the texts.
func (a *answers) eventuallySay(t *testing.T, texts ...string) {
	t.Helper()
	natstest.Eventually(t, strings.Join(texts, " or "), func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		all := strings.Join(a.texts, "\n")
		return slices.ContainsFunc(texts,
			func(text string) bool { return strings.Contains(all, text) })
	})
}

// answersOf listens, at the nats-server itself, to what it answers to inboxes about an account.
func (env *environment) answersOf(t *testing.T, key string) *answers {
	t.Helper()
	a := &answers{}
	_, err := env.nc.Subscribe("_INBOX.>", func(m *nats.Msg) {
		var body struct {
			Server struct{ Name string }
		}
		if strings.Contains(m.Subject, key) && json.Unmarshal(m.Data, &body) == nil &&
			body.Server.Name == env.nats.Name() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.texts = append(a.texts, string(m.Data))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := env.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return a
}

// restart restarts a nats-server while the account server is not connected.
func (c *fetchingCluster) restart(t *testing.T, i int) {
	t.Helper()
	c.mesh.Restart(t, i)
	c.envs[i] = newEnvironmentAt(t, c.op, c.mesh.Servers[i])
	c.environment = c.envs[0]
}

// reconnect ends the session and begins one at another nats-server.
func (srv *accountServer) reconnect(t *testing.T, to *environment) {
	t.Helper()
	srv.disconnect()
	srv.environment = to
	srv.connect(t)
}

// The account server's own connection stalls while an older JWT is announced. Another session
// announces the newer one, which is acknowledged. Then the older one arrives.
func TestAnUpdateOfALostSessionIsFollowedByTheStoredJWT(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]int{"at the same nats-server": 0,
		"at another nats-server": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFetchingCluster(t, 2, nil)
			a := c.newLoaded(t, 300)
			older, newer := c.signed(t, a, 200), c.signed(t, a, 100)
			relay := natstest.NewRelay(t, 0, c.mesh.Servers[0].ClientURL())
			c.disconnect()
			c.connectThrough(t, relay.URL())
			c.eventuallyDelivered(t, a.ID, 2)
			relay.Stall(natstest.ToServer)
			c.push(t, a.ID, older)
			natstest.Eventually(t, "the announcement is sent", func() bool {
				return relay.Holds(natstest.ToServer, "PUB $SYS.ACCOUNT."+a.ID)
			})
			c.reconnect(t, c.envs[next])
			c.push(t, a.ID, newer)
			c.eventuallyDelivered(t, a.ID, 2)
			late := c.envs[1].answersOf(t, a.ID)
			relay.Release(natstest.ToServer)
			late.eventuallySay(t, "jwt updated")
			c.eventuallyRuns(t, a.ID, newer)
			c.eventuallyDelivered(t, a.ID, 2)
		})
	}
}

// slowFetch holds back the answer to one nats-server's fetch of an account. The answer itself is
// made when the request comes.
type slowFetch struct {
	http.Handler
	mu   sync.Mutex
	path string
	made chan struct{} // closed when the answer has been made
	send chan struct{} // closed when it may be sent
}

// hold holds back the next answer to a fetch of an account.
func (f *slowFetch) hold(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.path, f.made, f.send = "/jwt/v1/accounts/"+key, make(chan struct{}), make(chan struct{})
}

func (f *slowFetch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	isHeld, made, send := r.URL.Path == f.path, f.made, f.send
	if isHeld {
		f.path = ""
	}
	f.mu.Unlock()
	if !isHeld {
		f.Handler.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	f.Handler.ServeHTTP(answer, r)
	close(made)
	select {
	case <-send:
	case <-r.Context().Done():
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// A nats-server is fetching the JWT of before when a newer one comes over NATS, which it has no use
// for at that moment.
func TestAnUpdateDuringAFetchReachesTheNatsServer(t *testing.T) {
	t.Parallel()
	for name, subject := range map[string]string{
		"a broadcast": "$SYS.ACCOUNT.%s.CLAIMS.UPDATE",
		"a request":   "$SYS.REQ.CLAIMS.UPDATE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := &slowFetch{}
			c := newFetchingCluster(t, 1, func(h http.Handler) http.Handler {
				slow.Handler = h
				return slow
			})
			a := jwttest.NewAccount(t)
			older, newer := c.signed(t, a, 200), c.signed(t, a, 100)
			// An earlier process has stored the older one.
			c.store.Outbox().SetAnnounce(false)
			newServer(t, c.environment, c.store).push(t, a.ID, older)
			c.store.Outbox().SetAnnounce(true)
			slow.hold(a.ID)
			creds, _ := a.User(t)
			var connecting sync.WaitGroup
			connecting.Go(func() { connects(t, c.nats, creds) })
			<-slow.made
			said := c.envs[0].answersOf(t, a.ID)
			update := strings.Replace(subject, "%s", a.ID, 1)
			if err := c.nc.PublishRequest(update, c.nc.NewInbox()+".mine", newer); err != nil {
				t.Fatal(err)
			}
			c.eventuallyHas(t, a.ID, newer)
			said.eventuallySay(t, "skipped", "does not exist") // the account server has heard that, too
			close(slow.send)
			connecting.Wait()
			// On a busy machine the fetch may have taken too long for the nats-server. It fetches
			// again.
			natstest.Eventually(t, "a client can connect",
				func() bool { return connects(t, c.nats, creds) })
			natstest.Eventually(t, "the nats-server runs the newer JWT", func() bool {
				return bytes.Equal(runs(t, c.nc, c.nats, a.ID), newer)
			})
			c.eventuallyDelivered(t, a.ID, 1)
		})
	}
}
