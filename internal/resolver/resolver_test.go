package resolver_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/operator"
	"nats-account-server/internal/resolver"
)

// line is a session on which the test says what passes by.
type line map[string]nats.MsgHandler

func (l line) Subscribe(subject string, h nats.MsgHandler) (*nats.Subscription, error) {
	l[subject] = h
	return nil, nil
}

// pass lets a message pass by whoever listens to its subject.
func (l line) pass(subject string, data []byte) {
	for pattern, hear := range l {
		if prefix, suffix, _ := strings.Cut(pattern, "*"); strings.HasPrefix(subject, prefix) && strings.HasSuffix(subject, suffix) {
			hear(&nats.Msg{Subject: subject, Data: data})
		}
	}
}

// overheard is what the gate is told.
type overheard struct{ key, token string }

func (o *overheard) Overheard(_ context.Context, key string, token []byte) {
	o.key, o.token = key, string(token)
}

func TestUpdatesOnEitherSubjectAreHeard(t *testing.T) {
	for subject, want := range map[string]overheard{
		"$SYS.ACCOUNT.A1.CLAIMS.UPDATE":      {"A1", "jwt"},
		"$SYS.REQ.ACCOUNT.A1.CLAIMS.UPDATE":  {"A1", "jwt"},
		"$SYS.REQ.ACCOUNT.A1.CLAIMS.LOOKUP":  {},
		"$SYS.ACCOUNT.ACCOUNT.CLAIMS.UPDATE": {"ACCOUNT", "jwt"},
	} {
		l, got := line{}, overheard{}
		resolver.Listen(l, &got, slog.New(slog.DiscardHandler))
		if l.pass(subject, []byte("jwt")); got != want {
			t.Errorf("%s: %v", subject, got)
		}
	}
}

// mute announces to nobody.
type mute struct{ accounts.Announcer }

func (mute) Announce(string, uint64, time.Time) accounts.Receipt { return nil }

// FuzzUpdates lets anything pass by on anything: nothing that is stored changes.
func FuzzUpdates(f *testing.F) {
	o, a := jwttest.NewOperator(f), jwttest.NewAccount(f)
	trusted, err := operator.Parse([]byte(o.Token(f)))
	if err != nil {
		f.Fatal(err)
	}
	stored := o.Account(f, a)
	subject := "$SYS.ACCOUNT." + a.ID + ".CLAIMS.UPDATE"
	f.Add(subject, stored)
	f.Add(subject, jwttest.Sign(f, o.Key, a, time.Now().Add(-time.Hour)))
	f.Add("$SYS.REQ.ACCOUNT."+a.ID+".CLAIMS.UPDATE", jwttest.NewOperator(f).Account(f, a))
	f.Add("$SYS.ACCOUNT.*.CLAIMS.UPDATE", []byte("a.b.c"))
	f.Add("$SYS.ACCOUNT..CLAIMS.UPDATE", []byte(nil))
	store := jwtstore.NewMemory(true)
	if _, err := store.Put(context.Background(), a.ID, "test", stored, func([]byte) error { return nil }); err != nil {
		f.Fatal(err)
	}
	gate := accounts.New(accounts.Options{Store: store, Committer: store, Announcer: mute{}, Trust: accounts.Trust{Operator: trusted}})
	l := line{}
	resolver.Listen(l, gate, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		l.pass(subject, data)
		if now, _, err := store.Load(a.ID, accounts.Stamp{}); err != nil || !bytes.Equal(now, stored) {
			t.Errorf("the store has %q, %v", now, err)
		}
	})
}
