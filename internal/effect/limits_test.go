package effect_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// fakeFacts is what nats-servers say.
type fakeFacts struct {
	infos  []facts.Info
	conns  []facts.Connection
	stored []facts.JetStream
	asked  []string // what they were asked
}

func (f *fakeFacts) Info(context.Context, string) []facts.Info { return f.infos }

func (f *fakeFacts) Connections(
	_ context.Context, _ string, of []facts.Server, users ...string,
) []facts.Connections {
	all := []facts.Connections{}
	for _, s := range of {
		f.asked = append(f.asked, strings.Join(append(users, s.Name), " "))
		all = append(all, facts.Connections{Server: s, All: f.conns})
	}
	return all
}

func (f *fakeFacts) JetStream(context.Context, string) []facts.JetStream {
	f.asked = append(f.asked, "JetStream")
	return f.stored
}

func (f *fakeFacts) Capacity(context.Context, time.Duration) []facts.Capacity {
	f.asked = append(f.asked, "Capacity")
	return nil
}

// info is what a nats-server with this many connections says.
func info(name string, clients, subscriptions int) facts.Info {
	return facts.Info{Server: facts.Server{Name: name, ID: name}, State: facts.Loaded, Complete: true,
		Clients: clients, Subscriptions: subscriptions}
}

// foretell makes the forecast of a push of an account that is not stored in a world.
func foretell(t *testing.T, w *world, f effect.Facts, o effect.Options, stored, pushed edit) effect.Forecast {
	t.Helper()
	r := start(t, w, row{})
	teller := &effect.Foreteller{Importers: w, Accounts: w, Facts: f}
	got, err := teller.Of(context.Background(),
		trial(r.token("", time.Hour, stored), r.token("", 0, pushed)), o)
	check(t, err)
	return got
}

// noAccount is a store of which nothing is read.
type noAccount struct{ t *testing.T }

func (n noAccount) GetLocal(_ context.Context, key string) (*accounts.Account, error) {
	n.t.Errorf("the account %s is read", key)
	return nil, fs.ErrNotExist
}

// TestWhatIsStoredIsNotReadOnceMore to see whether a nats-server runs it.
func TestWhatIsStoredIsNotReadOnceMore(t *testing.T) {
	w := &world{op: jwttest.NewOperator(t), tokens: map[string][]byte{}}
	r := start(t, w, row{})
	stored, pushed := r.token("", time.Hour, same), r.token("", 0, same)
	same, other := info("n1", 1, 0), info("n2", 1, 0)
	same.JWT, other.JWT = trust.HashOf(stored), trust.HashOf(pushed)
	f := &effect.Foreteller{Importers: w, Accounts: noAccount{t},
		Facts: &fakeFacts{infos: []facts.Info{same, other}}}
	got, err := f.Of(context.Background(), trial(stored, pushed), effect.Options{})
	check(t, err)
	if len(got.Lines) != 1 || !strings.HasPrefix(got.Lines[0].Words, "nats-server n2: it runs another JWT") {
		t.Errorf("%+v", got.Lines)
	}
}

// TestConnectionsAreAskedForOnlyIfNeeded, only of nats-servers that have some, and of very many only if that
// is asked for.
func TestConnectionsAreAskedForOnlyIfNeeded(t *testing.T) {
	w := &world{op: jwttest.NewOperator(t), tokens: map[string][]byte{}}
	idle := facts.Info{Server: facts.Server{Name: "idle"}, State: facts.NotLoaded}
	silent := facts.Info{Server: facts.Server{Name: "silent"}, Reason: "it did not answer in time"}
	limited := limits(func(l *jwt.OperatorLimits) { l.Subs = 10 })
	for _, row := range []struct {
		name           string
		infos          []facts.Info
		all            bool
		stored, pushed edit
		asked, lines   string
	}{
		{"a renewal", []facts.Info{info("n1", 5, 100)}, false, same, same, "", ""},
		{"a renewal, asked for", []facts.Info{info("n1", 5, 100)}, true, same, same, "n1", ""},
		{"a limit that none has reached", []facts.Info{info("n1", 5, 9)}, false, limited, limited, "", ""},
		{"one that some have", []facts.Info{info("n1", 5, 10)}, false, limited, limited, "n1", ""},
		{"no connections", []facts.Info{info("n1", 0, 0), idle}, false, same, revoke("*", 0), "", ""},
		{"some have none", []facts.Info{info("n1", 1, 0), idle, info("n2", 0, 0)}, false, same,
			revoke("*", 0), "n1", ""},
		{"very many", []facts.Info{info("n1", 5001, 0)}, false, same, revoke("*", 0), "",
			"unknown connections_not_asked"},
		{"very many, of which one user is revoked", []facts.Info{info("n1", 5001, 0)}, false, same,
			revoke("U", 0), "U n1", ""},
		{"very many, asked for", []facts.Info{info("n1", 5001, 0)}, true, same, revoke("*", 0), "n1", ""},
		{"very many, and fewer are allowed", []facts.Info{info("n1", 5001, 0)}, false, same,
			limits(func(l *jwt.OperatorLimits) { l.Conn = 5000 }), "", "cut connections_exceeded 1"},
		{"one is silent", []facts.Info{info("n1", 1, 0), silent}, false, same, same, "",
			"unknown server_silent"},
		{"none is known", nil, false, same, same, "", "unknown not_asked"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := &fakeFacts{infos: row.infos}
			got := foretell(t, w, f, effect.Options{Connections: row.all}, row.stored, row.pushed)
			var lines []string
			for _, l := range got.Lines {
				line := string(l.Kind) + " " + l.Code
				if l.Connections > 0 {
					line += fmt.Sprint(" ", l.Connections)
				}
				lines = append(lines, line)
			}
			if strings.Join(f.asked, ",") != row.asked || strings.Join(lines, ",") != row.lines {
				t.Errorf("asked %v, foretold %+v", f.asked, got.Lines)
			}
		})
	}
}

// TestUsersAtALimitOfTheirOwn are cut by each push. They are found if connections are looked at, but for
// bearer users: nats-servers do not show their limits, so that these are unknown.
func TestUsersAtALimitOfTheirOwn(t *testing.T) {
	w := &world{op: jwttest.NewOperator(t), tokens: map[string][]byte{}}
	bearer := facts.Connection{ID: 3, User: "U" + strings.Repeat("A", 55), IsHidden: true, Subscriptions: 2}
	f := &fakeFacts{infos: []facts.Info{info("n1", 4, 8)}, conns: []facts.Connection{
		{ID: 1, Subscriptions: 2, MaxSubscriptions: 2}, {ID: 2, Subscriptions: 2, MaxSubscriptions: 3},
		bearer,
		{ID: 4, User: bearer.User, IsHidden: true},
	}}
	got := foretell(t, w, f, effect.Options{Connections: true}, same, same)
	if len(got.Lines) != 2 || got.Lines[0].Code != "subscriptions_reached" || got.Lines[0].Connections != 1 ||
		got.Lines[1].Kind != effect.Unknown || got.Lines[1].Connections != 1 {
		t.Errorf("%+v", got.Lines)
	}
}

// TestVeryManyImporters are not all looked at, and this is said.
func TestVeryManyImporters(t *testing.T) {
	w := &world{op: jwttest.NewOperator(t), tokens: map[string][]byte{}}
	r := start(t, w, row{})
	w.tokens[r.account("").ID] = r.token("", time.Hour, exports(jwt.Service, "help"))
	pushed := r.token("", 0, same)
	for n := range 1010 {
		c := jwt.NewAccountClaims(jwttest.AccountKey(t))
		c.Name = fmt.Sprintf("evil\n\x1b[2J%04d", n)
		c.Imports.Add(&jwt.Import{Account: r.account("").ID, Subject: "help", Type: jwt.Service})
		token, err := c.Encode(w.op.Signing)
		check(t, err)
		w.tokens[c.Subject] = []byte(token)
	}
	f := &effect.Foreteller{Importers: w, Accounts: w, Facts: &fakeFacts{}}
	got, err := f.Of(context.Background(), trial(w.tokens[r.account("").ID], pushed), effect.Options{})
	check(t, err)
	count := map[string]int{}
	for _, l := range got.Lines {
		count[string(l.Kind)+" "+l.Code]++
		if strings.ContainsAny(l.Words, "\n\x1b") {
			t.Errorf("the words are %q", l.Words)
		}
	}
	if count["stop import_stops"] != 1000 || count["unknown importers_not_asked"] != 1 || count[lost] != 1 {
		t.Errorf("foretold is %v", count)
	}
	last := got.Lines[len(got.Lines)-1]
	if i := slices.IndexFunc(got.Lines, func(l effect.Line) bool { return l.Kind == effect.Lost }); i < 0 ||
		!strings.Contains(got.Lines[i].Words, "and 1,000 more") {
		t.Errorf("%+v", last)
	}
}

// TestNothingIsClaimedOfSilentServers: what one has not said is not taken for nothing.
func TestNothingIsClaimedOfSilentServers(t *testing.T) {
	w := &world{op: jwttest.NewOperator(t), tokens: map[string][]byte{}}
	silent := facts.Info{Server: facts.Server{Name: "n2"}, Reason: "it did not answer in time"}
	for _, row := range []struct {
		infos          []facts.Info
		stored, pushed edit
		words          string
	}{
		{[]facts.Info{silent}, same, limits(func(l *jwt.OperatorLimits) { l.Conn = 0 }),
			"new connections are refused; it is not known how many there are now"},
		{[]facts.Info{info("n1", 1, 0), silent}, same, limits(func(l *jwt.OperatorLimits) { l.Conn = 5 }),
			"new connections above 5 are refused; at least 1 is known, which stays"},
		{[]facts.Info{info("n1", 0, 0)}, same, limits(func(l *jwt.OperatorLimits) { l.LeafNodeConn = 5 }),
			"new leaf nodes above 5 are refused; there is none now"},
		{[]facts.Info{info("n1", 2, 0)}, same, limits(func(l *jwt.OperatorLimits) { l.Conn = 0 }),
			"2 connections: there may be none"},
		{[]facts.Info{silent}, stores(), stores(func(l *jwt.OperatorLimits) { l.DiskStorage = megabyte }),
			"disk for streams 1 MiB, was 12 MiB; it is not known how much is used"},
		{[]facts.Info{silent}, stores(), same,
			"JetStream is off, streams are away until it is on again; it is not known how many there " +
				"are now"},
	} {
		f := &fakeFacts{infos: row.infos, stored: []facts.JetStream{{Reason: "it did not answer in time"}}}
		got := foretell(t, w, f, effect.Options{}, row.stored, row.pushed)
		if !slices.ContainsFunc(got.Lines, func(l effect.Line) bool { return l.Words == row.words }) {
			t.Errorf("want %q: %+v", row.words, got.Lines)
		}
	}
}
