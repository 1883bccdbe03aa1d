package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/dryrun"
	"nats-account-server/internal/effect"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// tryPush sends a dry run and returns the status with its text, and what the answer says.
func tryPush(
	t *testing.T, address, key string, token []byte, headers string,
) (status string, answer dryrun.Answer) {
	t.Helper()
	got := ask(t, address, "POST /jwt/v1/accounts/"+key+"/dry-run?json"+headers+"\n\n"+string(token))
	head, body, _ := strings.Cut(got, "\n\n")
	status, _, _ = strings.Cut(head, "\n")
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Errorf("%v:\n%s", err, got)
	}
	return status, answer
}

// The ETag that a dry run has compared with is the one of the GET, and the one it shows of the pushed
// JWT is what the GET shows after the push.
func TestADryRunShowsTheETagsBeforeAndAfter(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	env.put(t, a)
	address, had := serve(t, env.api), env.etag(t, a)
	later := jwttest.Sign(t, env.op.Signing, a, env.now.Add(time.Minute))
	status, answer := tryPush(t, address, a.ID, later, "\nIf-Match: "+had)
	if status != "200 OK" || answer.Verdict != dryrun.Stored || answer.Status != 200 ||
		answer.Stored == nil || answer.Stored.ETag != had || answer.Account != a.ID {
		t.Fatalf("%s %+v", status, answer)
	}
	if sizes := env.audit.offered(); len(sizes) > 0 {
		t.Errorf("JWTs of %d bytes were offered", sizes)
	}
	got := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"\nIf-Match: \"other\", "+had+"\n\n"+string(later))
	if !strings.HasPrefix(got, "200 ") || env.etag(t, a) != answer.Pushed.ETag {
		t.Errorf("the ETag is %s, and was to be %s:\n%s", env.etag(t, a), answer.Pushed.ETag, got)
	}
	latest := jwttest.Sign(t, env.op.Signing, a, env.now.Add(2*time.Minute))
	got = ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"\nIf-Match: "+had+"\n\n"+string(latest))
	if !strings.HasPrefix(got, "412 ") || !strings.Contains(got, answer.Pushed.ETag) {
		t.Error(got)
	}
}

// A weak ETag does not say that the bytes are the same.
func TestAWeakETagIsNoMatch(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	env.put(t, a)
	later := string(jwttest.Sign(t, env.op.Signing, a, env.now.Add(time.Minute)))
	address, path := serve(t, env.api), "POST /jwt/v1/accounts/"+a.ID
	for header, want := range map[string]string{
		"If-Match: W/" + env.etag(t, a):      "412",
		"If-Match: nonsense":                 "412",
		"If-None-Match: W/" + env.etag(t, a): "412",
		"If-None-Match: \"x\"":               "200",
	} {
		if got := ask(t, address, path+"/dry-run\n"+header+"\n\n"+later); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", header, got)
		}
	}
}

func TestADryRunShowsWhatDiffers(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	address := serve(t, env.api)
	limited := func(c *jwt.AccountClaims) { c.Limits.Conn = 60 }
	later := jwttest.Sign(t, env.op.Signing, a, env.now.Add(time.Minute), limited)
	if _, answer := tryPush(t, address, a.ID, later, ""); len(answer.Changes) < 2 ||
		answer.Changes[0].Code != "account_added" || answer.Stored != nil {
		t.Errorf("%+v", answer)
	}
	env.put(t, a)
	_, answer := tryPush(t, address, a.ID, later, "")
	if len(answer.Changes) != 1 || answer.Changes[0].Field != "nats.limits.conn" {
		t.Errorf("%+v", answer)
	}
	text := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"/dry-run\n\n"+string(later))
	if !strings.Contains(text, "\n    ~ may open 60 connections, was unlimited\n") {
		t.Error(text)
	}
	anew := jwttest.Sign(t, env.op.Signing, a, env.now.Add(time.Minute))
	if _, answer := tryPush(t, address, a.ID, anew, ""); answer.Changes == nil || len(answer.Changes) > 0 {
		t.Errorf("%+v", answer)
	}
	// The claims of a JWT that its issuer has not signed are not shown.
	if _, answer := tryPush(t, address, a.ID, jwttest.Flip(later), ""); answer.Changes != nil {
		t.Errorf("%+v", answer)
	}
}

// noServers is an Asker without nats-servers.
func noServers() *facts.Asker {
	return facts.New(facts.Options{Servers: func() []facts.Server { return nil }})
}

// What nats-servers say is put together by package effect, with real ones.
func TestADryRunShowsEffects(t *testing.T) {
	env := newEnvironment(t, func(o *httpapi.Options) {
		store := jwtstore.NewMemory(false)
		o.Foreteller = &effect.Foreteller{Importers: store.Index(), Accounts: o.Accounts, Facts: noServers()}
	})
	a := jwttest.NewAccount(t)
	env.put(t, a, func(c *jwt.AccountClaims) { c.Limits.Streams = 5 })
	address := serve(t, env.api)
	later := jwttest.Sign(t, env.op.Signing, a, env.now.Add(time.Minute), func(c *jwt.AccountClaims) {
		c.Revoke("*")
	})
	_, answer := tryPush(t, address, a.ID, later, "")
	text := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"/dry-run\n\n"+string(later))
	if len(answer.Effects) == 0 || !strings.Contains(text, "  effect  ") {
		t.Errorf("%+v\n%s", answer, text)
	}
	for _, e := range answer.Effects {
		if !strings.Contains(text, string(e.Kind)) || !strings.Contains(text, e.Words) {
			t.Errorf("no %+v in %s", e, text)
		}
	}
	// What would not be stored has no effect.
	old := jwttest.Sign(t, env.op.Signing, a, env.now.Add(-time.Hour))
	if _, answer := tryPush(t, address, a.ID, old, ""); answer.Effects != nil {
		t.Errorf("%+v", answer)
	}
}

func TestADryRunForPeople(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	env.put(t, a)
	bad := jwttest.Sign(t, env.stranger.Key, a, env.now.Add(-time.Hour), func(c *jwt.AccountClaims) {
		c.Name = "two\nlines\x1b[31m"
		c.Expires = 1
	})
	got := ask(t, serve(t, env.api), "POST /jwt/v1/accounts/"+a.ID+"/dry-run\n\n"+string(bad))
	for _, want := range []string{
		"400 Bad Request", "Content-Type: text/plain; charset=utf-8",
		`two\nlines\x1b[31m  ` + a.ID[:8] + "…" + a.ID[52:],
		"would be refused with 400, nothing is stored",
		"refused by the rule\n    issuer      untrusted: ",
		"    newer       older: ", "    claims      expired: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// All faults are shown, however many there are.
func TestADryRunForPeopleHasEachFaultOnALine(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	bad := jwttest.Sign(t, env.op.Signing, a, env.now, func(c *jwt.AccountClaims) {
		for n := range 50 {
			c.Exports.Add(&jwt.Export{Subject: jwt.Subject(fmt.Sprintf("a..%02d", n)), Type: jwt.Service})
		}
	})
	address := serve(t, env.api)
	got := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"/dry-run\n\n"+string(bad))
	for n := range 50 {
		if want := fmt.Sprintf("subject \"a..%02d\" cannot contain consecutive `.`\n", n); !strings.Contains(
			got, want) {
			t.Fatalf("no %q in\n%s", want, got)
		}
	}
}

// A JWT of another account is compared with nothing, so nothing is said about what is stored.
func TestADryRunOfAnotherAccountsJWTComparesNothing(t *testing.T) {
	env := newEnvironment(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	env.put(t, a)
	env.put(t, b)
	address, token := serve(t, env.api), env.op.Account(t, b)
	if _, answer := tryPush(t, address, a.ID, token, ""); answer.Changes != nil || answer.Status != 400 {
		t.Errorf("%+v", answer)
	}
	got := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"/dry-run\n\n"+string(token))
	if strings.Contains(got, "nothing is stored for") || !strings.Contains(got, "account     mismatch: ") {
		t.Error(got)
	}
}

// What is stored and damaged is no account without anything.
func TestADryRunOverADamagedJWT(t *testing.T) {
	env := newEnvironment(t, func(o *httpapi.Options) {
		o.Foreteller = &effect.Foreteller{Importers: jwtstore.NewMemory(false).Index(), Accounts: o.Accounts,
			Facts: noServers()}
	})
	a := jwttest.NewAccount(t)
	env.store.put(a.ID, jwttest.Flip(env.op.Account(t, a)))
	address, token := serve(t, env.api), env.op.Account(t, a)
	_, answer := tryPush(t, address, a.ID, token, "")
	if answer.Verdict != dryrun.Stored || answer.Stored == nil || answer.Changes != nil ||
		!slices.ContainsFunc(answer.Effects, func(l effect.Line) bool { return l.Code == "stored_damaged" }) {
		t.Errorf("%+v", answer)
	}
	got := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"/dry-run\n\n"+string(token))
	if !strings.Contains(got, "what is stored is damaged") || strings.Contains(got, " is new") {
		t.Error(got)
	}
}

// Only what writers may do is refused with their words, and a dry run leaves no line in the audit.
func TestADryRunIsForWritersAndLimited(t *testing.T) {
	env := newEnvironment(t, guarded)
	a := jwttest.NewAccount(t)
	address := serve(t, env.api)
	token := string(env.op.Account(t, a))
	path := "POST /jwt/v1/accounts/" + a.ID + "/dry-run"
	for _, c := range []struct{ header, want string }{
		{"", "401"}, {"\nAuthorization: reader", "403"}, {"\nAuthorization: writer", "200"},
	} {
		if got := ask(t, address, path+c.header+"\n\n"+token); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: %s", c.header, got)
		}
	}
	for _, e := range env.audit.events {
		if e.Reason != "unauthorized" && e.Reason != "forbidden" || e.Account != a.ID {
			t.Errorf("audited is %+v", e)
		}
	}
	for range 100 {
		got := ask(t, address, path+"\nAuthorization: writer\n\n"+token)
		if strings.HasPrefix(got, "429 ") {
			if !strings.Contains(got, "\nRetry-After: 1\n") {
				t.Error(got)
			}
			return
		}
	}
	t.Error("a hundred dry runs at once were answered")
}

// A dry run is counted in the metrics, and not as a push in /varz.
func TestADryRunIsNoPush(t *testing.T) {
	s := newSite(t)
	a, address := jwttest.NewAccount(t), serve(t, s.api)
	token := s.op.Account(t, a)
	pushes := func() string {
		_, n, _ := strings.Cut(ask(t, address, "GET /varz"), `"in_pushes": `)
		n, _, _ = strings.Cut(n, ",")
		return n
	}
	before := pushes()
	if status, _ := tryPush(t, address, a.ID, token, ""); status != "200 OK" || pushes() != before {
		t.Errorf("%s: there were %s pushes, and are %s", status, before, pushes())
	}
	ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(token))
	if pushes() == before || before == "" {
		t.Errorf("a push is not counted: %q", before)
	}
}

// smallServer is a nats-server with 10 MB of disk, that stores 2 MB for each account.
type smallServer struct{}

func (smallServer) Info(context.Context, string) []facts.Info { return nil }

func (smallServer) Connections(context.Context, string, []facts.Server, ...string) []facts.Connections {
	return nil
}

func (smallServer) JetStream(context.Context, string) []facts.JetStream {
	return []facts.JetStream{{Server: facts.Server{Name: "n1"}, Disk: 2_000_000}}
}

func (smallServer) Capacity(context.Context, time.Duration) []facts.Capacity {
	return []facts.Capacity{{Server: facts.Server{Name: "n1"}, IsFixed: true,
		Has: facts.Storage{Memory: 10_000_000, Disk: 10_000_000}}}
}

// What a nats-server has for JetStream is compared with the limits by a dry run and by a push.
func TestLimitsOfJetStreamAreWarnedOf(t *testing.T) {
	s := newSite(t, func(o *httpapi.Options) {
		o.Foreteller = &effect.Foreteller{Importers: jwtstore.NewMemory(false).Index(), Accounts: o.Accounts,
			Facts: smallServer{}}
	})
	a, address := jwttest.NewAccount(t), serve(t, s.api)
	for n, row := range []struct {
		disk int64
		kind string
		text string
	}{
		{5_000_000, "", ""},
		{20_000_000, "incomplete", "JetStream limits: nats-server n1 acknowledges them and leaves them " +
			"out, JetStream is off: 20 MB of disk, it has 10 MB"},
		{1_000_000, "above_use", "more is used than the limit allows: 2 MB of disk is used, above the " +
			"limit of 1 MB: publishes to its streams fail, streams stay"},
	} {
		token := jwttest.Sign(t, s.op.Signing, a, time.Now().Add(time.Duration(n-5)*time.Minute),
			func(c *jwt.AccountClaims) { c.Limits.DiskStorage = row.disk })
		_, answer := tryPush(t, address, a.ID, token, "")
		var found []dryrun.Warning
		if row.kind != "" {
			found = []dryrun.Warning{{Kind: row.kind, Text: row.text}}
		}
		if !slices.Equal(answer.Warnings, found) {
			t.Errorf("%d: the dry run has %+v", row.disk, answer.Warnings)
		}
		pushed := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(token))
		if !strings.HasPrefix(pushed, "200 ") || strings.Contains(pushed, "warning: ") != (row.kind != "") ||
			!strings.Contains(pushed, row.text) {
			t.Errorf("%d: %s", row.disk, pushed)
		}
	}
	got := ask(t, address, "GET /metrics")
	for _, kind := range []string{"above_use", "incomplete"} {
		if !strings.Contains(got, `push_warnings_total{kind="`+kind+`"} 1`) {
			t.Errorf("%s is not counted", kind)
		}
	}
}

// What is answered by the header Accept says so in Vary, and a quality of 0 is none.
func TestWhatAcceptDecides(t *testing.T) {
	s := newSite(t)
	a := jwttest.NewAccount(t)
	s.put(t, a)
	address, token := serve(t, s.api), string(s.op.Account(t, a))
	const varies, text = "Vary: Origin, Accept", "Content-Type: text/plain"
	const json = "Content-Type: application/json"
	for accept, kind := range map[string]string{
		"":                                       text,
		"*/*":                                    text,
		"application/json":                       json,
		"text/html, Application/JSON;Q=0.5":      json,
		"application/json;q=0":                   text,
		"application/json; q=0.000, */*":         text,
		"text/plain, application/json;q=0.5":     text,
		"text/plain;q=0.5, application/json":     json,
		"application/json;q=x":                   json,
		"application/jsonp, x-application/json;": text,
	} {
		account := "/jwt/v1/accounts/" + a.ID
		for _, request := range []string{"GET " + account + "/impact\nAccept: " + accept,
			"POST " + account + "/dry-run\nAccept: " + accept + "\n\n" + token} {
			got := ask(t, address, request)
			if !strings.Contains(got, kind) || !strings.Contains(got, varies) {
				t.Errorf("%q: %s", accept, got)
			}
		}
	}
	for _, path := range []string{"/", "/accounts", "/accounts/" + a.ID, "/nowhere", "/metrics", "/help"} {
		for _, accept := range []string{"*/*", "text/html", "text/html;q=0"} {
			if got := ask(t, address, "GET "+path+"\nAccept: "+accept); !strings.Contains(got, varies) {
				t.Errorf("%s, %s: %.300s", path, accept, got)
			}
		}
	}
	if got := ask(t, address, "GET /\nAccept: text/html;q=0"); !strings.Contains(got, text) {
		t.Error(got)
	}
}
