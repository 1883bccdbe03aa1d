package resolver_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/resolver"
	"nats-account-server/internal/trust"
)

// line is a session on which the test says what passes by.
type line struct {
	mu      sync.Mutex
	doors   map[string]nats.MsgHandler
	inboxes int
	asked   chan string // inboxes of questions
	said    chan struct{}
}

func newLine() *line {
	return &line{doors: map[string]nats.MsgHandler{}, asked: make(chan string, 16), said: make(chan struct{}, 1024)}
}

func (l *line) NewInbox() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inboxes++
	return "_INBOX." + strconv.Itoa(l.inboxes)
}

func (l *line) Subscribe(subject string, h nats.MsgHandler) (*nats.Subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doors[subject] = h
	return nil, nil
}

func (l *line) QueueSubscribe(subject, _ string, h nats.MsgHandler) (*nats.Subscription, error) {
	return l.Subscribe(subject, h)
}

func (l *line) Publish(string, []byte) error {
	select {
	case l.said <- struct{}{}:
	default:
	}
	return nil
}

func (l *line) PublishRequest(_, reply string, _ []byte) error {
	select {
	case l.asked <- reply:
	default:
	}
	return nil
}

// pass lets a message pass by whoever listens to its subject, and says whether somebody does.
func (l *line) pass(m *nats.Msg) (heard bool) {
	l.mu.Lock()
	var doors []nats.MsgHandler
	for pattern, hear := range l.doors {
		prefix, suffix, wild := strings.Cut(pattern, "*")
		if m.Subject == pattern || wild && len(m.Subject) > len(prefix)+len(suffix) && strings.HasPrefix(m.Subject, prefix) && strings.HasSuffix(m.Subject, suffix) {
			doors = append(doors, hear)
		}
	}
	l.mu.Unlock()
	for _, hear := range doors {
		hear(m)
	}
	return len(doors) > 0
}

// mute announces to nobody.
type mute struct{ accounts.Announcer }

func (mute) Announce(string, uint64, time.Time) accounts.Receipt      { return nil }
func (mute) Heard(string, uint64, time.Time)                          {}
func (mute) MaxPayload() int                                          { return 0 }
func (mute) Report(context.Context, string, bool) (r accounts.Report) { return r }

// FuzzDoors lets anything come in at any door, or as an answer to what was asked. Whatever it is, what is stored was
// signed by the operator, nothing gets older, the system account stays, and each message writes one line at most.
func FuzzDoors(f *testing.F) {
	o, a, other := jwttest.NewOperator(f), jwttest.NewAccount(f), jwttest.NewAccount(f)
	trusted, err := trust.Parse([]byte(o.Token(f)))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Now()
	stored, system := jwttest.Sign(f, o.Key, a, now), o.SystemAccount(f)
	newer := jwttest.Sign(f, o.Key, a, now.Add(time.Second))
	subject := "$SYS.ACCOUNT." + a.ID + ".CLAIMS.UPDATE"
	for _, data := range [][]byte{stored, newer, jwttest.Sign(f, o.Key, a, now.Add(-time.Hour)), jwttest.NewOperator(f).Account(f, a), o.Account(f, other),
		[]byte("a.b.c"), nil, []byte(o.Token(f)), []byte(a.ID + "|" + string(newer) + "\n" + other.ID + "|x"), []byte("OP|x|y\n|\n\n")} {
		for _, door := range []string{subject, "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.LIST",
			"$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.PACK", "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.LOOKUP", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
			"_INBOX.1", "$SYS.ACCOUNT.>.CLAIMS.UPDATE", "$SYS.ACCOUNT.A|B.CLAIMS.UPDATE"} {
			f.Add(door, "_INBOX.me."+a.ID+".1.1", data)
		}
	}
	f.Fuzz(func(t *testing.T, subject, reply string, data []byte) {
		store, log := jwtstore.NewMemory(true), &natstest.Log{}
		for key, token := range map[string][]byte{a.ID: stored, o.System.ID: system} {
			if _, err := store.Put(t.Context(), key, "test", token, jwtAlways); err != nil {
				t.Fatal(err)
			}
		}
		gate := accounts.New(accounts.Options{Store: store, Committer: store, Announcer: mute{}, Trust: accounts.Trust{Operator: trusted}})
		tokens := activations.New(activations.Options{Accounts: gate, Store: store, Connection: mute{}})
		doors := resolver.New(resolver.Options{Accounts: gate, Activations: tokens,
			Log: slog.New(logging.New(log, logging.Format{})), AllowDelete: true})
		l := newLine()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			doors.Serve(ctx, l, func() {})
			close(done)
		}()
		<-l.asked // the doors are open, and a pack has been asked for
		l.pass(&nats.Msg{Subject: subject, Reply: reply, Data: data})
		l.pass(&nats.Msg{Subject: "_INBOX.1"}) // the end of the pack
		// A request on the same lane as an update of the account is answered after it.
		l.pass(&nats.Msg{Subject: "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE", Reply: "r", Data: stored})
		cancel()
		<-done
		for key := range store.Keys() {
			token, _, err := store.Load(key, accounts.Stamp{})
			head, bad := trusted.Check(key, token)
			if err != nil || bad != nil {
				t.Errorf("stored for %s: %q, %v, %v", key, token, err, bad)
			}
			if key == a.ID && head.IssuedAt < now.Unix() {
				t.Errorf("it is older than before: %s", token)
			}
		}
		if _, _, err := store.Load(o.System.ID, accounts.Stamp{}); err != nil {
			t.Errorf("the system account: %v", err)
		}
		if n := strings.Count(log.String(), "WRN") + strings.Count(log.String(), "ERR"); n > 3 {
			t.Errorf("%d lines:\n%s", n, log)
		}
	})
}

func jwtAlways(_, _ []byte) error { return nil }
