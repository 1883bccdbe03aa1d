package notifier_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
)

// bench is a notifier with a real link, on a store in memory.
type bench struct {
	op       *jwttest.Operator
	store    *jwtstore.Memory
	notifier *notifier.Notifier
	log      *natstest.Log
}

// stored has the accounts of a store, unverified.
type stored struct{ store *jwtstore.Memory }

func (s stored) GetLocal(_ context.Context, key string) (*accounts.Account, error) {
	token, _, err := s.store.Load(key, jwtstore.Stamp{})
	if err != nil {
		return nil, err
	}
	return &accounts.Account{Key: key, JWT: token}, nil
}

func newBench(t *testing.T) *bench {
	b := &bench{op: jwttest.NewOperator(t), store: jwtstore.NewMemory(true), log: &natstest.Log{}}
	b.notifier = notifier.New(notifier.Options{
		Outbox: b.store.Outbox(),
		Log:    slog.New(logging.New(b.log, logging.Format{Debug: true})),
	})
	b.notifier.SetConfigured(true)
	return b
}

// link connects with the creds until the test ends, or the function it returns is called.
func (b *bench) link(t *testing.T, url string, creds []byte) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	o := natsconn.Options{
		Servers:        []string{url},
		Credentials:    jwttest.File(t, t.TempDir(), "sys.creds", creds),
		ConnectTimeout: 2 * time.Second,
		ReconnectWait:  20 * time.Millisecond,
		Log:            slog.New(logging.New(b.log, logging.Format{})),
	}
	go func() {
		defer close(done)
		natsconn.Run(ctx, o, func(ctx context.Context, nc *nats.Conn) { b.notifier.Serve(ctx, nc, stored{b.store}) })
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func (b *bench) sysCreds(t *testing.T, edits ...func(*jwt.UserClaims)) []byte {
	creds, _ := b.op.System.User(t, edits...)
	return creds
}

// commit stores a JWT and announces it, as the gate does. An old commit is one whose skips count.
func (b *bench) commit(t *testing.T, key string, token []byte, at time.Time) accounts.Receipt {
	t.Helper()
	seq, err := b.store.Put(context.Background(), key, "test", token, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return b.notifier.Announce(key, seq, at)
}

func (b *bench) wantDelivery(t *testing.T, key, want string) {
	t.Helper()
	natstest.Eventually(t, want, func() bool { return b.notifier.Delivery(key).String() == want })
}

func (b *bench) wantLog(t *testing.T, want string) {
	t.Helper()
	natstest.Eventually(t, "logged: "+want, func() bool { return strings.Contains(b.log.String(), want) })
}

func (b *bench) memoryServer(t *testing.T, extra string, known ...*jwttest.Account) *server.Server {
	return natstest.Start(t, natstest.MemoryConf(t, b.op, natstest.AnyPort+extra, known...))
}

// kickable connects a user of the account and tells when nats-server throws it out.
func kickable(t *testing.T, url string, a *jwttest.Account) (user string, out <-chan struct{}) {
	creds, user := a.User(t)
	gone := make(chan struct{})
	natstest.Connect(t, url, creds, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(gone) }))
	return user, gone
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

func TestARevocationIsAcknowledgedByEveryServerOfACluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	cluster := natstest.Cluster(t, 3, func(extra string) string { return natstest.MemoryConf(t, b.op, extra, a) })
	users := make([]string, 3)
	out := make([]<-chan struct{}, 3)
	for i, s := range cluster {
		users[i], out[i] = kickable(t, s.ClientURL(), a)
	}
	b.link(t, cluster[0].ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 3 of 3 nats-servers")
	b.commit(t, a.ID, b.op.Account(t, a, func(c *jwt.AccountClaims) {
		for _, u := range users {
			revoking(u)(c)
		}
	}), time.Now())
	for i := range out {
		within(t, "the user is thrown out", out[i])
	}
	b.wantDelivery(t, a.ID, "acknowledged by 3 of 3 nats-servers")
	if left := b.store.Outbox().Pending(); len(left) != 0 {
		t.Errorf("still owed: %v", left)
	}
}

func TestAChangeCommittedBeforeNATSWasEverReachedIsDelivered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	port := natstest.FreePort(t)
	b.link(t, fmt.Sprintf("nats://127.0.0.1:%d", port), b.sysCreds(t))
	b.wantLog(t, "will try to connect again in 20 milliseconds")
	r := b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
	if got := r.Wait(context.Background()).String(); got != "NATS is not connected: will be sent when it is" {
		t.Errorf("says %q", got)
	}
	heard := make(chan struct{}, 10)
	s := natstest.Start(t, natstest.MemoryConf(t, b.op, fmt.Sprintf("listen: 127.0.0.1:%d\n", port), a))
	listen(t, b, s.ClientURL(), a.ID, func() { heard <- struct{}{} })
	within(t, "the announcement", heard)
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
}

// listen subscribes to an account's update subject as another user of the system account.
func listen(t *testing.T, b *bench, url, key string, each func()) {
	t.Helper()
	nc := natstest.Connect(t, url, b.sysCreds(t))
	if _, err := nc.Subscribe("$SYS.ACCOUNT."+key+".CLAIMS.UPDATE", func(*nats.Msg) { each() }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestASkipRightAfterTheCommitDoesNotCount(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	s := b.memoryServer(t, "", a) // knows the account, but nobody has made it load it
	heard := make(chan time.Time, 10)
	listen(t, b, s.ClientURL(), a.ID, func() { heard <- time.Now() })
	b.link(t, s.ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
	r := b.commit(t, a.ID, b.op.Account(t, a), time.Now())
	if got := r.Wait(context.Background()).String(); got != "1 of 1 nats-servers outstanding" {
		t.Errorf("says %q", got)
	}
	first, second := <-heard, <-heard
	if apart := second.Sub(first); apart < 2500*time.Millisecond || apart > 6*time.Second {
		t.Errorf("announced again after %s, want 3 s", apart)
	}
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
	if n := len(heard); n != 0 {
		t.Errorf("%d more announcements", n)
	}
}

func TestWithoutAnAnswerAChangeStaysOwed(t *testing.T) {
	t.Parallel()
	ordinary := jwttest.NewAccount(t)
	for _, c := range []struct {
		name  string
		creds func(b *bench) []byte
		log   string
	}{
		{"the credentials of an ordinary account", func(b *bench) []byte { creds, _ := ordinary.User(t); return creds },
			"no nats-server answers $SYS.REQ.SERVER.PING"},
		{"a system user that may not publish", func(b *bench) []byte {
			return b.sysCreds(t, func(c *jwt.UserClaims) { c.Pub.Deny.Add("$SYS.ACCOUNT.>") })
		}, "account updates can't be announced unless the user may publish"},
		{"a system user that may publish nothing", func(b *bench) []byte {
			return b.sysCreds(t, func(c *jwt.UserClaims) { c.Pub.Deny.Add(">") })
		}, "account updates can't be announced unless the user may publish"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			a := jwttest.NewAccount(t)
			s := b.memoryServer(t, "", a, ordinary)
			stop := b.link(t, s.ClientURL(), c.creds(b))
			b.wantLog(t, "connected to NATS")
			b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
			b.wantLog(t, c.log)
			if n := b.log.Count(c.log); n != 1 {
				t.Errorf("the cause is logged %d times", n)
			}
			b.wantDelivery(t, a.ID, "1 of 1 nats-servers outstanding")
			stop()
			b.link(t, s.ClientURL(), b.sysCreds(t))
			b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
		})
	}
}

func TestALineCutBetweenPublishAndAnswerOwesTheChangeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	s := b.memoryServer(t, "", a)
	relay := natstest.NewRelay(t, 0, s.ClientURL())
	b.link(t, relay.URL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
	cut := relay.CutAfter("PUB $SYS.ACCOUNT." + a.ID)
	b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
	within(t, "the line is cut", cut)
	b.wantDelivery(t, a.ID, "NATS is not connected: will be sent when it is")
	heard := make(chan struct{}, 10)
	listen(t, b, s.ClientURL(), a.ID, func() { heard <- struct{}{} })
	relay.Up()
	within(t, "the second announcement", heard)
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
}

func TestAServerThatGoesIsNotWaitedForButOwedWhatItMissed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	cluster := natstest.Cluster(t, 2, func(extra string) string { return natstest.MemoryConf(t, b.op, extra, a) })
	b.link(t, cluster[0].ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 2 of 2 nats-servers")
	natstest.Stop(cluster[1])
	b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
	if left := b.store.Outbox().Pending(); len(left) != 1 || !b.store.Outbox().IsPending("n2", left[0].Seq) || b.store.Outbox().IsPending("n1", left[0].Seq) {
		t.Errorf("owed: %v", left)
	}
}

// echo is a session on which one nats-server answers PING, and nothing else happens.
type echo struct{ hear nats.MsgHandler }

func (*echo) NewInbox() string                       { return "_INBOX.x" }
func (*echo) MaxPayload() int64                      { return 1 << 20 }
func (*echo) FlushWithContext(context.Context) error { return nil }
func (e *echo) Subscribe(subject string, h nats.MsgHandler) (*nats.Subscription, error) {
	if strings.HasPrefix(subject, "_INBOX.") {
		e.hear = h
	}
	return nil, nil
}

func (e *echo) PublishRequest(subject, reply string, _ []byte) error {
	if subject == "$SYS.REQ.SERVER.PING" {
		go e.hear(&nats.Msg{Subject: reply, Data: []byte(`{"server":{"name":"here","ver":"2.15.2"},"statsz":{"active_servers":1}}`)})
	}
	return nil
}

// TestAServerNotSeenForThreeDaysIsForgotten runs on a clock of its own. Absence counts only while somebody watches.
func TestAServerNotSeenForThreeDaysIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.store.Outbox().Register("gone", time.Now().Add(-73*time.Hour))
		b.store.Outbox().Register("away", time.Now().Add(-70*time.Hour))
		b.store.Outbox().Register("here", time.Now().Add(-73*time.Hour))
		ctx, cancel := context.WithCancel(context.Background())
		go b.notifier.Serve(ctx, &echo{}, stored{b.store})
		known := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after) // of the bubble's clock
			if got := b.store.Outbox().Servers(); !slices.Equal(got, want) {
				t.Errorf("known: %v, want %v", got, want)
			}
		}
		known(10*time.Minute, "gone", "away", "here")
		known(55*time.Minute, "away", "here")
		known(2*time.Hour, "here")
		known(100*time.Hour, "here")
		if n := b.log.Count("has not been seen for 72h0m0s and is forgotten"); n != 2 {
			t.Errorf("logged %d times", n)
		}
		cancel()
		synctest.Wait()
	})
}

// TestAServerBefore220 lets a client of the system account answer PING as nats-server 2.1.9 does.
func TestAServerBefore220IsTakenAtItsFlush(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	s := b.memoryServer(t, "", a)
	old := natstest.Connect(t, s.ClientURL(), b.sysCreds(t))
	_, err := old.Subscribe("$SYS.REQ.SERVER.PING", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"server":{"name":"old","ver":"2.1.9"},"statsz":{}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = old.Flush()
	b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
	b.store.Outbox().Register("old", time.Now())
	b.link(t, s.ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 2 of 2 nats-servers")
	if left := b.store.Outbox().Pending(); len(left) != 0 {
		t.Errorf("still owed: %v", left)
	}
}

// TestNobodyWaitsForAServerThatIsOverdue lets a client of the system account answer PING, but no update.
func TestNobodyWaitsForAServerThatIsOverdue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	s := b.memoryServer(t, "", a)
	kickable(t, s.ClientURL(), a) // loads the account
	deaf := natstest.Connect(t, s.ClientURL(), b.sysCreds(t))
	_, err := deaf.Subscribe("$SYS.REQ.SERVER.PING", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"server":{"name":"deaf","ver":"2.10.1"},"statsz":{"active_servers":2}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = deaf.Flush()
	b.link(t, s.ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 2 of 2 nats-servers")
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	r := b.commit(t, a.ID, b.op.Account(t, a), time.Now())
	if got := r.Wait(ctx).String(); got != "1 of 2 nats-servers outstanding" || ctx.Err() == nil {
		t.Errorf("says %q after waiting to the end: %v", got, ctx.Err())
	}
	b.wantLog(t, "nats-server deaf does not answer account updates")
	r = b.commit(t, a.ID, b.op.Account(t, a), time.Now())
	r.Wait(context.Background()) // returns although nobody answers
	if n := b.log.Count("deaf does not answer"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	b.wantDelivery(t, a.ID, "1 of 2 nats-servers outstanding")
}

func TestAServersErrorIsLoggedOnceAndTheChangeStaysOwed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	a := jwttest.NewAccount(t)
	s := b.memoryServer(t, "", a)
	kickable(t, s.ClientURL(), a) // loads the account
	b.link(t, s.ClientURL(), b.sysCreds(t))
	b.wantDelivery(t, a.ID, "acknowledged by 1 of 1 nats-servers")
	b.commit(t, a.ID, jwttest.NewOperator(t).Account(t, a), time.Now())
	b.wantLog(t, "refuses the update of "+a.ID[:12])
	b.wantDelivery(t, a.ID, "1 of 1 nats-servers outstanding")
	heard := make(chan struct{}, 10)
	listen(t, b, s.ClientURL(), a.ID, func() { heard <- struct{}{} })
	within(t, "it is tried again", heard)
	within(t, "and again", heard)
	if n := b.log.Count("refuses the update"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestThousandsOfChangesDoNotFlood(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.memoryServer(t, "")
	const total = 3000
	for range total {
		a := jwttest.NewAccount(t)
		b.commit(t, a.ID, b.op.Account(t, a), time.Now().Add(-time.Minute))
	}
	var mu sync.Mutex
	flying, most := 0, 0
	nc := natstest.Connect(t, s.ClientURL(), b.sysCreds(t))
	count := func(by int) func(*nats.Msg) {
		return func(m *nats.Msg) {
			var answer struct{ Data *struct{} }
			if by < 0 && (json.Unmarshal(m.Data, &answer) != nil || answer.Data == nil) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			flying += by
			most = max(most, flying)
		}
	}
	for subject, by := range map[string]int{"$SYS.ACCOUNT.*.CLAIMS.UPDATE": 1, "_INBOX.>": -1} {
		if _, err := nc.Subscribe(subject, count(by)); err != nil {
			t.Fatal(err)
		}
	}
	_ = nc.Flush()
	b.link(t, s.ClientURL(), b.sysCreds(t))
	natstest.Eventually(t, "all are acknowledged", func() bool { return len(b.store.Outbox().Pending()) == 0 })
	mu.Lock()
	defer mu.Unlock()
	if most > 400 {
		t.Errorf("%d announcements were in flight at once", most)
	}
}
