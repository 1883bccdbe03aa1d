package notifier_test

import (
	"context"
	"encoding/json"
	"flag"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
)

// TestMain lets more tests run at once than there are processors: those with real nats-servers
// mostly wait.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// age is how long ago the changes of these tests were committed: a nats-server that skips an update
// shortly after the commit is asked again, which would take time.
const age = time.Minute

// notInUse is what is said if the one nats-server has not loaded the account.
const notInUse = "not in use on the only nats-server"

// env is a notifier with a real connection, on a store in memory.
type env struct {
	op       *jwttest.Operator
	store    *jwtstore.Memory
	outbox   agedOutbox
	age      time.Duration // of changes, see agedOutbox
	notifier *notifier.Notifier
	facts    *facts.Asker
	log      *natstest.Log
}

// agedOutbox has known its changes for longer than it has.
type agedOutbox struct {
	*jwtstore.Outbox
	age *time.Duration
}

func (o agedOutbox) PendingOf(server string, after uint64, max int) []jwtstore.Change {
	all := o.Outbox.PendingOf(server, after, max)
	for i := range all {
		all[i].Known = all[i].Known.Add(-*o.age)
	}
	return all
}

func (o agedOutbox) PendingFor(key string) jwtstore.Change {
	c := o.Outbox.PendingFor(key)
	c.Known = c.Known.Add(-*o.age)
	return c
}

// withoutRounds has no account for a round, so that a test sees what is found without one.
type withoutRounds struct{ *jwtstore.Index }

func (withoutRounds) All() iter.Seq2[string, jwtstore.Version] {
	return func(func(string, jwtstore.Version) bool) {}
}

func newEnv(t *testing.T) *env {
	store := jwtstore.NewMemory(true)
	e := &env{
		op: jwttest.NewOperator(t), store: store, age: age, log: &natstest.Log{},
	}
	e.outbox = agedOutbox{store.Outbox(), &e.age}
	e.notifier = notifier.New(notifier.Options{
		Outbox: e.outbox,
		Log:    slog.New(loggingtest.New(e.log, logging.Format{Debug: true})),
		Index:  withoutRounds{store.Index()},

		Configured: true,
	})
	e.facts = facts.New(facts.Options{Servers: e.notifier.Present})
	return e
}

// connect connects with the creds until the test ends, or the function it returns is called.
func (e *env) connect(t *testing.T, url string, creds []byte) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	o := natsconn.Options{
		Servers:        []string{url},
		Credentials:    jwttest.File(t, t.TempDir(), "sys.creds", creds),
		ConnectTimeout: 2 * time.Second,
		ReconnectWait:  20 * time.Millisecond,
		Log:            slog.New(loggingtest.New(e.log, logging.Format{})),
	}
	go func() {
		defer close(done)
		natsconn.Run(ctx, o, func(ctx context.Context, nc *nats.Conn) {
			user := notifier.User{Account: natsconn.AccountOf(nc), Systems: []string{e.op.System.ID}}
			var serving sync.WaitGroup
			serving.Go(func() { e.facts.Serve(ctx, nc) })
			defer serving.Wait()
			e.notifier.Serve(ctx, nc, user, stored{e.store, e.notifier}, e.facts)
		})
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func (e *env) sysCreds(t *testing.T, edits ...func(*jwt.UserClaims)) []byte {
	creds, _ := e.op.System.User(t, edits...)
	return creds
}

// commit stores a JWT of the account and announces it.
func (e *env) commit(
	t *testing.T, a *jwttest.Account, edits ...func(*jwt.AccountClaims),
) accounts.Receipt {
	t.Helper()
	seq := put(t, e.store, a.ID, e.op.Account(t, a, edits...))
	return e.notifier.Announce(a.ID, seq)
}

func (e *env) wantDelivery(t *testing.T, key, want string) {
	t.Helper()
	natstest.Eventually(t, want, func() bool { return e.notifier.Delivery(key).String() == want })
}

func (e *env) wantLog(t *testing.T, want string) {
	t.Helper()
	natstest.Eventually(t, "logged: "+want,
		func() bool { return strings.Contains(e.log.String(), want) })
}

func (e *env) memoryServer(t *testing.T, extra string, known ...*jwttest.Account) *server.Server {
	return natstest.Start(t, natstest.MemoryConf(t, e.op, natstest.AnyPort+extra, known...))
}

// connectUser connects a user of the account. The channel is closed when nats-server ends the
// connection.
func connectUser(
	t *testing.T, url string, a *jwttest.Account,
) (user string, disconnected <-chan struct{}) {
	creds, user := a.User(t)
	closed := make(chan struct{})
	whenClosed := nats.ClosedHandler(func(*nats.Conn) { close(closed) })
	natstest.Connect(t, url, creds, nats.NoReconnect(), whenClosed)
	return user, closed
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("not within 20 s: %s", what)
	}
}

func revoking(user string) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) { c.RevokeAt(user, time.Now().Add(time.Second)) }
}

// listen subscribes to an account's update subject as another user of the system account.
func listen(t *testing.T, e *env, url, key string) <-chan struct{} {
	t.Helper()
	received := make(chan struct{}, 1000)
	nc := natstest.Connect(t, url, e.sysCreds(t))
	_, err := nc.Subscribe("$SYS.ACCOUNT."+key+".CLAIMS.UPDATE",
		func(*nats.Msg) { received <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return received
}

func TestARevocationIsAcknowledgedByEveryServerOfACluster(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	cluster := natstest.Cluster(t, 3, func(extra string) string {
		return natstest.MemoryConf(t, e.op, extra, a)
	})
	edits := make([]func(*jwt.AccountClaims), 3)
	disconnected := make([]<-chan struct{}, 3)
	for i, s := range cluster {
		var user string
		user, disconnected[i] = connectUser(t, s.ClientURL(), a)
		edits[i] = revoking(user)
	}
	e.connect(t, cluster[0].ClientURL(), e.sysCreds(t))
	e.wantDelivery(t, a.ID, "acknowledged by 3 of 3 nats-servers")
	e.commit(t, a, edits...)
	for _, c := range disconnected {
		within(t, "the user is disconnected", c)
	}
	e.wantDelivery(t, a.ID, "acknowledged by 3 of 3 nats-servers")
	if left := e.outbox.Pending(); len(left) != 0 {
		t.Errorf("still pending: %v", left)
	}
}

func TestAChangeCommittedBeforeNATSWasEverReachedIsDelivered(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	s := e.memoryServer(t, "", a)
	relay := natstest.NewRelay(t, 0, s.ClientURL())
	relay.Down()
	e.connect(t, relay.URL(), e.sysCreds(t))
	e.wantLog(t, "will try to connect again in 20 milliseconds")
	r := e.commit(t, a)
	got := r.Wait(context.Background(), accounts.UsualWait).String()
	if got != "NATS is not connected: will be sent when it is" {
		t.Errorf("says %q", got)
	}
	received := listen(t, e, s.ClientURL(), a.ID)
	relay.Up()
	within(t, "the announcement", received)
	e.wantDelivery(t, a.ID, notInUse)
}

func TestWithoutAnAnswerAChangeStaysPending(t *testing.T) {
	t.Parallel()
	ordinary := jwttest.NewAccount(t)
	for _, c := range []struct {
		name  string
		creds func(e *env) []byte
		log   string
		says  string
	}{
		{
			"the credentials of an ordinary account",
			func(*env) []byte { creds, _ := ordinary.User(t); return creds },
			"no nats-server answers $SYS.REQ.SERVER.PING",
			"not announced: the NATS user belongs to the account " + ordinary.ID,
		},
		{
			"a system user that may not publish",
			func(e *env) []byte {
				return e.sysCreds(t, func(c *jwt.UserClaims) { c.Pub.Deny.Add("$SYS.ACCOUNT.>") })
			},
			"account updates can't be announced unless the user may publish",
			"the only nats-server has never answered an account update",
		},
		{
			"a system user that may publish nothing",
			func(e *env) []byte {
				return e.sysCreds(t, func(c *jwt.UserClaims) { c.Pub.Deny.Add(">") })
			},
			"account updates can't be announced unless the user may publish",
			"", // it depends on whether a nats-server has published its state meanwhile
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			a := jwttest.NewAccount(t)
			s := e.memoryServer(t, "", a, ordinary)
			stop := e.connect(t, s.ClientURL(), c.creds(e))
			e.wantLog(t, "connected to NATS")
			e.commit(t, a)
			e.wantLog(t, c.log)
			if n := e.log.Count(c.log); n != 1 {
				t.Errorf("the cause is logged %d times", n)
			}
			natstest.Eventually(t, c.says, func() bool {
				d := e.notifier.Delivery(a.ID)
				return strings.HasPrefix(d.String(), c.says) && d.Acked == 0
			})
			stop()
			e.connect(t, s.ClientURL(), e.sysCreds(t))
			e.wantDelivery(t, a.ID, notInUse)
		})
	}
}

func TestAConnectionLostBeforeTheAnswerLeavesTheChangePending(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	s := e.memoryServer(t, "", a)
	relay := natstest.NewRelay(t, 0, s.ClientURL())
	e.connect(t, relay.URL(), e.sysCreds(t))
	e.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-server")
	cut := relay.CutAfter("PUB $SYS.ACCOUNT." + a.ID)
	e.commit(t, a)
	within(t, "the connection is cut", cut)
	e.wantDelivery(t, a.ID, "NATS is not connected: will be sent when it is")
	received := listen(t, e, s.ClientURL(), a.ID)
	relay.Up()
	within(t, "the second announcement", received)
	e.wantDelivery(t, a.ID, notInUse)
}

// TestAServerBefore220IsTakenAtItsFlush has a client of the system account answer PING as
// nats-server 2.1.9 does.
func TestAServerBefore220IsTakenAtItsFlush(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	s := e.memoryServer(t, "", a)
	old := natstest.Connect(t, s.ClientURL(), e.sysCreds(t))
	_, err := old.Subscribe("$SYS.REQ.SERVER.PING", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"server":{"name":"old","ver":"2.1.9"},"statsz":{}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = old.Flush()
	e.commit(t, a)
	e.outbox.Register("old", time.Now())
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	e.wantDelivery(t, a.ID, "acknowledged by 1 of 2 nats-servers, not in use on 1")
	if left := e.outbox.Pending(); len(left) != 0 {
		t.Errorf("still pending: %v", left)
	}
}

func TestAServersErrorIsLoggedOnceAndTheChangeStaysPending(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	s := e.memoryServer(t, "", a)
	connectUser(t, s.ClientURL(), a) // loads the account
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	e.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-server")
	seq := put(t, e.store, a.ID, jwttest.NewOperator(t).Account(t, a))
	e.notifier.Announce(a.ID, seq)
	e.wantLog(t, "refuses the update of "+a.ID[:12])
	natstest.Eventually(t, "the push is told why", func() bool {
		return strings.HasPrefix(e.notifier.Delivery(a.ID).String(),
			"refused by "+s.Name()+": jwt update ")
	})
	received := listen(t, e, s.ClientURL(), a.ID)
	within(t, "it is tried again", received)
	within(t, "and again", received)
	if n := e.log.Count("refuses the update"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestManyChangesDoNotFloodANATSServer counts at the nats-server what
// TestThousandsOfPushesDoNotFlood counts on a test clock.
func TestManyChangesDoNotFloodANATSServer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	s := e.memoryServer(t, "")
	for range 600 {
		e.commit(t, jwttest.NewAccount(t))
	}
	var mu sync.Mutex
	inFlight, maxInFlight := 0, 0
	nc := natstest.Connect(t, s.ClientURL(), e.sysCreds(t))
	count := func(by int) func(*nats.Msg) {
		return func(m *nats.Msg) {
			var answer struct{ Data *struct{} }
			if by < 0 && (json.Unmarshal(m.Data, &answer) != nil || answer.Data == nil) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			inFlight += by
			maxInFlight = max(maxInFlight, inFlight)
		}
	}
	for subject, by := range map[string]int{"$SYS.ACCOUNT.*.CLAIMS.UPDATE": 1, "_INBOX.>": -1} {
		if _, err := nc.Subscribe(subject, count(by)); err != nil {
			t.Fatal(err)
		}
	}
	_ = nc.Flush()
	e.connect(t, s.ClientURL(), e.sysCreds(t))
	natstest.Eventually(t, "all are acknowledged",
		func() bool { return len(e.outbox.Pending()) == 0 })
	mu.Lock()
	defer mu.Unlock()
	if maxInFlight > 400 {
		t.Errorf("%d announcements were in flight at once", maxInFlight)
	}
}
