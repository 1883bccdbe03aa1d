package resolver_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/logging/loggingtest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/resolver"
)

// FuzzRequests delivers any data on any subject, and as an answer to what was asked. What is stored
// afterwards was signed by the operator, nothing gets older, the system account stays, and each
// message writes one line at most.
func FuzzRequests(f *testing.F) {
	o, a, other := jwttest.NewOperator(f), jwttest.NewAccount(f), jwttest.NewAccount(f)
	trusted := trustIn(f, o)
	now := time.Now()
	stored, system := jwttest.Sign(f, o.Key, a, now), o.SystemAccount(f)
	newer := jwttest.Sign(f, o.Key, a, now.Add(time.Second))
	for _, data := range [][]byte{
		stored,
		newer,
		jwttest.Sign(f, o.Key, a, now.Add(-time.Hour)),
		jwttest.NewOperator(f).Account(f, a),
		o.Account(f, other),
		[]byte("a.b.c"),
		nil,
		[]byte(o.Token(f)),
		[]byte(packLine(a, newer) + "\n" + other.ID + "|x"),
		[]byte("OP|x|y\n|\n\n"),
	} {
		for _, subject := range []string{
			"$SYS.ACCOUNT." + a.ID + ".CLAIMS.UPDATE",
			"$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE",
			"$SYS.REQ.CLAIMS.UPDATE",
			"$SYS.REQ.CLAIMS.LIST",
			"$SYS.REQ.CLAIMS.DELETE",
			"$SYS.REQ.CLAIMS.PACK",
			"$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.LOOKUP",
			"$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
			"_INBOX.1",
			"$SYS.ACCOUNT.>.CLAIMS.UPDATE",
			"$SYS.ACCOUNT.A|B.CLAIMS.UPDATE",
		} {
			f.Add(subject, "_INBOX.me."+a.ID+".1.1", data)
		}
	}
	f.Fuzz(func(t *testing.T, subject, reply string, data []byte) {
		store, log := jwtstore.NewMemory(true), &natstest.Log{}
		for key, token := range map[string][]byte{a.ID: stored, o.System.ID: system} {
			if _, err := store.Put(t.Context(), key, "test", token, jwtAlways); err != nil {
				t.Fatal(err)
			}
		}
		registry := accounts.New(accounts.Options{
			Store: store, Committer: store, Announcer: silentAnnouncer{}, Trust: trusted, AllowDelete: true,
		})
		srv := resolver.New(resolver.Options{
			Accounts: registry,
			Activations: activations.New(activations.Options{
				Accounts: registry, Store: store, Connection: silentAnnouncer{},
			}),
			Log: slog.New(loggingtest.New(log, logging.Format{})),
		})
		session := newFakeSession()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			srv.Serve(ctx, session, func() {})
			close(done)
		}()
		<-session.requests // every handler is subscribed, and a pack has been asked for
		session.deliver(&nats.Msg{Subject: subject, Reply: reply, Data: data})
		session.deliver(&nats.Msg{Subject: "_INBOX.1"}) // the end of the pack
		// The worker that has an update of the account takes this request after it.
		update := "$SYS.REQ.ACCOUNT." + a.ID + ".CLAIMS.UPDATE"
		session.deliver(&nats.Msg{Subject: update, Reply: "r", Data: stored})
		cancel()
		<-done
		for key := range store.Index().All() {
			token, _, err := store.Load(key, jwtstore.Stamp{})
			head, bad := trusted.Operators.Check(key, token)
			if err != nil || bad != nil {
				t.Errorf("stored for %s: %q, %v, %v", key, token, err, bad)
			}
			if key == a.ID && head.IssuedAt < now.Unix() {
				t.Errorf("it is older than before: %s", token)
			}
		}
		if _, _, err := store.Load(o.System.ID, jwtstore.Stamp{}); err != nil {
			t.Errorf("the system account: %v", err)
		}
		if n := strings.Count(log.String(), "WRN") + strings.Count(log.String(), "ERR"); n > 3 {
			t.Errorf("%d lines:\n%s", n, log)
		}
	})
}

func jwtAlways(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }
