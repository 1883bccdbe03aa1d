package accounts_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/accounts/accountstest"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/trust"
)

var (
	byHTTP     = accounts.Origin{Kind: accounts.KindHTTP}
	byUpdate   = accounts.Origin{Kind: accounts.KindNATS, Broadcast: true}
	byOutbox   = accounts.Origin{Kind: accounts.KindNATS, Broadcast: true, Peer: true}
	fromPeer   = accounts.Origin{Kind: accounts.KindPack, Peer: true}
	fromFile   = accounts.Origin{Kind: accounts.KindFile, File: true}
	onDeletion = accounts.Origin{Kind: accounts.KindNATS}
)

// announcer records what it is told and answers with a fixed delivery.
type announcer struct {
	report     accounts.Report
	maxPayload int
	delivery   accounts.Delivery
	later      accounts.Delivery // what a client learns that waits; its zero value is the same

	mu    sync.Mutex
	told  []string // what is to be announced
	heard []string // what came by a broadcast
}

func (a *announcer) Announce(key string, _ uint64) accounts.Receipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, key)
	return announced{a}
}

// announced is a Receipt.
type announced struct{ *announcer }

func (a announced) Wait(_ context.Context, limit time.Duration) accounts.Delivery {
	if limit == 0 || a.later.State == accounts.NotConfigured {
		return a.delivery
	}
	return a.later
}

func (a *announcer) Heard(key string, _ uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, key)
}

func (a *announcer) Contested(string)               {}
func (a *announcer) Follow(string) accounts.Receipt { return announced{a} }
func (a *announcer) IsConfigured() bool {
	return a.delivery.State != accounts.NotConfigured
}

func (a *announcer) MaxPayload() int { return a.maxPayload }

func (a *announcer) Report(context.Context, string, bool) accounts.Report { return a.report }

func (a *announcer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.told)
}

// events is an Observer that remembers.
type events []accounts.Event

func (v *events) Observe(one accounts.Event) error {
	*v = append(*v, one)
	return nil
}

// locked is an Observer for tests that put many JWTs at a time.
type locked struct {
	mu sync.Mutex
	*events
}

func (l *locked) Observe(one accounts.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events.Observe(one)
}

// committer is a Committer that fails, if a test wants that.
type committer struct {
	accounts.Committer
	putErr, touchErr error  // of every Put or Touch that is allowed
	keeps            string // account that can't be deleted
}

var errFull = errors.New("no space left on device")

func (c *committer) Put(
	ctx context.Context, key, kind string, token []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error),
) (uint64, error) {
	if c.putErr == nil {
		return c.Committer.Put(ctx, key, kind, token, allow)
	}
	if _, err := allow(jwtstore.Stored{}); err != nil {
		return 0, err
	}
	return 0, c.putErr
}

func (c *committer) Touch(ctx context.Context, key, kind string, elsewhere bool) (uint64, error) {
	if c.touchErr != nil {
		return 0, c.touchErr
	}
	return c.Committer.Touch(ctx, key, kind, elsewhere)
}

func (c *committer) Delete(
	ctx context.Context, key, kind string, allow func(jwtstore.Stored) ([]byte, error),
) (uint64, error) {
	if key == c.keeps {
		return 0, errors.New("permission denied")
	}
	return c.Committer.Delete(ctx, key, kind, allow)
}

// unreadable is a Store in a directory that can't be read.
type unreadable struct{ accounts.Store }

func (unreadable) Load(string, jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	return nil, jwtstore.Stamp{}, fs.ErrPermission
}

func (unreadable) Tombstone(string) ([]byte, error) { return nil, fs.ErrPermission }

// testEnv is a Registry over a store in memory, with everything that a test may want to change.
type testEnv struct {
	op        *jwttest.Operator
	store     *jwtstore.Memory
	committer *committer
	announcer *announcer
	events    events
	registry  *accounts.Registry
	log       *bytes.Buffer
	now       time.Time
}

func newEnv(t *testing.T, edits ...func(*accounts.Options)) *testEnv {
	t.Helper()
	e := &testEnv{
		op:    jwttest.NewOperator(t),
		store: jwtstore.NewMemory(true),
		announcer: &announcer{
			delivery: accounts.Delivery{State: accounts.Sent, Acked: 1, Servers: 1},
		},
		log: &bytes.Buffer{},
		now: time.Now(),
	}
	e.committer = &committer{Committer: e.store}
	e.registry = accounts.New(e.options(t, edits...))
	return e
}

// options are those of the Registry, for another one over the same store.
func (e *testEnv) options(t *testing.T, edits ...func(*accounts.Options)) accounts.Options {
	t.Helper()
	o := accounts.Options{
		Store:     e.store,
		Committer: e.committer,

		AllowDelete: true,
		Announcer:   e.announcer,
		Observer:    &locked{events: &e.events},
		Trust:       e.trust(t, e.op),
		Log:         slog.New(loggingtest.New(e.log, logging.Format{})),
		Now:         func() time.Time { return e.now },
		CacheBytes:  32 << 20,
	}
	for _, edit := range edits {
		edit(&o)
	}
	return o
}

func (e *testEnv) trust(t *testing.T, o *jwttest.Operator) accounts.Trust {
	t.Helper()
	op, err := trust.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Trust{Operators: trust.Operators{op}}
}

// withSystem is trust with a configured system account.
func (e *testEnv) withSystem(t *testing.T) (accounts.Trust, []byte) {
	t.Helper()
	token := e.op.SystemAccount(t)
	head, err := trust.Peek(token)
	if err != nil {
		t.Fatal(err)
	}
	both := e.trust(t, e.op)
	both.System = accounts.NewAccount(token, head)
	return both, token
}

// signed is a JWT of the account, issued some time from now.
func (e *testEnv) signed(
	t *testing.T, a *jwttest.Account, after time.Duration, edits ...func(*jwt.AccountClaims),
) []byte {
	t.Helper()
	return jwttest.Sign(t, e.op.Signing, a, e.now.Add(after), edits...)
}

// push posts a JWT.
func (e *testEnv) push(key string, token []byte) (accounts.Result, error) {
	return e.registry.Put(context.Background(), key, token, byHTTP)
}

// mustPush posts a JWT that is to be taken.
func (e *testEnv) mustPush(t *testing.T, key string, token []byte) {
	t.Helper()
	if _, err := e.push(key, token); err != nil {
		t.Fatal(err)
	}
}

// logs fails unless the log has the text.
func (e *testEnv) logs(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(e.log.String(), text) {
		t.Errorf("the log lacks %q: %s", text, e.log)
	}
}

// plant stores bytes without the Registry, as a program does that writes into the directory.
func (e *testEnv) plant(t *testing.T, key string, token []byte) {
	t.Helper()
	if token != nil {
		plant(t, e.store, key, token)
	}
}

func plant(t *testing.T, store accounts.Committer, key string, token []byte) {
	t.Helper()
	allow := func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }
	if _, err := store.Put(context.Background(), key, "hand", token, allow); err != nil {
		t.Fatal(err)
	}
}

// stored is what is in the store, nil for nothing.
func (e *testEnv) stored(t *testing.T, key string) []byte {
	t.Helper()
	token, _, err := e.store.Load(key, jwtstore.Stamp{})
	if err != nil {
		return nil
	}
	return token
}

// source is a Primary that the test plays. It may be used as any Source.
type source struct {
	mu      sync.Mutex
	answers map[string][][]byte // by account
	err     error               // what it says if it has no answer; nil: ErrNotFound
	delay   time.Duration       // of each answer
	asked   []string
	served  []string

	busy, maxBusy int // lookups at a time
}

func (s *source) Find(ctx context.Context, key string, take func(token []byte) error) error {
	s.mu.Lock()
	s.asked = append(s.asked, key)
	s.busy++
	s.maxBusy = max(s.maxBusy, s.busy)
	answers, err, delay := s.answers[key], s.err, s.delay
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy--
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, token := range answers {
		if err = take(token); err == nil {
			return nil
		}
	}
	if err == nil {
		err = accounts.ErrNotFound
	}
	return err
}

func (s *source) Served(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = append(s.served, key)
}

// has lets the source answer with these JWTs.
func (s *source) has(key string, tokens ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[string][][]byte{}
	}
	s.answers[key] = slices.Clone(tokens)
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// wantError fails unless err is want: nil, a sentinel, or a pointer to an error type.
func wantError(t *testing.T, err error, want any) {
	t.Helper()
	if !accountstest.IsError(err, want) {
		t.Fatalf("error %v, want %T %v", err, want, want)
	}
}
