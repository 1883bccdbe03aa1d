package resolver_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// signing is what becomes of a JWT that the operator did not sign.
type signing struct {
	name   string
	posted []byte
	signer func(m *nats.Msg) // nil: there is no signing service
	status int
	body   string
	stored []byte // afterwards; nil: what was
}

// failure is how the answer to a signing that failed begins.
const failure = "Failure during signature request. "

func TestTheSigningService(t *testing.T) {
	t.Parallel()
	env := startEnvironment(t)
	srv := startServer(t, env)
	web := httptest.NewServer(httpapi.New(httpapi.Options{Accounts: srv.registry}))
	t.Cleanup(web.Close)
	a, other, fresh := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	stored := env.signed(t, a, 100)
	srv.push(t, a.ID, stored)
	own := jwttest.Sign(t, a.Key, a, time.Now())
	bySigning := jwttest.Sign(t, other.Key, a, time.Now())
	good := env.signed(t, a, 50)
	broken, foreign, othersJWT := jwttest.Flip(good), jwttest.NewOperator(t).Account(t,
		a), env.signed(t, other, 0)
	reply := func(data []byte) func(*nats.Msg) { return func(m *nats.Msg) { _ = m.Respond(data) } }
	for _, c := range []signing{
		{"there is no signing service", own, nil, 500, failure +
			"Try again at a later time. Error: nats: no responders available for request\n", nil},
		{"it does not answer", own, func(*nats.Msg) {}, 500,
			failure + "signing service unavailable.\n", nil},
		{"it answers with a text", own, reply([]byte("come back later")), 202,
			"come back later", nil},
		{"it answers with an empty text", own, reply(nil), 202, "", nil},
		{"it answers with a broken JWT", own, reply(broken), 202, string(broken), nil},
		{"it sends the same back", own, reply(own), 400, "Signing service not enabled\n", nil},
		{"another operator signs", own, reply(foreign), 400, "untrusted issuer in request\n", nil},
		{"an account signs", own, reply(bySigning), 400, "Bad JWT Issuer in request\n", nil},
		{"it signs for another subject", own, reply(othersJWT), 400, "pub keys don't match\n", nil},
		{"it signs an older one", own, reply(env.signed(t, a, 200)), 409, "", nil},
		{"the posted one is another's", bySigning, reply(good), 400,
			"bad JWT issuer is not trusted\n", nil},
		{"the posted one is another's, of an unknown account", jwttest.Sign(t, other.Key, fresh,
			time.Now()),
			reply(good), 400, "bad JWT Issuer/Subject pair in request\n", nil},
		{"the posted one is broken", jwttest.Flip(own), reply(good), 400,
			"bad JWT in request\n", nil},
		{"it signs", own, reply(good), 200, "", good},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := time.Minute // on a busy machine an answer takes long
			if c.name == "it does not answer" {
				timeout = 100 * time.Millisecond
			}
			srv.client.SetSigning("sign.me", timeout)
			if c.signer != nil {
				sub, err := srv.nc.Subscribe("sign.me", func(m *nats.Msg) {
					if !bytes.Equal(m.Data, c.posted) || len(m.Header) > 0 {
						t.Errorf("it was asked to sign %q %v", m.Data, m.Header)
					}
					c.signer(m)
				})
				if err != nil {
					t.Fatal(err)
				}
				defer sub.Unsubscribe()
				srv.nc.Flush()
			}
			key := a.ID
			if strings.Contains(c.name, "unknown account") {
				key = fresh.ID
			}
			status, body := post(t, web.URL+"/jwt/v1/accounts/"+key, c.posted)
			if status != c.status || !strings.HasPrefix(body, c.body) ||
				c.status == 202 && body != c.body {
				t.Errorf("%d %q", status, body)
			}
			if c.stored != nil {
				stored = c.stored
			}
			if !srv.has(a.ID, stored) {
				t.Error("it is not what is stored")
			}
		})
	}
	if _, err := srv.registry.GetLocal(t.Context(), other.ID); err == nil {
		t.Error("the other subject is stored")
	}
	if n := srv.log.Count("Initiated JWT signing process for "); n != 3 {
		t.Errorf("%d lines about initiated signing", n)
	}
}

func post(t *testing.T, url string, body []byte) (status int, text string) {
	t.Helper()
	r, err := http.Post(url, "application/jwt", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestSigningWithoutNATSFailsAtOnce(t *testing.T) {
	t.Parallel()
	srv := newServer(t, startEnvironment(t), jwtstore.NewMemory(true))
	web := httptest.NewServer(httpapi.New(httpapi.Options{Accounts: srv.registry}))
	t.Cleanup(web.Close)
	a := jwttest.NewAccount(t)
	own := jwttest.Sign(t, a.Key, a, time.Now())
	for subject, want := range map[string]string{
		"": "Signing service not enabled\nthe operator must sign it, for " +
			"instance with nsc push\n",
		"sign.me": failure + "nats-server unavailable.\n",
	} {
		srv.client.SetSigning(subject, time.Minute)
		if _, body := post(t, web.URL+"/jwt/v1/accounts/"+a.ID, own); body != want {
			t.Errorf("%q: %q", subject, body)
		}
	}
}
