package notifier_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/trust"
)

// fakeCluster is a connection to nats-servers that answer what the test wants.
type fakeCluster struct {
	mu          sync.Mutex
	handlers    map[string]nats.MsgHandler // by subject
	inboxes     int
	servers     []*fakeServer
	asked       []string               // subjects that are no updates
	updates     []string               // accounts, in the order of their announcements
	announced   map[string][]time.Time // when, by account
	payloads    map[string][]string    // of the updates, by account
	replies     []string               // reply subjects of the updates
	inFlight    int                    // announcements whose answers are not in yet
	maxInFlight int
	flushError  error
}

// fakeServer is one of them.
type fakeServer struct {
	name, id, version string
	says              string   // its answer to an update: an error after "!", "-" for neither, "" for none
	runs              string   // the JWT of every account; "" is none, "-" that it does not say
	loaded            []string // the accounts that it has loaded
	hides             bool     // it does not say which those are
}

// fake returns a server of a new version.
func fake(name, id, says string) *fakeServer {
	return &fakeServer{name: name, id: id, version: "2.15.2", says: says}
}

func (*fakeCluster) MaxPayload() int64                        { return 1 << 20 }
func (c *fakeCluster) FlushWithContext(context.Context) error { return c.flushError }

// inboxOf returns what an inbox's subjects begin with.
func inboxOf(reply string) string { return strings.Join(strings.Split(reply, ".")[:2], ".") }

// NewInbox returns another one each time.
func (c *fakeCluster) NewInbox() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inboxes++
	return fmt.Sprintf("_INBOX.%d", c.inboxes)
}

func (c *fakeCluster) Subscribe(
	subject string, handle nats.MsgHandler,
) (*nats.Subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[subject] = handle
	return nil, nil
}

// handler returns what handles the messages of a subscription, nil if there is none.
func (c *fakeCluster) handler(subscription string) nats.MsgHandler {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handlers[subscription]
}

func (c *fakeCluster) PublishRequest(subject, reply string, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	receive := c.handlers[inboxOf(reply)+".>"]
	key, isUpdate := strings.CutSuffix(strings.TrimPrefix(subject,
		"$SYS.ACCOUNT."), ".CLAIMS.UPDATE")
	if isUpdate {
		c.updates = append(c.updates, key)
		c.announced[key] = append(c.announced[key], time.Now())
		c.payloads[key] = append(c.payloads[key], string(data))
		c.replies = append(c.replies, reply)
		c.inFlight++
		c.maxInFlight = max(c.maxInFlight, c.inFlight)
	} else {
		c.asked = append(c.asked, subject)
	}
	var answers []string
	for _, s := range c.servers {
		if text := s.answer(subject, string(data)); text != "" {
			answers = append(answers, text)
		}
	}
	if len(answers) == 0 && !isUpdate { // no responders, as nats-server says at once
		go receive(&nats.Msg{Subject: reply, Header: nats.Header{"Status": {"503"}}})
		return nil
	}
	go func() {
		time.Sleep(time.Millisecond) // of the test clock
		c.mu.Lock()
		if isUpdate {
			c.inFlight--
		}
		c.mu.Unlock()
		for _, text := range answers {
			receive(&nats.Msg{Subject: reply, Data: []byte(text)})
		}
	}()
	return nil
}

// answer returns what a server answers to a message, "" if nothing.
func (s *fakeServer) answer(subject, data string) string {
	if strings.HasSuffix(subject, ".CLAIMS.UPDATE") {
		return s.answerUpdate()
	}
	own := "$SYS.REQ.SERVER." + s.id + "."
	asksRuns := subject == "$SYS.REQ.SERVER.PING.ACCOUNTZ" ||
		subject == own+"ACCOUNTZ" && data != ""
	switch {
	case asksRuns && s.runs == "":
		return fmt.Sprintf(`{%s,"error":{"code":500,"description":"Account A does not exist"}}`,
			s.describe())
	case asksRuns && s.runs != "-":
		return fmt.Sprintf(`{%s,"data":{"account_detail":{"jwt":%q}}}`, s.describe(), s.runs)
	case subject == "$SYS.REQ.SERVER.PING.IDZ" && !strings.HasPrefix(s.version, "2.9"):
		return fmt.Sprintf(`{"name":%q,"id":%q,"host":"h"}`, s.name, s.id)
	case subject == "$SYS.REQ.SERVER.PING", subject == own+"STATSZ":
		return fmt.Sprintf(`{%s,"statsz":{}}`, s.describe())
	case subject == own+"ACCOUNTZ" && data == "" && !s.hides:
		list, _ := json.Marshal(append([]string{}, s.loaded...))
		return fmt.Sprintf(`{%s,"data":{"accounts":%s}}`, s.describe(), list)
	default:
		return ""
	}
}

func (s *fakeServer) answerUpdate() string {
	refusal, refuses := strings.CutPrefix(s.says, "!")
	switch {
	case refuses:
		return fmt.Sprintf(`{%s,"error":{"description":%q}}`, s.describe(), refusal)
	case s.says == "-":
		return "{" + s.describe() + "}"
	case s.says != "":
		return fmt.Sprintf(`{%s,"data":{"message":%q}}`, s.describe(), s.says)
	default:
		return ""
	}
}

// describe returns what a server says about itself in each answer but the one to IDZ.
func (s *fakeServer) describe() string {
	return fmt.Sprintf(`"server":{"name":%q,"id":%q,"ver":%q}`, s.name, s.id, s.version)
}

// set replaces the servers that are there.
func (c *fakeCluster) set(servers ...*fakeServer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = servers
}

// answerUpdate lets a server answer one of the updates, counted from 0.
func (c *fakeCluster) answerUpdate(s *fakeServer, n int) {
	c.mu.Lock()
	reply := c.replies[n]
	c.mu.Unlock()
	c.handler(inboxOf(reply) + ".>")(&nats.Msg{Subject: reply, Data: []byte(s.answerUpdate())})
}

// counted returns how many updates were announced, and how many were in flight at most.
func (c *fakeCluster) counted() (updates, maxInFlight int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.updates), c.maxInFlight
}

// takeAsked returns the subjects of the requests since the last call.
func (c *fakeCluster) takeAsked() (subjects []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subjects, c.asked = c.asked, nil
	return subjects
}

// carried returns the payloads of all updates by account.
func (c *fakeCluster) carried() map[string][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.payloads
}

// times returns when an account was announced.
func (c *fakeCluster) times(key string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.announced[key]
}

// heartbeat makes a server publish its state.
func (c *fakeCluster) heartbeat(name, id string) {
	c.handler("$SYS.SERVER.*.STATSZ")(&nats.Msg{
		Subject: "$SYS.SERVER." + id + ".STATSZ",
		Data:    fmt.Appendf(nil, `{"server":{"name":%q,"id":%q,"ver":"2.15.2"}}`, name, id),
	})
}

// connectClient makes a server publish that a client has connected to an account, if that is
// subscribed to.
func (c *fakeCluster) connectClient(name, id, key string) {
	if handle := c.handler("$SYS.ACCOUNT.*.CONNECT"); handle != nil {
		handle(&nats.Msg{
			Subject: "$SYS.ACCOUNT." + key + ".CONNECT",
			Data:    fmt.Appendf(nil, `{"server":{"name":%q,"id":%q}}`, name, id),
		})
	}
}

// fakeEnv is a notifier on a fakeCluster.
type fakeEnv struct {
	*fakeCluster
	store    *jwtstore.Memory
	outbox   *jwtstore.Outbox
	notifier *notifier.Notifier
	facts    notifier.Facts
	spread   time.Duration // HeardSpread
	log      *natstest.Log
	key      string // of an account
	stop     func() // ends the session
}

// withFakeCluster runs a test on a cluster of servers, on a clock of its own.
func withFakeCluster(t *testing.T, test func(t *testing.T, e *fakeEnv), servers ...*fakeServer) {
	withFakeEnv(t, func(t *testing.T, e *fakeEnv) {
		e.serve()
		test(t, e)
	}, servers...)
}

// withFakeEnv runs a test as withFakeCluster does, but the session begins when the test calls
// serve.
func withFakeEnv(t *testing.T, test func(t *testing.T, e *fakeEnv), servers ...*fakeServer) {
	key := jwttest.NewAccount(t).ID
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEnv(key, servers...)
		test(t, e)
		e.stop()
		time.Sleep(time.Minute)
	})
}

// serve begins a session.
func (e *fakeEnv) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.notifier.Serve(ctx, e.fakeCluster, notifier.User{}, stored{e.store, e.notifier}, e.facts)
	}()
	e.stop = func() { cancel(); <-ended }
}

func newFakeEnv(key string, servers ...*fakeServer) *fakeEnv {
	store, log := jwtstore.NewMemory(true), &natstest.Log{}
	e := &fakeEnv{
		fakeCluster: &fakeCluster{
			servers:   servers,
			handlers:  map[string]nats.MsgHandler{},
			announced: map[string][]time.Time{},
			payloads:  map[string][]string{},
		},
		store:  store,
		outbox: store.Outbox(),
		facts:  noFacts{},
		log:    log,
		key:    key,
	}
	e.restart()
	return e
}

// restart makes another notifier, as the next process does. No session may run.
func (e *fakeEnv) restart() {
	e.notifier = notifier.New(notifier.Options{
		Outbox: e.outbox,
		Log:    slog.New(loggingtest.New(e.log, logging.Format{Debug: true})),
		Index:  e.store.Index(),

		HeardSpread: e.spread,
		Configured:  true,
	})
}

// put commits a change without announcing it.
func (e *fakeEnv) put(t *testing.T, key, token string) uint64 {
	t.Helper()
	return put(t, e.store, key, []byte(token))
}

// put commits a change.
func put(t *testing.T, store *jwtstore.Memory, key string, token []byte) uint64 {
	t.Helper()
	seq, err := store.Put(context.Background(), key, "test", token,
		func(jwtstore.Stored) (jwtstore.Version, error) {
			head, _ := trust.Peek(token) // a test may store what is no JWT
			return jwtstore.Version{Servable: true, Summary: jwtstore.NewSummary(head)}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// push commits a change and announces it.
func (e *fakeEnv) push(t *testing.T, key string) uint64 {
	t.Helper()
	seq := e.put(t, key, "jwt")
	e.notifier.Announce(key, seq)
	return seq
}

// hear commits a change that came by a broadcast.
func (e *fakeEnv) hear(t *testing.T, key string) uint64 {
	t.Helper()
	seq := e.put(t, key, "jwt")
	e.notifier.Heard(key, seq)
	return seq
}

func (e *fakeEnv) report(key string) []accounts.ServerReport {
	return e.notifier.Report(context.Background(), key, false).Servers
}

// stored has the accounts of a store, unverified.
type stored struct {
	store    *jwtstore.Memory
	notifier *notifier.Notifier
}

func (s stored) Adopt(context.Context, string, []byte) bool { return false }

func (s stored) Reassert(key string) {
	if seq, err := s.store.Touch(context.Background(), key, "test", true); err == nil {
		s.notifier.Announce(key, seq)
	}
}

func (s stored) GetLocal(_ context.Context, key string) (*accounts.Account, error) {
	token, _, err := s.store.Load(key, jwtstore.Stamp{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", accounts.ErrNotFound, err)
	}
	head, _ := trust.Peek(token) // a test may store what is no JWT
	account := accounts.NewAccount(token, head)
	account.Key = key
	return account, nil
}

// realKeys returns valid account keys.
func realKeys(t *testing.T, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = jwttest.AccountKey(t)
	}
	return keys
}
