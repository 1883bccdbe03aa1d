package facts_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// serve has an Asker ask through a connection until the test ends.
func serve(t *testing.T, conn facts.Conn, servers ...facts.Server) *facts.Asker {
	t.Helper()
	a := facts.New(facts.Options{Servers: func() []facts.Server { return servers }})
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { a.Serve(ctx, conn) })
	t.Cleanup(func() { cancel(); serving.Wait() })
	return a
}

// identify returns how nats-servers are known.
func identify(servers ...*server.Server) (all []facts.Server) {
	for _, s := range servers {
		all = append(all, facts.Server{Name: s.Name(), ID: s.ID()})
	}
	return all
}

// deadline is a context that ends soon enough for a test to notice.
func deadline(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// TestInfoOfRealServers tells what is loaded where, and what of it does not work.
func TestInfoOfRealServers(t *testing.T) {
	o := jwttest.NewOperator(t)
	exporter, importer := jwttest.NewAccount(t), jwttest.NewAccount(t)
	servers := natstest.Cluster(t, 2, func(extra string) string {
		return natstest.DirConf(t, o, "full", t.TempDir(), extra)
	})
	creds, _ := o.System.User(t)
	sys := natstest.Connect(t, servers[0].ClientURL(), creds)
	push := func(a *jwttest.Account, edits ...func(*jwt.AccountClaims)) {
		for _, s := range servers {
			subject := fmt.Sprintf("$SYS.REQ.ACCOUNT.%s.CLAIMS.UPDATE", a.ID)
			m, err := natstest.Connect(t, s.ClientURL(), creds).Request(subject, o.Account(t, a, edits...),
				20*time.Second)
			if err != nil || !strings.Contains(string(m.Data), "jwt updated") {
				t.Fatalf("%v %s", err, m.Data)
			}
		}
	}
	push(exporter)
	push(importer, func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Account: exporter.ID, Subject: "orders.>", Type: jwt.Stream})
	})
	user, _ := importer.User(t)
	natstest.Connect(t, servers[1].ClientURL(), user)
	a := serve(t, sys, identify(servers...)...)
	var got []facts.Info
	natstest.Eventually(t, "the Asker has a connection", func() bool {
		got = a.Info(deadline(t, 5*time.Second), importer.ID)
		return got[0].Reason != "NATS is not connected"
	})
	if len(got) != 2 || got[0].Server.Name != "n1" || got[0].State != facts.NotLoaded {
		t.Errorf("n1 has not loaded the account: %+v", got)
	}
	if n2 := got[1]; n2.State != facts.Loaded || n2.Complete || n2.Clients != 1 || n2.JWT == [32]byte{} {
		t.Errorf("n2 has loaded it, and it is not complete: %+v", n2)
	}
	for i, c := range a.Connected(deadline(t, 5*time.Second), []string{importer.ID, jwttest.AccountKey(t)}) {
		want := map[string]int{}
		if c.Server.Name == "n2" {
			want[importer.ID] = 1
		}
		if c.Reason != "" || !maps.Equal(c.ByAccount, want) {
			t.Errorf("%d: %+v", i, c)
		}
	}
	if z, err := servers[0].Accountz(nil); err != nil || slices.Contains(z.Accounts, importer.ID) {
		t.Errorf("to ask n1 has made it load the account: %v", err)
	}
}

// fakeConn answers each request with what reply returns.
type fakeConn struct {
	handle nats.MsgHandler
	reply  func(subject string, data []byte) []string
}

func (*fakeConn) NewInbox() string { return "_INBOX.x" }

func (c *fakeConn) Subscribe(_ string, handle nats.MsgHandler) (*nats.Subscription, error) {
	c.handle = handle
	return nil, nil
}

func (c *fakeConn) PublishRequest(subject, reply string, data []byte) error {
	for _, body := range c.reply(subject, data) {
		m := &nats.Msg{Subject: reply, Data: []byte(body)}
		if body == "503" {
			m = &nats.Msg{Subject: reply, Header: nats.Header{"Status": []string{"503"}}}
		}
		c.handle(m)
	}
	return nil
}

// from is an answer of the nats-server with an id.
func from(id, rest string) string { return fmt.Sprintf(`{"server":{"name":"n","id":%q},%s}`, id, rest) }

// TestHostileAnswersAreRefused, with the reason.
func TestHostileAnswersAreRefused(t *testing.T) {
	key := jwttest.AccountKey(t)
	data := func(more string) string {
		return fmt.Sprintf(`"data":{"account_name":%q,"client_connections":1%s}`, key, more)
	}
	many := strings.Repeat(`{"subject":"a","invalid":true},`, 100_000)
	for _, row := range []struct {
		name    string
		answers []string
		state   facts.State
		reason  string // part of it
	}{
		{"a good one", []string{from("N1", data(""))}, facts.Loaded, ""},
		{"only the first counts", []string{from("N1", data("")), from("N1", `"error":{}`)}, facts.Loaded, ""},
		{"it is not loaded", []string{from("N1", `"error":{"description":"Account X does not exist"}`)},
			facts.NotLoaded, ""},
		{"no answer", nil, facts.Unknown, "in time"},
		{"of another server", []string{from("N2", data(""))}, facts.Unknown, "in time"},
		{"of no server", []string{`{"data":{}}`, ``, `[`, `{"server":7}`}, facts.Unknown, "in time"},
		{"nothing takes the request", []string{"503"}, facts.Unknown, "system account"},
		{"an error", []string{from("N1", `"error":{"description":"no\n[ERR] x"}`)},
			facts.Unknown, `no\n[ERR] x`},
		{"no data", []string{from("N1", `"x":1`)}, facts.Unknown, "neither"},
		{"not JSON", []string{from("N1", `"data":{`)}, facts.Unknown, "not the JSON"},
		{"another type", []string{from("N1", data(`,"complete":"\u0000yes"`))},
			facts.Unknown, "field complete"},
		{"a list that is none", []string{from("N1", data(`,"imports":{"a":1}`))}, facts.Unknown, "malformed"},
		{"another account", []string{from("N1", `"data":{"account_name":"A"}`)},
			facts.Unknown, "another account"},
		{"a negative number", []string{from("N1", data(`,"subscriptions":-5`))}, facts.Unknown, "-5"},
		{"a huge number", []string{from("N1", data(`,"leafnode_connections":4000000000`))},
			facts.Unknown, "4000000000"},
		{"too large", []string{from("N1", data(`,"x":"`+strings.Repeat("x", 17<<20)+`"`))},
			facts.Unknown, "too large"},
		{"very many imports", []string{from("N1", data(`,"imports":[`+many+`{}]`))}, facts.Loaded, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			conn := &fakeConn{reply: func(string, []byte) []string { return row.answers }}
			a := serve(t, conn, facts.Server{Name: "n1", ID: "N1"})
			var got []facts.Info
			natstest.Eventually(t, "the Asker has a connection", func() bool {
				got = a.Info(deadline(t, 200*time.Millisecond), key)
				return got[0].Reason != "NATS is not connected"
			})
			i := got[0]
			if len(got) != 1 || i.State != row.state || !strings.Contains(i.Reason, row.reason) {
				t.Errorf("%+v", got)
			}
			if row.name == "very many imports" && (len(i.Imports) > 5000 || !i.MoreImports) {
				t.Errorf("%d imports are kept", len(i.Imports))
			}
			if encoded, _ := json.Marshal(i.Reason); len(encoded) > 400 {
				t.Errorf("a reason of %d bytes", len(encoded))
			}
		})
	}
}

// TestHostileCountsAreRefused, and those of accounts that were not asked for are left out.
func TestHostileCountsAreRefused(t *testing.T) {
	const list = `"data":{"account_statz":[{"acc":"A","total_conns":%s},{"acc":"B","total_conns":7}]}`
	for number, reason := range map[string]string{"3": "", "-1": "impossible", "1000000000": "impossible",
		`"3"`: "another type", "3}": "not the JSON"} {
		a, n1 := ready(t, &fakeConn{reply: func(subject string, _ []byte) []string {
			if subject != "$SYS.REQ.ACCOUNT.PING.STATZ" {
				return nil
			}
			return []string{from("N1", fmt.Sprintf(list, number))}
		}})
		got := a.Connected(deadline(t, 5*time.Second), []string{"A"})
		if len(got) != len(n1) || !strings.Contains(got[0].Reason, reason) {
			t.Fatalf("%s: %+v", number, got)
		}
		if reason == "" && !maps.Equal(got[0].ByAccount, map[string]int{"A": 3}) {
			t.Errorf("%s: %+v", number, got)
		}
	}
}

// TestWithoutAServerNothingIsAsked: there is no answer to wait for.
func TestWithoutAServerNothingIsAsked(t *testing.T) {
	requests := 0
	conn := &fakeConn{reply: func(string, []byte) []string { requests++; return nil }}
	none := []facts.Server{}
	a := facts.New(facts.Options{Servers: func() []facts.Server { return none }})
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { a.Serve(ctx, conn) })
	defer serving.Wait()
	defer cancel()
	natstest.Eventually(t, "the Asker has a connection", func() bool {
		none = []facts.Server{{Name: "n1", ID: "N1"}}
		defer func() { none = nil }()
		return a.Info(deadline(t, time.Millisecond), "A")[0].Reason != "NATS is not connected"
	})
	requests = 0
	if got := a.Info(t.Context(), "A"); len(got) > 0 || requests > 0 {
		t.Errorf("%d requests, %+v", requests, got)
	}
}
