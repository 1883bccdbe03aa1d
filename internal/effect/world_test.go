package effect_test

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/trust"
)

// TestMain lets more tests run at once than there are processors: they mostly wait.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// world is nats-servers with a resolver of one kind, and the accounts that are stored.
type world struct {
	op      *jwttest.Operator
	servers []*server.Server
	leafs   []int      // ports for leaf nodes
	sys     *nats.Conn // of the system account, at the first one
	asker   *facts.Asker

	// updating is held for reading while an account changes: nats-server 2.15.2 reads the names of all
	// accounts without a lock when it says what it has for JetStream.
	updating sync.RWMutex

	mu     sync.Mutex
	tokens map[string][]byte // JWTs, by key
	// decoded has the claims of each JWT that was looked at, by the JWT. All rows look at all accounts.
	decoded map[string]*jwt.AccountClaims
}

// quietFacts asks for the accounts with JetStream while none changes.
type quietFacts struct {
	*facts.Asker
	w *world
}

// Capacity implements effect.Facts.
func (q quietFacts) Capacity(ctx context.Context, maxAge time.Duration) []facts.Capacity {
	q.w.updating.Lock()
	defer q.w.updating.Unlock()
	return q.Asker.Capacity(ctx, maxAge)
}

// newWorld runs n nats-servers until the test ends. One alone has JetStream. The kind of resolver is URL or
// full.
func newWorld(t *testing.T, kind string, n int) *world {
	t.Helper()
	w := &world{op: jwttest.NewOperator(t), tokens: map[string][]byte{}}
	w.tokens[w.op.System.ID] = w.op.SystemAccount(t)
	accountServer := httptest.NewServer(http.HandlerFunc(w.serveHTTP))
	t.Cleanup(accountServer.Close)
	conf := func(extra string) string {
		w.leafs = append(w.leafs, natstest.FreePort(t))
		extra += fmt.Sprintf("leafnodes { listen: \"127.0.0.1:%d\" }\n", w.leafs[len(w.leafs)-1])
		if n == 1 {
			extra += fmt.Sprintf("jetstream { store_dir: %q, max_mem: 256MB, max_file: 1GB }\n", t.TempDir())
		}
		if kind == "full" {
			return natstest.DirConf(t, w.op, "full", t.TempDir(), extra)
		}
		return natstest.URLConf(t, w.op, accountServer.URL+"/", extra)
	}
	if n == 1 {
		w.servers = []*server.Server{natstest.Start(t, conf(natstest.AnyPort+"server_name: n1\n"))}
	} else {
		w.servers = natstest.Cluster(t, n, conf)
	}
	creds, _ := w.op.System.User(t)
	w.sys = natstest.Connect(t, w.servers[0].ClientURL(), creds)
	w.asker = facts.New(facts.Options{Servers: w.present})
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { w.asker.Serve(ctx, w.sys) })
	t.Cleanup(func() { cancel(); serving.Wait() })
	natstest.Eventually(t, "all nats-servers answer", func() bool {
		all := w.asker.Info(timeout(t, time.Second), w.op.System.ID)
		return len(all) == n && !slices.ContainsFunc(all, func(i facts.Info) bool {
			return i.State == facts.Unknown
		})
	})
	return w
}

// timeout returns a context that ends after the time.
func timeout(t *testing.T, after time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), after)
	t.Cleanup(cancel)
	return ctx
}

// present returns how the nats-servers are known.
func (w *world) present() (all []facts.Server) {
	for _, s := range w.servers {
		all = append(all, facts.Server{Name: s.Name(), ID: s.ID()})
	}
	return all
}

// serveHTTP answers nats-servers with a URL resolver.
func (w *world) serveHTTP(rw http.ResponseWriter, r *http.Request) {
	key := path.Base(r.URL.Path)
	if token := w.get(key); token != nil {
		_, _ = rw.Write(token)
	} else if strings.HasPrefix(key, "A") {
		http.NotFound(rw, r)
	}
}

// get returns the stored JWT of an account, nil if there is none.
func (w *world) get(key string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokens[key]
}

// GetLocal implements effect.Accounts.
func (w *world) GetLocal(_ context.Context, key string) (*accounts.Account, error) {
	token := w.get(key)
	if token == nil {
		return nil, accounts.ErrNotFound
	}
	head, err := trust.Peek(token)
	return accounts.NewAccount(token, head), err
}

// Importers implements effect.Importers.
func (w *world) Importers(key string) iter.Seq[jwtstore.Importer] {
	return func(yield func(jwtstore.Importer) bool) {
		w.mu.Lock()
		var found []string
		for k, token := range w.tokens {
			for _, i := range w.decodeLocked(token).Imports {
				if i.Account == key {
					found = append(found, k)
				}
			}
		}
		w.mu.Unlock()
		for _, k := range slices.Compact(slices.Sorted(slices.Values(found))) {
			if !yield(jwtstore.Importer{Key: k, Version: jwtstore.Version{Servable: true}}) {
				return
			}
		}
	}
}

// decodeLocked returns the claims of an account JWT, which is verified and decoded once. w.mu must be held.
func (w *world) decodeLocked(token []byte) *jwt.AccountClaims {
	c := w.decoded[string(token)]
	if c == nil {
		if w.decoded == nil {
			w.decoded = map[string]*jwt.AccountClaims{}
		}
		c = decode(token)
		w.decoded[string(token)] = c
	}
	return c
}

// decode returns the claims of an account JWT.
func decode(token []byte) *jwt.AccountClaims {
	c, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		panic(err)
	}
	return c
}

// push stores a JWT and announces it. It returns when each nats-server has answered.
func (w *world) push(t *testing.T, key string, token []byte) {
	t.Helper()
	w.updating.RLock()
	defer w.updating.RUnlock()
	w.mu.Lock()
	w.tokens[key] = token
	w.mu.Unlock()
	inbox := nats.NewInbox()
	answers, err := w.sys.SubscribeSync(inbox)
	check(t, err)
	defer func() { _ = answers.Unsubscribe() }()
	check(t, w.sys.PublishRequest("$SYS.REQ.ACCOUNT."+key+".CLAIMS.UPDATE", inbox, token))
	for range w.servers {
		m, err := answers.NextMsg(20 * time.Second)
		check(t, err)
		if strings.Contains(string(m.Data), `"error"`) {
			t.Fatalf("the push is refused: %s", m.Data)
		}
	}
}

// forecast tells what a push would do.
func (w *world) forecast(t *testing.T, pushed []byte) effect.Forecast {
	t.Helper()
	f := &effect.Foreteller{Importers: w, Accounts: w, Facts: quietFacts{w.asker, w}, Limit: 20 * time.Second}
	got, err := f.Of(context.Background(), trial(w.get(decode(pushed).Subject), pushed), effect.Options{})
	check(t, err)
	return got
}

// trial is a push of a JWT that replaces another one, nil for none.
func trial(stored, pushed []byte) *accounts.Trial {
	t := &accounts.Trial{Claims: decode(pushed)}
	if stored != nil {
		t.Stored, t.StoredClaims = accounts.NewAccount(stored, trust.Head{}), decode(stored)
	}
	return t
}

// check fails the test if there is an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
