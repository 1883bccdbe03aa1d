package resolver_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/resolver"
	"nats-account-server/internal/trust"
)

// TestMain lets more tests run at once than there are processors: most of them wait, for messages
// or for none to come.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// environment is an operator, a nats-server, and a connection of a system user to it.
type environment struct {
	op    *jwttest.Operator
	nats  *server.Server
	creds []byte
	nc    *nats.Conn
}

// startEnvironment starts a nats-server n1 with an operator of its own.
func startEnvironment(t *testing.T) *environment {
	return newEnvironment(t, jwttest.NewOperator(t))
}

// newEnvironment starts a nats-server n1 that has these accounts preloaded.
func newEnvironment(
	t *testing.T, op *jwttest.Operator, preloaded ...*jwttest.Account,
) *environment {
	conf := natstest.MemoryConf(t, op, natstest.AnyPort+"server_name: n1\n", preloaded...)
	return newEnvironmentAt(t, op, natstest.Start(t, conf))
}

func newEnvironmentAt(t *testing.T, op *jwttest.Operator, n *server.Server) *environment {
	env := &environment{op: op, nats: n}
	env.creds, _ = op.System.User(t)
	env.nc = natstest.Connect(t, n.ClientURL(), env.creds)
	return env
}

// signed is a JWT of the account that was issued so many seconds ago.
func (env *environment) signed(t *testing.T, a *jwttest.Account, ago int,
	edits ...func(*jwt.AccountClaims)) []byte {
	t.Helper()
	return jwttest.Sign(t, env.op.Signing, a,
		time.Now().Add(-time.Duration(ago)*time.Second), edits...)
}

// count counts the messages on a subject from now on.
func (env *environment) count(t *testing.T, subject string) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	if _, err := env.nc.Subscribe(subject, func(*nats.Msg) { n.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := env.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return n
}

// accountServer is an account server without HTTP.
type accountServer struct {
	*environment
	store      *jwtstore.Memory
	registry   *accounts.Registry
	tokens     *activations.Registry
	client     *resolver.Client
	server     *resolver.Server
	notifier   *notifier.Notifier
	log        *natstest.Log
	disconnect func()
	clocks     clocks // of the nats-servers, for the sessions that begin from now on
}

// noFacts has no answer of any nats-server.
type noFacts struct{}

func (noFacts) Info(context.Context, string) []facts.Info { return nil }

// startServer returns an account server that is connected.
func startServer(t *testing.T, env *environment) *accountServer {
	t.Helper()
	srv := newServer(t, env, jwtstore.NewMemory(true))
	srv.connect(t)
	return srv
}

// newServer returns an account server that is not connected.
func newServer(t *testing.T, env *environment, store *jwtstore.Memory) *accountServer {
	t.Helper()
	srv := &accountServer{environment: env, store: store, log: &natstest.Log{},
		disconnect: func() {}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of an account server:\n%s", srv.log)
		}
	})
	log := slog.New(loggingtest.New(srv.log, logging.Format{Time: true, Debug: true}))
	srv.notifier = notifier.New(notifier.Options{
		Outbox: store.Outbox(), Index: store.Index(), Log: log, Configured: true,
	})
	srv.client = resolver.NewClient(log)
	srv.client.SetExpects(true)
	srv.registry = accounts.New(accounts.Options{
		Store: store, Committer: store, Announcer: srv.notifier,
		Peers: srv.client, Signer: srv.client,
		Trust: trustIn(t, env.op), Log: log,
		CacheBytes: 32 << 20,
	})
	srv.tokens = activations.New(activations.Options{
		Accounts: srv.registry, Store: store, Connection: srv.notifier,
		Publisher: srv.client, Log: log,
	})
	srv.server = resolver.New(resolver.Options{
		Accounts: srv.registry, Activations: srv.tokens, Client: srv.client,
		Version: "test", Log: log,
		EarlySyncInterval: time.Second,
	})
	return srv
}

// trustIn is the trust in one operator.
func trustIn(t testing.TB, op *jwttest.Operator) accounts.Trust {
	t.Helper()
	trusted, err := trust.Parse([]byte(op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Trust{Operators: trust.Operators{trusted}}
}

// connect connects to NATS until disconnect is called.
func (srv *accountServer) connect(t *testing.T) {
	t.Helper()
	srv.connectThrough(t, srv.nats.ClientURL())
}

// connectThrough is connect with the URL of the nats-server or of a relay to it.
func (srv *accountServer) connectThrough(t *testing.T, url string) {
	t.Helper()
	nc := natstest.Connect(t, url, srv.creds, nats.NoEcho(), nats.NoReconnect())
	ctx, cancel := context.WithCancel(context.Background())
	began := srv.log.Count(connected)
	var tasks sync.WaitGroup
	ready := make(chan struct{})
	tasks.Go(func() { srv.server.Serve(ctx, nc, func() { close(ready) }) })
	tasks.Go(func() {
		<-ready
		srv.notifier.Serve(ctx, clockConn{nc, srv.clocks}, notifier.User{}, srv.registry, noFacts{})
	})
	srv.disconnect = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
		nc.Close()
	})
	t.Cleanup(srv.disconnect)
	// Others may answer a request. So the nats-server must have got the subscriptions first.
	natstest.Eventually(t, "the server answers requests", func() bool {
		return srv.log.Count(connected) > began && nc.Flush() == nil && srv.answers(t)
	})
}

// connected is in the line that a session logs when it has subscribed.
const connected = "connected to NATS for JWT syncing"

// answers reports whether a server answers requests.
func (srv *accountServer) answers(t *testing.T) bool {
	t.Helper()
	_, err := srv.nc.Request("$SYS.REQ.CLAIMS.LIST", nil, time.Second)
	return err == nil
}

// waitForServer returns when exactly one nats-server is known.
func (srv *accountServer) waitForServer(t *testing.T) {
	t.Helper()
	known := func() bool { return len(srv.store.Outbox().Servers()) == 1 }
	natstest.Eventually(t, "the nats-server is known", known)
}

// push stores a JWT as a POST does.
func (srv *accountServer) push(t *testing.T, key string, token []byte) {
	t.Helper()
	if _, err := srv.registry.Put(context.Background(), key, token, sourceHTTP); err != nil {
		t.Fatal(err)
	}
}

// has reports whether this very JWT is stored.
func (srv *accountServer) has(key string, token []byte) bool {
	stored, _, err := srv.store.Load(key, jwtstore.Stamp{})
	return err == nil && string(stored) == string(token)
}

func (srv *accountServer) eventuallyHas(t *testing.T, key string, token []byte) {
	t.Helper()
	natstest.Eventually(t, "the JWT is stored", func() bool { return srv.has(key, token) })
}

// nothingPending reports whether every nats-server has acknowledged an account's JWT.
func (srv *accountServer) nothingPending(key string) bool {
	return srv.store.Outbox().PendingFor(key).Seq == 0
}

// response is an answer of this server.
type response struct {
	Server struct{ Name, ID, Ver string }
	Data   json.RawMessage
	Error  *struct {
		Account, Description string
		Code                 int
	}
}

// refusedFor reports whether the response is an error with this text in it.
func (r response) refusedFor(text string) bool {
	return r.Error != nil && strings.Contains(r.Error.Description, text)
}

// updateSubjects are all subjects on which an account's JWT is taken.
func updateSubjects(key string) []string {
	return []string{
		"$SYS.ACCOUNT." + key + ".CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT." + key + ".CLAIMS.UPDATE",
		"$SYS.REQ.CLAIMS.UPDATE",
	}
}

// request sends a request and returns what this server answers. nats-servers answer too.
func (srv *accountServer) request(t *testing.T, subject string, data []byte) response {
	t.Helper()
	sub, err := srv.nc.SubscribeSync(srv.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := srv.nc.PublishRequest(subject, sub.Subject, data); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatalf("%s: %s", subject, err)
		}
		var a response
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Fatalf("%s: %q: %s", subject, m.Data, err)
		}
		if a.Server.Name != resolver.Name {
			continue
		}
		if len(a.Server.ID) != 56 || a.Server.ID[0] != 'N' || a.Server.Ver != "test" {
			t.Errorf("%s: it calls itself %+v", subject, a.Server)
		}
		return a
	}
}

// pack asks for what another server has.
func (env *environment) pack(t *testing.T, digest []byte) (lines []string) {
	t.Helper()
	sub, err := env.nc.SubscribeSync(env.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := env.nc.PublishRequest("$SYS.REQ.CLAIMS.PACK", sub.Subject, digest); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("the pack has no end: %s", err)
		}
		if len(m.Data) == 0 {
			return lines
		}
		lines = append(lines, string(m.Data))
	}
}

func digestOf(tokens ...[]byte) []byte {
	sum := make([]byte, sha256.Size)
	for _, token := range tokens {
		for i, b := range sha256.Sum256(token) {
			sum[i] ^= b
		}
	}
	return sum
}

func packLine(a *jwttest.Account, token []byte) string {
	return string(accounts.AppendPackLine(nil, a.ID, token))
}

var sourceHTTP = accounts.Origin{Kind: accounts.KindHTTP}
