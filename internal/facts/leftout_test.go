package facts_test

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// oneServer is a nats-server with 10 MB for JetStream, what it can fetch, and an Asker.
type oneServer struct {
	t     *testing.T
	op    *jwttest.Operator
	url   string // of clients
	sys   *nats.Conn
	asker *facts.Asker

	mu     sync.Mutex
	stored map[string][]byte
}

func newOneServer(t *testing.T, resolver string) *oneServer {
	s := &oneServer{t: t, op: jwttest.NewOperator(t), stored: map[string][]byte{}}
	s.stored[s.op.System.ID] = s.op.SystemAccount(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if token, found := s.stored[path.Base(r.URL.Path)]; found {
			_, _ = w.Write(token)
		} else if path.Base(r.URL.Path) != "accounts" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(web.Close)
	extra := natstest.AnyPort + "server_name: n1\njetstream { store_dir: \"" + t.TempDir() +
		"\", max_memory_store: 10000000, max_file_store: 10000000 }\n"
	conf := natstest.URLConf(t, s.op, web.URL+"/accounts/", extra)
	if resolver == "full" {
		conf = natstest.DirConf(t, s.op, "full", t.TempDir(), extra)
	}
	server := natstest.Start(t, conf)
	creds, _ := s.op.System.User(t)
	s.url, s.sys = server.ClientURL(), natstest.Connect(t, server.ClientURL(), creds)
	s.asker = serve(t, s.sys, identify(server)...)
	return s
}

// push stores a JWT and announces it. The nats-server must say that it has taken it.
func (s *oneServer) push(a *jwttest.Account, edits ...func(*jwt.AccountClaims)) {
	s.t.Helper()
	s.announce(a, s.op.Account(s.t, a, edits...))
}

// announce is push of a JWT.
func (s *oneServer) announce(a *jwttest.Account, token []byte) {
	s.t.Helper()
	s.mu.Lock()
	s.stored[a.ID] = token
	s.mu.Unlock()
	m, err := s.sys.Request("$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", token, 20*time.Second)
	if err != nil || !strings.Contains(string(m.Data), `"message":"jwt update`) {
		s.t.Fatalf("%v %s", err, m.Data)
	}
}

// leftOut connects a client to a new account, pushes the JWT and returns what is left out of it.
func (s *oneServer) leftOut(a *jwttest.Account, edits ...func(*jwt.AccountClaims)) string {
	s.t.Helper()
	s.push(a)
	creds, _ := a.User(s.t)
	natstest.Connect(s.t, s.url, creds)
	// Another name makes another JWT.
	s.push(a, append(edits, func(c *jwt.AccountClaims) { c.Name = "edited" })...)
	return s.now(a)
}

// now returns what is left out of the JWT that was pushed last.
func (s *oneServer) now(a *jwttest.Account) (text string) {
	s.t.Helper()
	s.mu.Lock()
	claims, err := jwt.DecodeAccountClaims(string(s.stored[a.ID]))
	s.mu.Unlock()
	if err != nil {
		s.t.Fatal(err)
	}
	natstest.Eventually(s.t, "it has loaded the account", func() bool {
		i := s.asker.Info(deadline(s.t, 5*time.Second), a.ID)[0]
		text = i.LeftOut(claims).String()
		return i.State == facts.Loaded
	})
	return text
}

// imports adds imports of streams.
func imports(from *jwttest.Account, subjects ...jwt.Subject) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) {
		for _, subject := range subjects {
			c.Imports.Add(&jwt.Import{Account: from.ID, Subject: subject, Type: jwt.Stream})
		}
	}
}

// TestANatsServerLeavesOutPartsAndSaysYes has a nats-server acknowledge JWTs, each for another cause, which
// are not wholly in effect.
func TestANatsServerLeavesOutPartsAndSaysYes(t *testing.T) {
	for _, resolver := range []string{"url", "full"} {
		t.Run(resolver, func(t *testing.T) {
			t.Parallel()
			s := newOneServer(t, resolver)
			exporter := jwttest.NewAccount(t)
			export := func(c *jwt.AccountClaims) {
				c.Exports.Add(&jwt.Export{Subject: "open.>", Type: jwt.Stream},
					&jwt.Export{Subject: "closed.>", Type: jwt.Stream, TokenReq: true},
					&jwt.Export{Subject: "svc.>", Type: jwt.Service})
			}
			s.push(exporter, export)
			token := func(a *jwttest.Account, expires time.Time) func(*jwt.AccountClaims) {
				act, _ := jwttest.Activation(t, exporter, a, time.Now().Add(-time.Hour),
					func(c *jwt.ActivationClaims) { c.ImportSubject, c.Expires = "closed.a", expires.Unix() })
				return func(c *jwt.AccountClaims) {
					imports(exporter, "closed.a")(c)
					c.Imports[0].Token = string(act)
				}
			}
			js := func(disk int64) func(*jwt.AccountClaims) {
				return func(c *jwt.AccountClaims) {
					c.Limits.JetStreamLimits.DiskStorage, c.Limits.JetStreamLimits.MemoryStorage = disk, 1000
				}
			}
			fresh := func() *jwttest.Account { return jwttest.NewAccount(t) }
			holder := fresh()
			for _, row := range []struct {
				name string
				a    *jwttest.Account
				edit func(*jwt.AccountClaims)
				want string
			}{
				{"nothing", fresh(), imports(exporter, "open.a", "open.b"), ""},
				{"nothing of services", fresh(), func(c *jwt.AccountClaims) {
					old := &jwt.Import{Account: exporter.ID, Subject: "mine.b", Type: jwt.Service}
					old.To = "svc.b" //lint:ignore SA1019 claims that were made long ago have it
					c.Imports.Add(old, &jwt.Import{Account: exporter.ID, Subject: "svc.a", Type: jwt.Service,
						LocalSubject: "mine.a"})
				}, ""},
				{"what is not exported", fresh(), imports(exporter, "open.a", "other"), `import of "other"`},
				{"many", fresh(), imports(exporter, "a", "b", "c", "d", "e"),
					`imports of "a", "b", "c" and 2 more`},
				{"an exporter that is not there", fresh(), imports(fresh(), "a"), `import of "a"`},
				{"no token", fresh(), imports(exporter, "closed.a"), `import of "closed.a"`},
				{"a token that has expired", holder, token(holder, time.Now().Add(-time.Minute)),
					`import of "closed.a"`},
				{"JetStream limits that fit", fresh(), js(1_000_000), ""},
				{"JetStream limits that do not", fresh(), js(100_000_000), "JetStream limits"},
				{"no JetStream", fresh(), func(*jwt.AccountClaims) {}, ""},
			} {
				if got := s.leftOut(row.a, row.edit); got != row.want {
					t.Errorf("%s: %q is left out, want %q", row.name, got, row.want)
				}
			}
			// What is not complete is looked at again, also if it is the same JWT.
			large := fresh()
			for range 3 {
				if got := s.leftOut(large, js(100_000_000)); got != "JetStream limits" {
					t.Errorf("it is pushed anew: %q is left out", got)
				}
				s.announce(large, s.stored[large.ID])
				if got := s.now(large); got != "JetStream limits" {
					t.Errorf("the same JWT is pushed again: %q is left out", got)
				}
			}
			if late := fresh(); s.leftOut(late, token(late, time.Now().Add(2*time.Second))) == "" {
				natstest.Eventually(t, "the token expires", func() bool {
					return s.now(late) == `import of "closed.a"`
				})
			}
			cycle(t, s)
			importer := fresh()
			if got := s.leftOut(importer, imports(exporter, "open.a")); got != "" {
				t.Errorf("%q is left out", got)
			}
			s.push(exporter)
			if got := s.now(importer); got != `import of "open.a"` {
				t.Errorf("the exporter exports nothing any more: %q is left out", got)
			}
			s.push(exporter, export, func(c *jwt.AccountClaims) { c.Name = "exporter again" })
			if got := s.now(importer); got != "" {
				t.Errorf("the exporter exports it again: %q is left out", got)
			}
		})
	}
}

// cycle has two accounts import from each other.
func cycle(t *testing.T, s *oneServer) {
	t.Helper()
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	export := func(c *jwt.AccountClaims) { c.Exports.Add(&jwt.Export{Subject: "c.>", Type: jwt.Stream}) }
	s.leftOut(a, export)
	s.leftOut(b, export)
	if got := s.leftOut(a, export, imports(b, "c.x")); got != "" {
		t.Errorf("%q is left out before the cycle is closed", got)
	}
	if got := s.leftOut(b, export, imports(a, "c.x")); got != `import of "c.x"` {
		t.Errorf("%q is left out of a cycle", got)
	}
}
