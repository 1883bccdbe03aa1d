package resolver_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
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
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/resolver"
	"nats-account-server/internal/trust"
)

// site is an operator, a nats-server, and a system user on it.
type site struct {
	op    *jwttest.Operator
	nats  *server.Server
	creds []byte
	nc    *nats.Conn
}

func newSite(t *testing.T) *site {
	op := jwttest.NewOperator(t)
	return newSiteAt(t, op, natstest.Start(t, natstest.MemoryConf(t, op, natstest.AnyPort+"server_name: n1\n")))
}

func newSiteAt(t *testing.T, op *jwttest.Operator, n *server.Server) *site {
	s := &site{op: op, nats: n}
	s.creds, _ = op.System.User(t)
	s.nc = natstest.Connect(t, n.ClientURL(), s.creds)
	return s
}

// signed is a JWT of the account that says how many seconds ago it was issued.
func (s *site) signed(t *testing.T, a *jwttest.Account, ago int, edits ...func(*jwt.AccountClaims)) []byte {
	t.Helper()
	return jwttest.Sign(t, s.op.Signing, a, time.Now().Add(-time.Duration(ago)*time.Second), edits...)
}

// count counts the messages on a subject from now on.
func (s *site) count(t *testing.T, subject string) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	if _, err := s.nc.Subscribe(subject, func(*nats.Msg) { n.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return n
}

// house is an account server without HTTP.
type house struct {
	*site
	store  *jwtstore.Memory
	gate   *accounts.Registry
	tokens *activations.Registry
	client *resolver.Client
	doors  *resolver.Server
	told   *notifier.Notifier
	log    *natstest.Log
	close  func()
}

// newHouse moves in; it is connected when newHouse returns.
func newHouse(t *testing.T, s *site) *house {
	t.Helper()
	h := newHouseOn(t, s, jwtstore.NewMemory(true))
	h.open(t)
	return h
}

func newHouseOn(t *testing.T, s *site, store *jwtstore.Memory) *house {
	t.Helper()
	h := &house{site: s, store: store, log: &natstest.Log{}, close: func() {}}
	trusted, err := trust.Parse([]byte(s.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(logging.New(h.log, logging.Format{Debug: true}))
	h.told = notifier.New(notifier.Options{Outbox: store.Outbox(), Log: log})
	h.told.SetConfigured(true)
	h.client = resolver.NewClient(log)
	h.gate = accounts.New(accounts.Options{Store: store, Committer: store, Announcer: h.told, Finder: h.client, Signer: h.client,
		Trust: accounts.Trust{Operator: trusted}, Log: log})
	h.tokens = activations.New(activations.Options{Accounts: h.gate, Store: store, Connection: h.told, Publisher: h.client,
		Log: log})
	h.doors = resolver.New(resolver.Options{Accounts: h.gate, Activations: h.tokens, Client: h.client, Version: "test", Log: log})
	return h
}

// open connects to NATS until close.
func (h *house) open(t *testing.T) {
	t.Helper()
	nc := natstest.Connect(t, h.nats.ClientURL(), h.creds, nats.NoEcho(), nats.NoReconnect())
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	ready := make(chan struct{})
	tasks.Go(func() { h.doors.Serve(ctx, nc, func() { close(ready) }) })
	tasks.Go(func() {
		<-ready
		h.told.Serve(ctx, nc, h.gate)
	})
	h.close = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
		nc.Close()
	})
	t.Cleanup(h.close)
	natstest.Eventually(t, "the doors are open", func() bool { return h.listens(t) })
}

// listens says whether the doors answer.
func (h *house) listens(t *testing.T) bool {
	t.Helper()
	_, err := h.nc.Request("$SYS.REQ.CLAIMS.LIST", nil, time.Second)
	return err == nil && strings.Contains(h.log.String(), "JWT syncing")
}

// push is a POST.
func (h *house) push(t *testing.T, key string, token []byte) {
	t.Helper()
	if _, err := h.gate.Put(context.Background(), key, token, accounts.Origin{Kind: accounts.KindHTTP}); err != nil {
		t.Fatal(err)
	}
}

// has says whether this very JWT is stored.
func (h *house) has(key string, token []byte) bool {
	stored, _, err := h.store.Load(key, accounts.Stamp{})
	return err == nil && string(stored) == string(token)
}

func (h *house) eventuallyHas(t *testing.T, key string, token []byte) {
	t.Helper()
	natstest.Eventually(t, "it has the JWT", func() bool { return h.has(key, token) })
}

// said is an answer of this server.
type said struct {
	Server struct{ Name, ID, Ver string }
	Data   json.RawMessage
	Error  *struct {
		Account, Description string
		Code                 int
	}
}

// request asks and returns what this server answers; nats-servers answer too.
func (h *house) request(t *testing.T, subject string, data []byte) said {
	t.Helper()
	sub, err := h.nc.SubscribeSync(h.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := h.nc.PublishRequest(subject, sub.Subject, data); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("%s: %s", subject, err)
		}
		var a said
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

// pack asks for what somebody has.
func (s *site) pack(t *testing.T, digest []byte) (lines []string) {
	t.Helper()
	sub, err := s.nc.SubscribeSync(s.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := s.nc.PublishRequest("$SYS.REQ.CLAIMS.PACK", sub.Subject, digest); err != nil {
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

func packLine(a *jwttest.Account, token []byte) string { return fmt.Sprintf("%s|%s", a.ID, token) }

var sourceHTTP = accounts.Origin{Kind: accounts.KindHTTP}
