package httpapi_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/jwttest"
)

// fakeAuthorizer knows a reader and a writer by their header. Some other headers make it fail as a
// real authorizer does.
type fakeAuthorizer struct {
	everyClient auth.Role // what needs no header
	seen        []auth.Credentials
}

func (d *fakeAuthorizer) Authorize(_ context.Context, v auth.Credentials, need auth.Role) (string,
	error) {
	d.seen = append(d.seen, v)
	role := map[string]auth.Role{"": auth.Unauthenticated, "reader": auth.Reader,
		"writer": auth.Writer}
	switch {
	case need <= d.everyClient:
		return "", nil
	case v.Authorization == "":
		return "", auth.ErrNoCredentials
	case v.Authorization == "wrong":
		return "", auth.ErrBadCredentials
	case v.Authorization == "slowed":
		return "", &auth.RetryError{After: 1500 * time.Millisecond, Slowed: true}
	case v.Authorization == "busy":
		return "", &auth.RetryError{}
	case role[v.Authorization] < need:
		return "", auth.ErrForbidden
	}
	return v.Authorization, nil
}

func refusal(status, extra, text string) string {
	return fmt.Sprintf("%s\nContent-Length: %d\nContent-Type: text/plain\n%s%s\n%s\n", status,
		len(text)+1, extra, vary, text)
}

const wwwAuthenticate = "Www-Authenticate: Basic realm=\"nats-account-server\"\n"

var (
	unauthorized = strings.Replace(refusal("401 Unauthorized", "", "authorization required"), vary,
		vary+wwwAuthenticate, 1)
	wrong = strings.Replace(refusal("401 Unauthorized", "", "wrong user or password"), vary,
		vary+wwwAuthenticate, 1)
	forbidden = refusal("403 Forbidden", "", "not allowed for this user")
	slowed    = refusal("429 Too Many Requests", "Retry-After: 2\n",
		"too many failed logins from this address: try again in 2 s")
	busy = refusal("503 Service Unavailable", "Retry-After: 1\n",
		"too many logins at once: try again later")
)

var guardedRows = []row{
	{"the account", "GET /jwt/v1/accounts/$A", unauthorized},
	{"the account for a reader", "GET /jwt/v1/accounts/$A\nAuthorization: reader", serving},
	{"the account for a writer", "GET /jwt/v1/accounts/$A\nAuthorization: writer", serving},
	{"the account in text", "GET /jwt/v1/accounts/$A?text=true", unauthorized},
	{"the account's head", "HEAD /jwt/v1/accounts/$A", strings.TrimSuffix(unauthorized,
		"authorization required\n")},
	{"an unknown account", "GET /jwt/v1/accounts/$B", unauthorized},
	{"what is no key", "GET /jwt/v1/accounts/junk", unauthorized},
	{"a wrong password", "GET /jwt/v1/accounts/$A\nAuthorization: wrong", wrong},
	{"two headers are none",
		"GET /jwt/v1/accounts/$A\nAuthorization: reader\nAuthorization: writer", unauthorized},
	{"slowed down", "GET /jwt/v1/accounts/$A\nAuthorization: slowed", slowed},
	{"too busy", "GET /jwt/v1/accounts/$A\nAuthorization: busy", busy},
	{"the probe", "GET /jwt/v1/accounts", unauthorized},
	{"the probe with a slash", "GET /jwt/v1/accounts/", unauthorized},
	{"the probe for a reader", "GET /jwt/v1/accounts/\nAuthorization: reader", probe},
	{"the operator", "GET /jwt/v1/operator", unauthorized},
	{"the help", "GET /jwt/v1/help", unauthorized},
	{"a push", "POST /jwt/v1/accounts/$A\n\n$JWT", unauthorized},
	{"a push by a reader", "POST /jwt/v1/accounts/$A\nAuthorization: reader\n\n$JWT", forbidden},
	{"a push by a writer", "POST /jwt/v1/accounts/$A\nAuthorization: writer\n\n$JWT",
		"200 OK\nContent-Length: 43\nContent-Type: text/plain; charset=utf-8\n" + vary +
			"\nstored; acknowledged by 1 of 1 nats-server\n"},
	{"a push to what is no key", "POST /jwt/v1/accounts/junk\n\n$JWT", unauthorized},
	{"health is open", "GET /healthz", bare},
	{"health is open to a wrong password too", "GET /healthz\nAuthorization: wrong", bare},
	{"a preflight is open",
		"OPTIONS /jwt/v1/accounts/$A\nOrigin: http://a\nAccess-Control-Request-Method: " +
			"POST\nAccess-Control-Request-Headers: authorization",
		"204 No Content\nAccess-Control-Allow-Headers: " +
			"authorization\nAccess-Control-Allow-Methods: POST\nAccess-Control-Allow-Origin: " +
			"http://a\nVary: Origin, Access-Control-Request-Method, " +
			"Access-Control-Request-Headers\n\n"},
	{"OPTIONS is open", "OPTIONS /jwt/v1/help", strings.Replace(bare, "Content-Length",
		"Allow: GET, OPTIONS\nContent-Length", 1)},
	{"another method is another method", "DELETE /jwt/v1/accounts/$A", getAndPost + refused},
	{"an unknown path is unknown", "GET /nothing", nowhere("http://nas.example:9090/jwt/v1/help")},
}

func TestWhichRequestsNeedCredentials(t *testing.T) {
	env := newEnvironment(t, func(o *httpapi.Options) { o.Authorizer = &fakeAuthorizer{} })
	words := strings.NewReplacer(fill(t, env).words...)
	address := serve(t, env.api)
	for _, r := range guardedRows {
		t.Run(r.name, func(t *testing.T) {
			if got, want := ask(t, address, words.Replace(r.send)), words.Replace(r.want); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
	env.wantNoLine(t, "ERR")
	env.wantNoLine(t, "WRN")
}

// withOpenReading lets every client read.
func withOpenReading(o *httpapi.Options) {
	o.Authorizer = &fakeAuthorizer{everyClient: auth.Anonymous}
}

func TestReadingMayBeOpenWhilePushingIsNot(t *testing.T) {
	env := newEnvironment(t, withOpenReading)
	words := strings.NewReplacer(fill(t, env).words...)
	address := serve(t, env.api)
	for send, want := range map[string]string{
		"GET /jwt/v1/accounts/$A":                       serving,
		"GET /jwt/v1/accounts/$A\nAuthorization: wrong": serving,
		"GET /jwt/v1/accounts/":                         probe,
		"POST /jwt/v1/accounts/$A\n\n$JWT":              unauthorized,
	} {
		if got := ask(t, address, words.Replace(send)); got != words.Replace(want) {
			t.Errorf("%s\ngot:\n%s", send, got)
		}
	}
}

func TestTheUserOfAPushIsPartOfItsOrigin(t *testing.T) {
	for _, c := range []struct {
		authorizer httpapi.Authorizer
		want       string
	}{{&fakeAuthorizer{}, "writer"}, {&fakeAuthorizer{everyClient: auth.Writer}, ""}, {nil, ""}} {
		env := newEnvironment(t, func(o *httpapi.Options) { o.Authorizer = c.authorizer })
		a := jwttest.NewAccount(t)
		request := "POST /jwt/v1/accounts/" + a.ID + "\nAuthorization: writer\n\n" +
			string(env.op.Account(t, a))
		ask(t, serve(t, env.api), request)
		if e := env.audit.events; len(e) != 1 || e[0].Result != accounts.Accepted ||
			e[0].User != c.want {
			t.Errorf("%+v, want %q", e, c.want)
		}
	}
}

// The audit has what was to be stored: a push that is refused, and no dry run.
func TestADryRunThatIsRefusedIsNoPush(t *testing.T) {
	env := newEnvironment(t, func(o *httpapi.Options) { o.Authorizer = &fakeAuthorizer{} })
	a, address := jwttest.NewAccount(t), serve(t, env.api)
	path, token := "POST /jwt/v1/accounts/"+a.ID, "\n\n"+string(env.op.Account(t, a))
	for header, want := range map[string]string{"": unauthorized, "\nAuthorization: reader": forbidden} {
		if got := ask(t, address, path+"/dry-run"+header+token); got != want || len(env.audit.events) > 0 {
			t.Errorf("%+v\n%s", env.audit.events, got)
		}
	}
	ask(t, address, path+token)
	if e := env.audit.events; len(e) != 1 || e[0].Reason != "unauthorized" {
		t.Errorf("%+v", e)
	}
}

// An operator JWT with a password in it needs a login, even where everything else is open.
func TestAnOperatorJWTWithAPasswordIsForReadersOnly(t *testing.T) {
	const withoutLogins = "there is a password in the operator JWT, " +
		"and this server asks for no credentials"
	for _, c := range []struct {
		name       string
		authorizer httpapi.Authorizer
		header     string
		want       string
	}{
		{"without an authorizer", nil, "writer", refusal("403 Forbidden", "", withoutLogins)},
		{"without credentials", &fakeAuthorizer{everyClient: auth.Anonymous}, "", unauthorized},
		{"to a wrong password", &fakeAuthorizer{everyClient: auth.Anonymous}, "wrong", wrong},
		{"to a reader", &fakeAuthorizer{everyClient: auth.Anonymous}, "reader", "200 OK"},
		{"to a writer", &fakeAuthorizer{}, "writer", "200 OK"},
	} {
		env := newEnvironment(t, func(o *httpapi.Options) {
			o.Authorizer, o.Secret = c.authorizer, true
		})
		address := serve(t, env.api)
		for _, query := range []string{"", "?text=true", "?decode=true"} {
			request := "GET /jwt/v1/operator" + query
			if c.header != "" {
				request += "\nAuthorization: " + c.header
			}
			if got := ask(t, address, request); got != c.want &&
				(c.want != "200 OK" || !strings.HasPrefix(got, c.want)) {
				t.Errorf("%s%s:\n%s", c.name, query, got)
			}
		}
		env.wantNoLine(t, "ERR") // every client could fill the disk with them
	}
}

func TestTheAuthorizerSeesTheClient(t *testing.T) {
	d := &fakeAuthorizer{}
	env := newEnvironment(t, func(o *httpapi.Options) { o.Authorizer = d })
	r := httptest.NewRequest("GET", "https://x/jwt/v1/help", nil)
	r.TLS.PeerCertificates = []*x509.Certificate{{}, {}}
	env.api.ServeHTTP(httptest.NewRecorder(), r)
	if v := d.seen[0]; len(v.Certificates) != 2 || v.Address != r.RemoteAddr {
		t.Errorf("it sees %+v", v)
	}
}

// Nothing of an Authorization header is logged, however much is.
func TestNoCredentialsAreLogged(t *testing.T) {
	env := newEnvironment(t, withOpenReading)
	address := serve(t, env.api)
	header := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("someone:hush"))
	for _, request := range []string{
		"GET /jwt/v1/accounts/", "GET /jwt/v1/accounts/junk?decode=true",
		"POST /jwt/v1/accounts/junk", "GET /nothing", "DELETE /jwt/v1/help",
	} {
		ask(t, address, request+"\n"+header)
	}
	for _, line := range env.log.lines("") {
		if strings.Contains(line, "someone") || strings.Contains(line, "hush") ||
			strings.Contains(line, "Basic") || strings.Contains(line, "c29tZW9uZTpodXNo") {
			t.Errorf("logged: %s", line)
		}
	}
	if len(env.log.lines("TRC")) < 5 {
		t.Error("nothing is logged")
	}
}

// BenchmarkGetAuthorized is BenchmarkGetHandler with a header that the authorizer has in its cache.
func BenchmarkGetAuthorized(b *testing.B) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		b.Fatal(err)
	}
	policy := auth.Policy{Users: []auth.User{{Name: "u", Hash: string(hash), Role: auth.Reader}}}
	authorizer := auth.NewAuthorizer(policy, auth.NewLimiter(nil))
	env := newEnvironment(b)
	env.store.t = nil
	a := jwttest.NewAccount(b)
	env.put(b, a)
	api := httpapi.New(httpapi.Options{Accounts: env.registry, Authorizer: authorizer})
	r := httptest.NewRequest("GET", "/jwt/v1/accounts/"+a.ID, nil)
	r.SetBasicAuth("u", "right")
	b.ReportAllocs()
	for b.Loop() {
		api.ServeHTTP(discardWriter{http.Header{}}, r)
	}
}
