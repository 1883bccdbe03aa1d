package activations_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/trust"
)

// testEnv is a Registry of tokens and one of accounts over the same store.
type testEnv struct {
	op       *jwttest.Operator
	store    *jwtstore.Memory
	accounts *accounts.Registry
	tokens   *activations.Registry
	conn     *connection
	events   []accounts.Event
	log      *bytes.Buffer
	now      time.Time
}

// connection plays NATS. Announcements of accounts go nowhere.
type connection struct {
	accounts.Announcer
	maxPayload int
	state      accounts.DeliveryState
	connected  bool
	published  []*activations.Token
}

func (c *connection) delivery() accounts.Delivery { return accounts.Delivery{State: c.state} }

func (c *connection) MaxPayload() int  { return c.maxPayload }
func (c *connection) Contested(string) {}
func (c *connection) IsConfigured() bool {
	return c.state != accounts.NotConfigured
}

func (c *connection) Follow(string) accounts.Receipt                        { return c }
func (c *connection) Wait(context.Context, time.Duration) accounts.Delivery { return c.delivery() }
func (c *connection) Announce(string, uint64) accounts.Receipt              { return c }

func (c *connection) PublishActivation(t *activations.Token) (published bool) {
	if c.connected {
		c.published = append(c.published, t)
	}
	return c.connected
}

// Observe implements accounts.Observer.
func (e *testEnv) Observe(event accounts.Event) error {
	e.events = append(e.events, event)
	return nil
}

func newEnv(t *testing.T, edits ...func(*activations.Options)) *testEnv {
	t.Helper()
	e := &testEnv{
		op:    jwttest.NewOperator(t),
		store: jwtstore.NewMemory(true),
		conn:  &connection{connected: true, state: accounts.Sent},
		log:   &bytes.Buffer{},
		now:   time.Now(),
	}
	now := func() time.Time { return e.now }
	e.accounts = accounts.New(accounts.Options{Store: e.store,
		Committer: e.store, Announcer: e.conn, Trust: e.trust(t), Now: now})
	o := activations.Options{
		Accounts:   e.accounts,
		Store:      e.store,
		Connection: e.conn,
		Publisher:  e.conn,
		Observer:   e,
		Log:        slog.New(loggingtest.New(e.log, logging.Format{})),
		Now:        now,
	}
	for _, edit := range edits {
		edit(&o)
	}
	e.tokens = activations.New(o)
	return e
}

func (e *testEnv) trust(t *testing.T) accounts.Trust {
	t.Helper()
	op, err := trust.Parse([]byte(e.op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Trust{Operators: trust.Operators{op}}
}

// newExporter returns a testEnv in which an account is stored that has a signing key.
func newExporter(
	t *testing.T, edits ...func(*activations.Options),
) (*testEnv, *jwttest.Account, nkeys.KeyPair) {
	t.Helper()
	e, exporter := newEnv(t, edits...), jwttest.NewAccount(t)
	signing, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	e.storeAccount(t, exporter, signing)
	return e, exporter, signing
}

// storeAccount stores an account with these signing keys.
func (e *testEnv) storeAccount(t *testing.T, a *jwttest.Account, signing ...nkeys.KeyPair) {
	t.Helper()
	e.now = e.now.Add(time.Second)
	token := jwttest.Sign(t, e.op.Signing, a, e.now, func(c *jwt.AccountClaims) {
		for _, key := range signing {
			id, _ := key.PublicKey()
			c.SigningKeys.Add(id)
		}
	})
	if _, err := e.accounts.Put(t.Context(), a.ID, token, accounts.Origin{Kind: "test"}); err != nil {
		t.Fatal(err)
	}
}

// put offers a token.
func (e *testEnv) put(t *testing.T, token []byte, from accounts.Origin) (changed bool, err error) {
	t.Helper()
	from.Kind = "test"
	_, changed, err = e.tokens.Put(t.Context(), token, from)
	return changed, err
}

// plant stores bytes without the Registry.
func (e *testEnv) plant(t *testing.T, hash string, token []byte) {
	t.Helper()
	always := func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }
	if _, err := e.store.Put(t.Context(), hash, "hand", token, always); err != nil {
		t.Fatal(err)
	}
}
