package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// answer is what a nats-server says to a request. In all three texts, <ID> is its id, <A> the key
// of an account that it has loaded, <B> of one that it knows and <C> of one that it does not; <A1>
// … are JWTs of theirs, of which <A2> is newer than <A1>. "503" means that no server takes the
// subject.
type answer struct {
	subject, body string
	want          map[string]string // a part of the answer, by the kind of resolver
}

func all(s string) map[string]string { return by(s, s, s) }

// by is for answers that do not tell a resolver that asks by HTTP from one with every account
// preloaded.
func by(plain, full, cache string) map[string]string {
	return map[string]string{"URL": plain, "MEMORY": plain, "full": full, "cache": cache}
}

const (
	ping     = "$SYS.REQ.SERVER.PING"
	accountz = "$SYS.REQ.SERVER.<ID>.ACCOUNTZ"
	updateA  = "$SYS.ACCOUNT.<A>.CLAIMS.UPDATE"
	updateB  = "$SYS.ACCOUNT.<B>.CLAIMS.UPDATE"
	updateC  = "$SYS.ACCOUNT.<C>.CLAIMS.UPDATE"
	isA      = `{"account":"<A>"}`
	isB      = `{"account":"<B>"}`
	notJWT   = `resulted in error - expected 3 chunks"}`
)

// answers come in the order in which the requests are made.
var answers = []answer{
	{ping, "", all(`"name":"n1","host":"127.0.0.1","id":"<ID>","ver":"`)},
	{ping, "", all(`"active_servers":1`)},

	// An update is stored by a full resolver, and else skipped unless the account is
	// loaded. None minds that the JWT is older.
	{updateA, "<A2>", by(`"data":{"account":"<A>","code":200,"message":"jwt updated"}`,
		`"message":"jwt updated"`, `"message":"jwt updated cache"`)},
	{accountz, isA, all(`"jwt":"<A2>"`)},
	{updateA, "<A1>", by(`"message":"jwt updated"`, `"message":"jwt updated"`,
		`"message":"jwt updated cache"`)},
	{accountz, isA, all(`"jwt":"<A1>"`)},
	{updateB, "<B2>", by(`"message":"jwt update skipped"`, `"message":"jwt updated"`,
		`"message":"jwt update cache skipped"`)},
	{updateC, "<C1>", by(`"message":"jwt update skipped"`, `"message":"jwt updated"`,
		`"message":"jwt update cache skipped"`)},

	// What is no JWT, is damaged or is another account's is an error, whether the account is loaded
	// or not.
	{updateA, "garbage", by(`"error":{"account":"<A>","code":500,"description":"jwt update `+notJWT,
		`"error":{"account":"n/a","code":500,"description":"jwt update `+notJWT,
		`"code":500,"description":"jwt update cache `+notJWT)},
	{updateB, "garbage", all(`"code":500`)},
	{updateA, "<damaged>", all(" resulted in error - claim failed V2 signature verification")},
	{updateA, "<B2>", all(" resulted in error - subject does not match jwt content")},

	// What another operator signed is stored by a resolver with a directory, which says so, but not
	// applied.
	{updateA, "<foreign>", by("resulted in error - account validation failed",
		`"message":"jwt updated"`,
		`"message":"jwt updated cache"`)},
	{accountz, isA, all(`"jwt":"<A1>"`)},
	{updateA, "<A2>", all(`"code":200`)},

	// To ask for an account does not load it.
	{accountz, isB, all(`"data":null,"error":{"code":500,"description":"Account <B> does not exist"}`)},
	{accountz, isB, all(`"code":500`)},

	// Only a resolver with a directory answers these.
	{"$SYS.REQ.CLAIMS.LIST", "", by("503", `"<B>"`, `"<B>"`)},
	{"$SYS.REQ.ACCOUNT.<A>.CLAIMS.LOOKUP", "", by("503", "<A2>", "503")},
}

// later is when a user of B has come and B is loaded. "skipped" has proved nothing: the update is
// lost on a nats-server that can't ask for the JWT again.
var later = answer{accountz, isB, map[string]string{"URL": `"jwt":"<B2>"`, "MEMORY": `"jwt":"<B1>"`,
	"full": `"jwt":"<B2>"`, "cache": `"jwt":"<B1>"`}}

// TestNATSServersAnswerAsTheNotifierExpects holds what the notifier counts on against nats-servers
// of several lines. They answer alike, but for IDZ, which came with 2.10.
func TestNATSServersAnswerAsTheNotifierExpects(t *testing.T) {
	t.Parallel()
	const idz = `{"name":"n1","host":"127.0.0.1","id":"<ID>"}`
	wantOldNATS(t)
	for version, idz := range map[string]string{"v" + server.VERSION: idz, "v2.10.29": idz,
		"v2.9.25": "503"} {
		for kind := range resolvers {
			t.Run(version+"/"+kind, func(t *testing.T) {
				t.Parallel()
				newAsked(t, version, kind).check(answer{ping + ".IDZ", "", all(idz)})
			})
		}
	}
}

// asked is a nats-server that is asked, through the connection of a system user.
type asked struct {
	*nats.Conn
	t     *testing.T
	kind  string
	stop  func()
	names []string // <A>, its key, …
	b     *jwttest.Account
}

func newAsked(t *testing.T, version, kind string) *asked {
	t.Helper()
	op, dir := jwttest.NewOperator(t), t.TempDir()
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := func(of *jwttest.Account, age time.Duration) string {
		return string(jwttest.Sign(t, op.Signing, of, time.Now().Add(-age)))
	}
	a1, b1, b2, system := token(a, time.Hour), token(b, time.Hour), token(b, time.Minute),
		op.SystemAccount(t)
	s := &asked{t: t, kind: kind, b: b, names: []string{
		"<A>", a.ID, "<A1>", a1, "<A2>", token(a, time.Minute), "<B>", b.ID, "<B1>",
		b1, "<B2>", b2, "<C>",
		c.ID, "<C1>", token(c, time.Hour),
		"<damaged>", string(jwttest.Flip([]byte(token(a, time.Minute)))), "<foreign>",
		string(jwttest.NewOperator(t).Account(t, a)),
	}}
	web := serveAccounts(t, map[string][]byte{op.System.ID: system,
		a.ID: []byte(a1), b.ID: []byte(b2)})
	known := map[string][]byte{op.System.ID: system, a.ID: []byte(a1), b.ID: []byte(b1)}
	port := freePort(t)
	s.start(version, resolverConf(t, op, kind, web, dir+"/nats", port, known))
	s.Conn = s.connect(op.System, fmt.Sprintf("nats://127.0.0.1:%d", port))
	s.connect(a, s.ConnectedUrl())
	var pong struct{ Server struct{ ID string } }
	askNATS(t, s.Conn, ping, "", &pong)
	s.names = append(s.names, "<ID>", pong.Server.ID)
	return s
}

// serveAccounts is an account server for nats-servers that ask by HTTP.
func serveAccounts(t testing.TB, accounts map[string][]byte) (url string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(accounts[path.Base(r.URL.Path)])
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// start runs the current nats-server in this process, another version as a program.
func (s *asked) start(version, conf string) {
	s.t.Helper()
	if version == "v"+server.VERSION {
		n := natstest.Start(s.t, conf)
		s.stop = func() { natstest.Stop(n) }
		return
	}
	p := startNATS(s.t, oldBinary(s.t, version), conf)
	s.stop = func() { p.signal(syscall.SIGTERM); p.exited() }
}

func (s *asked) connect(a *jwttest.Account, url string) *nats.Conn {
	s.t.Helper()
	creds, _ := a.User(s.t)
	return natstest.Connect(s.t, url, creds, nats.NoReconnect())
}

// check asks everything and stops the nats-server, which says so.
func (s *asked) check(more ...answer) {
	s.t.Helper()
	for _, a := range append(more, answers...) {
		s.askNATS(a)
	}
	s.connect(s.b, s.ConnectedUrl())
	s.askNATS(later)
	farewell := make(chan *nats.Msg, 1)
	if _, err := s.ChanSubscribe("$SYS.SERVER.*.SHUTDOWN", farewell); err != nil {
		s.t.Fatal(err)
	}
	_ = s.Flush()
	s.stop()
	select {
	case <-farewell:
	case <-time.After(30 * time.Second):
		s.t.Error("it stops without a farewell")
	}
}

func (s *asked) askNATS(a answer) {
	s.t.Helper()
	fill := strings.NewReplacer(s.names...)
	got := "503"
	m, err := s.Request(fill.Replace(a.subject), []byte(fill.Replace(a.body)), 10*time.Second)
	if err == nil {
		got = string(m.Data)
	} else if !errors.Is(err, nats.ErrNoResponders) {
		s.t.Fatal(err)
	}
	if want := fill.Replace(a.want[s.kind]); want == "503" && got != "503" ||
		!strings.Contains(got, want) {
		s.t.Errorf("%s %s\ngot  %s\nwant %s", a.subject, a.body, got, want)
	}
}
