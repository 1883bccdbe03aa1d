package httpapi_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Answers that several rows have, as ask returns them.
const (
	vary     = "Vary: Origin\n"
	notFound = "404 Not Found\nContent-Length: 24\nContent-Type: text/plain\n" + vary +
		"\nno matching account JWT\n"
	serving = "200 OK\nCache-Control: max-age=0, stale-while-revalidate=3600, " +
		"stale-if-error=3600\nContent-Length: $LEN\nContent-Type: application/jwt\nEtag: $ETAG\n" +
		vary + "\n$JWT"
	servingE = "200 OK\nCache-Control: max-age=7199, stale-while-revalidate=3600, " +
		"stale-if-error=3600\nContent-Length: $ELEN\nContent-Type: application/jwt\nEtag: " +
		"$EETAG\n" + vary + "\n$EJWT"
	servingX = "200 OK\nCache-Control: max-age=0, stale-while-revalidate=3600, " +
		"stale-if-error=3600\nContent-Length: $XLEN\nContent-Type: application/jwt\nEtag: " +
		"$XETAG\n" + vary + "\n$XJWT"
	raw        = "200 OK\nContent-Length: $LEN\nContent-Type: text/plain\n" + vary + "\n$JWT"
	unmodified = "304 Not Modified\n" + vary + "\n"
	probe      = "200 OK\nCache-Control: no-cache, no-store, must-revalidate\nContent-Length: " +
		"0\nExpires: 0\nPragma: no-cache\n" + vary + "\n"
	bare       = "200 OK\nContent-Length: 0\n" + vary + "\n"
	onlyGet    = "405 Method Not Allowed\nAllow: GET, OPTIONS\n"
	getAndPost = "405 Method Not Allowed\nAllow: GET, OPTIONS, POST\n"
	refused    = "Content-Length: 19\nContent-Type: text/plain; charset=utf-8\n" + vary +
		"X-Content-Type-Options: nosniff\n\nMethod Not Allowed\n"
)

func plain(status, text string) string {
	return fmt.Sprintf("%s\nContent-Length: %d\nContent-Type: text/plain\n%s\n%s\n", status,
		len(text)+1, vary, text)
}

func page(status, text string) string {
	return fmt.Sprintf("%s\nContent-Length: %d\nContent-Type: text/plain; "+
		"charset=utf-8\n%sX-Content-Type-Options: nosniff\n\n%s\n",
		status, len(text)+1, vary, text)
}

func nowhere(hint string) string {
	hint = strings.ReplaceAll(hint, "$A", strings.Repeat("A", 56)) // for its length
	return page("404 Not Found", "404 page not found\nprobably meant: "+hint)
}

func moved(location string) string {
	body := `<a href="` + strings.ReplaceAll(location, "&", "&amp;") +
		"\">Moved Permanently</a>.\n\n"
	return fmt.Sprintf("301 Moved Permanently\nContent-Length: %d\nContent-Type: text/html; "+
		"charset=utf-8\nLocation: %s\n%s\n%s",
		len(body), location, vary, body)
}

// storedAccounts are the accounts of the rows: A never expires, E in two hours, X has expired, D is
// damaged, B is not stored.
type storedAccounts struct {
	a, b, e, x, d *jwttest.Account
	words         []string // for strings.NewReplacer
}

func fill(t testing.TB, env *environment) *storedAccounts {
	s := &storedAccounts{a: jwttest.NewAccount(t), b: jwttest.NewAccount(t),
		e: jwttest.NewAccount(t), x: jwttest.NewAccount(t), d: jwttest.NewAccount(t)}
	token := env.put(t, s.a)
	etoken := env.put(t, s.e, expiring(env.now.Add(2*time.Hour)))
	xtoken := env.put(t, s.x, expiring(env.now.Add(-time.Hour)))
	env.store.put(s.d.ID, []byte("this is no jwt\r\n"))
	_, u := jwttest.NewUser(t)
	s.words = []string{
		"$JWT", string(token), "$LEN", itoa(len(token)), "$ETAG", env.etag(t, s.a),
		"$EJWT", string(etoken), "$ELEN", itoa(len(etoken)), "$EETAG", env.etag(t, s.e),
		"$XJWT", string(xtoken), "$XLEN", itoa(len(xtoken)), "$XETAG", env.etag(t, s.x),
		"$OPJWT", env.op.Token(t), "$OPLEN", itoa(len(env.op.Token(t))),
		"$JTI", strings.Trim(env.etag(t, s.a), `"`),
		"$lower", strings.ToLower(s.a.ID), "$half", s.a.ID[:20], "$rest", s.a.ID[20:],
		"$A", s.a.ID, "$B", s.b.ID, "$E", s.e.ID, "$X", s.x.ID, "$D", s.d.ID, "$U", u,
	}
	return s
}

func expiring(at time.Time) func(*jwt.AccountClaims) {
	return func(c *jwt.AccountClaims) { c.Expires = at.Unix() }
}

type row struct {
	name, send, want string
}

var readRows = []row{
	{"a stored account is served as it is stored: if it never expires, with max-age=0",
		"GET /jwt/v1/accounts/$A", serving},
	{"an expiring account may be kept for the whole seconds that are left",
		"GET /jwt/v1/accounts/$E", servingE},
	{"an expired account is served with max-age=0", "GET /jwt/v1/accounts/$X", servingX},
	{"HEAD of an account is GET without the body", "HEAD /jwt/v1/accounts/$A",
		strings.TrimSuffix(serving, "$JWT")},
	{"HEAD of an unknown account is GET without the body", "HEAD /jwt/v1/accounts/$B",
		strings.TrimSuffix(notFound, "no matching account JWT\n")},
	{"HEAD of the probe", "HEAD /jwt/v1/accounts/", probe},
	{"HEAD of healthz", "HEAD /healthz", bare},
	{"an unknown account is 404", "GET /jwt/v1/accounts/$B", notFound},
	{"junk instead of a key is 404", "GET /jwt/v1/accounts/junk", notFound},
	{"a key in lower case is 404", "GET /jwt/v1/accounts/$lower", notFound},
	{"a user's key is 404", "GET /jwt/v1/accounts/$U", notFound},
	{"a key with something behind it is 404", "GET /jwt/v1/accounts/$A%20", notFound},
	{"a key with a line break within is 404", "GET /jwt/v1/accounts/$half%0a$rest", notFound},
	{"a NATS protocol line instead of a key is 404",
		"GET /jwt/v1/accounts/x%20y%200%0d%0a%0d%0aPUB%20pwned%205%0d%0ahello%0d%0aPUB%20x",
		notFound},
	{"a wildcard instead of a key is 404", "GET /jwt/v1/accounts/*", notFound},
	{"an escaped wildcard instead of a key is 404",
		"GET /jwt/v1/accounts/%3E?decode=true", notFound},
	{"a query within the key is 404", "GET /jwt/v1/accounts/$A%3Fnotify=true", notFound},
	{"two dots as a key are a key, no path", "GET /jwt/v1/accounts/..", notFound},

	{"look-up by jti is 501", "GET /jwt/v1/accounts/$A?jti=x", plain("501 Not Implemented",
		"lookup by jti is no longer supported")},
	{"an empty jti is none", "GET /jwt/v1/accounts/$A?jti=", serving},
	{"jti is looked at before the key", "GET /jwt/v1/accounts/junk?jti=x&text=true",
		plain("501 Not Implemented", "lookup by jti is no longer supported")},
	{"text=true gives the raw JWT", "GET /jwt/v1/accounts/$A?text=true", raw},
	{"a flag's value counts in any case", "GET /jwt/v1/accounts/$A?text=tRuE", raw},
	{"a flag's name counts in lower case only", "GET /jwt/v1/accounts/$A?TEXT=true", serving},
	{"1 is not true", "GET /jwt/v1/accounts/$A?text=1", serving},
	{"the first value counts", "GET /jwt/v1/accounts/$A?text=false&text=true", serving},
	{"text beats decode, If-None-Match and check",
		"GET /jwt/v1/accounts/$X?decode=true&text=true&check=true\nIf-None-Match: $XETAG",
		strings.NewReplacer("$LEN", "$XLEN", "$JWT", "$XJWT").Replace(raw)},
	{"text=true of an unknown account is 404", "GET /jwt/v1/accounts/$B?text=true", notFound},
	{"decode=true of an unknown account is 404", "GET /jwt/v1/accounts/$B?decode=true", notFound},
	{"a damaged file is 500", "GET /jwt/v1/accounts/$D", plain("500 Internal Server Error",
		"error loading JWT")},
	{"text=true shows a damaged file", "GET /jwt/v1/accounts/$D?text=true",
		plain("200 OK", "this is no jwt\r")},
	{"decode=true of a damaged file is 500", "GET /jwt/v1/accounts/$D?decode=true",
		plain("500 Internal Server Error", "error unmarshalling account claim header")},
	{"check=true of an expired account is an empty 404", "GET /jwt/v1/accounts/$X?check=true",
		"404 Not Found\nContent-Length: 0\n" + vary + "\n"},
	{"check=true of a valid account is nothing special",
		"GET /jwt/v1/accounts/$E?check=true", servingE},
	{"check=true of an account that never expires", "GET /jwt/v1/accounts/$A?check=TRUE", serving},
	{"check beats If-None-Match", "GET /jwt/v1/accounts/$X?check=true\nIf-None-Match: $XETAG",
		"404 Not Found\nContent-Length: 0\n" + vary + "\n"},
	{"a known ETag is 304", "GET /jwt/v1/accounts/$A\nIf-None-Match: $ETAG", unmodified},
	{"a weak ETag in a list is 304", "GET /jwt/v1/accounts/$A\nIf-None-Match: W/$ETAG, \"x\"",
		unmodified},
	{"an ETag in a second line is 304",
		"GET /jwt/v1/accounts/$A\nIf-None-Match: \"x\"\nIf-None-Match: $ETAG", unmodified},
	{"an ETag without quotes is no ETag", "GET /jwt/v1/accounts/$A\nIf-None-Match: $JTI", serving},
	{"a star is any ETag", "GET /jwt/v1/accounts/$A\nIf-None-Match: *", unmodified},
	{"a star is any text", "GET /jwt/v1/accounts/$A?text=true\nIf-None-Match: *", unmodified},
	{"a star is any decoded text",
		"GET /jwt/v1/accounts/$A?decode=true\nIf-None-Match: *", unmodified},
	{"a star is any pack", "GET /jwt/v1/pack\nIf-None-Match: *", unmodified},
	{"a star is any help page", "HEAD /jwt/v1/help\nIf-None-Match: *", unmodified},
	{"a star is any operator's text",
		"GET /jwt/v1/operator?text=true\nIf-None-Match: *", unmodified},
	{"a star is no account that is not stored",
		"GET /jwt/v1/accounts/$B\nIf-None-Match: *", notFound},
	{"a star is no damaged account", "GET /jwt/v1/accounts/$D\nIf-None-Match: *",
		plain("500 Internal Server Error", "error loading JWT")},
	{"a star changes no probe", "GET /jwt/v1/accounts/\nIf-None-Match: *", probe},
	{"a star changes no health", "GET /healthz\nIf-None-Match: *", bare},
	{"HEAD with a known ETag is 304", "HEAD /jwt/v1/accounts/$A\nIf-None-Match: $ETAG", unmodified},
	{"an absolute URL is served", "GET http://nas.example/jwt/v1/accounts/$A", serving},
	{"an escaped letter is that letter", "GET /jwt/v1/%61ccounts/$A", serving},

	{"the probe", "GET /jwt/v1/accounts/", probe},
	{"the probe without a slash", "GET /jwt/v1/accounts", probe},
	{"the probe ignores a query", "GET /jwt/v1/accounts/?jti=x&decode=true", probe},
	{"healthz", "GET /healthz", bare},
	{"the operator's JWT", "GET /jwt/v1/operator",
		"200 OK\nContent-Length: $OPLEN\nContent-Type: application/jwt\n" + vary + "\n$OPJWT"},
	{"a star is any operator's JWT", "GET /jwt/v1/operator\nIf-None-Match: *", unmodified},
	{"an ETag is none of the operator's", "GET /jwt/v1/operator\nIf-None-Match: $ETAG",
		"200 OK\nContent-Length: $OPLEN\nContent-Type: application/jwt\n" + vary + "\n$OPJWT"},
	{"the operator's JWT as text", "GET /jwt/v1/operator?decode=true&text=true",
		"200 OK\nContent-Length: $OPLEN\nContent-Type: text/plain\n" + vary + "\n$OPJWT"},
}

var routeRows = []row{
	{"PUT of an account is 405", "PUT /jwt/v1/accounts/$A", getAndPost + refused},
	{"DELETE of junk is 405", "DELETE /jwt/v1/accounts/junk", getAndPost + refused},
	{"PATCH of healthz is 405", "PATCH /healthz", onlyGet + refused},
	{"POST to the probe is 405", "POST /jwt/v1/accounts", onlyGet + refused},
	{"POST to the probe with a slash is 405", "POST /jwt/v1/accounts/", onlyGet + refused},
	{"POST to the operator is 405", "POST /jwt/v1/operator", onlyGet + refused},
	{"OPTIONS of an account", "OPTIONS /jwt/v1/accounts/$A",
		"200 OK\nAllow: GET, OPTIONS, POST\nContent-Length: 0\n" + vary + "\n"},
	{"OPTIONS of the help page", "OPTIONS /jwt/v1/help",
		"200 OK\nAllow: GET, OPTIONS\nContent-Length: 0\n" + vary + "\n"},
	{"OPTIONS of an unknown path is 404", "OPTIONS /nothing",
		nowhere("http://nas.example:9090/jwt/v1/help")},
	{"OPTIONS is not redirected", "OPTIONS /jwt/v1/help/",
		nowhere("http://nas.example:9090/jwt/v1/help")},
	{"OPTIONS of the server is a bare 200", "OPTIONS *", "200 OK\nContent-Length: 0\n\n"},

	{"a slash too much is 301", "GET /jwt/v1/help/", moved("/jwt/v1/help")},
	{"a slash too much behind a key is 301", "GET /jwt/v1/accounts/$A/",
		"301 Moved Permanently\nContent-Length: 108\nContent-Type: text/html; " +
			"charset=utf-8\nLocation: /jwt/v1/accounts/$A\n" + vary +
			"\n<a href=\"/jwt/v1/accounts/$A\">Moved Permanently</a>.\n\n"},
	{"HEAD with a slash too much is 301", "HEAD /healthz/", strings.Split(moved("/healthz"),
		"\n\n")[0] + "\n\n"},
	{"the probe with a double slash keeps its slash", "GET /jwt/v1//accounts/",
		moved("/jwt/v1/accounts/")},
	{"the probe with an escaped slash keeps its slash", "GET /jwt/v1/accounts/%2F",
		moved("/jwt/v1/accounts/")},
	{"HEAD of the probe with an escaped slash", "HEAD /jwt/v1/accounts/%2F",
		strings.Split(moved("/jwt/v1/accounts/"), "\n\n")[0] + "\n\n"},
	{"the probe with a double slash and none at its end", "GET /jwt/v1//accounts",
		moved("/jwt/v1/accounts")},
	{"a double slash is 301", "GET /jwt//v1/help", moved("/jwt/v1/help")},
	{"a double slash at the front is 301", "GET //jwt/v1/help", moved("/jwt/v1/help")},
	{"dots are 301", "GET /jwt/v1/accounts/../help", moved("/jwt/v1/help")},
	{"other case is 301", "GET /JWT/V1/Help", moved("/jwt/v1/help")},
	{"other case, dots and a slash at once are 301", "GET /x/..//JWT/v1/./HELP/",
		moved("/jwt/v1/help")},
	{"a query is kept", "GET /jwt/v1/accounts/abc/?text=true&x=%22",
		moved("/jwt/v1/accounts/abc?text=true&x=%22")},
	{"a query is kept in its order", "GET /healthz/?b=1&a=2&x", moved("/healthz?b=1&a=2&x")},
	{"a query that is no list of parameters is kept", "GET /healthz/?a;b=%zz&c=%20+",
		moved("/healthz?a;b=%zz&c=%20+")},
	{"what may not stand in a URL is escaped", "GET /jwt/v1//accounts/%22%3c%0d%0aX:%20y?a=\"<é",
		moved("/jwt/v1/accounts/%22%3C%0D%0AX:%20y?a=%22%3C%C3%A9")},
	{"POST with a slash too much is 307", "POST /jwt/v1/accounts/abc/\n\nbody",
		"307 Temporary Redirect\nContent-Length: 0\nLocation: /jwt/v1/accounts/abc\n" +
			vary + "\n"},
	{"POST is not redirected where there is no POST", "POST /jwt/v1/help/",
		nowhere("http://nas.example:9090/jwt/v1/help")},
	{"PUT is not redirected", "PUT /jwt/v1/accounts/abc/",
		nowhere("http://nas.example:9090/jwt/v1/accounts/<account public key>")},
	{"an escaped slash breaks the match", "GET /jwt/v1/accounts/a%2Fb",
		nowhere("http://nas.example:9090/jwt/v1/accounts/<account public key>")},
	{"a redirect never leaves this server", "GET //evil.example/..//jwt/v1/help",
		moved("/jwt/v1/help")},

	{"the root is 404", "GET /", nowhere("http://nas.example:9090/jwt/v1/help")},
	{"a bare key is 404 with the right URL", "GET /$A",
		nowhere("http://nas.example:9090/jwt/v1/accounts/$A")},
	{"a key on a wrong path is 404 with the right URL", "GET /jwt/v1/account/$A",
		nowhere("http://nas.example:9090/jwt/v1/accounts/$A")},
	{"POST of a key to a wrong path is 404 with the right URL", "POST /v1/accounts/$A\n\nbody",
		nowhere("http://nas.example:9090/jwt/v1/accounts/$A")},
	{"a nearly right path is 404 with the right URL", "GET /jwt/v1/account",
		nowhere("http://nas.example:9090/jwt/v1/accounts/<account public key>")},
	{"/health is 404 with the right URL", "GET /health",
		nowhere("http://nas.example:9090/healthz")},
	{"version 2 of the operator route does not exist", "GET /jwt/v2/operator",
		nowhere("http://nas.example:9090/jwt/v1/operator")},
	{"a hint repeats nothing strange", "GET /<script>%0d%0a\nHost: a%22b", nowhere("/jwt/v1/help")},
	{"an empty path is 404", "GET http://nas.example", nowhere("http://nas.example/jwt/v1/help")},

	{"CORS: an origin may read", "GET /healthz\nOrigin: http://ex.com",
		"200 OK\nAccess-Control-Allow-Origin: http://ex.com\nAccess-Control-Expose-Headers: " +
			"Authorization\nContent-Length: 0\n" + vary + "\n"},
	{"CORS: also a 404", "GET /jwt/v1/accounts/$B\nOrigin: http://ex.com", strings.Replace(notFound,
		"Content-Length",
		"Access-Control-Allow-Origin: http://ex.com\nAccess-Control-Expose-Headers: "+
			"Authorization\nContent-Length", 1)},
	{"CORS: a method that is not served gets nothing", "PUT /healthz\nOrigin: http://ex.com",
		onlyGet + refused},
	{"CORS: preflight",
		"OPTIONS /jwt/v1/accounts/$A\nOrigin: http://ex.com\nAccess-Control-Request-Method: " +
			"POST\nAccess-Control-Request-Headers: x-foo,content-type",
		"204 No Content\nAccess-Control-Allow-Headers: " +
			"x-foo,content-type\nAccess-Control-Allow-Methods: " +
			"POST\nAccess-Control-Allow-Origin: http://ex.com\nVary: Origin, " +
			"Access-Control-Request-Method, Access-Control-Request-Headers\n\n"},
	{"CORS: preflight of an unknown path",
		"OPTIONS /nothing\nOrigin: http://ex.com\nAccess-Control-Request-Method: GET",
		"204 No Content\nAccess-Control-Allow-Methods: GET\nAccess-Control-Allow-Origin: " +
			"http://ex.com\nVary: Origin, Access-Control-Request-Method, " +
			"Access-Control-Request-Headers\n\n"},
	{"CORS: preflight for a method that is not served",
		"OPTIONS /healthz\nOrigin: http://ex.com\nAccess-Control-Request-Method: DELETE",
		"204 No Content\nVary: Origin, Access-Control-Request-Method, " +
			"Access-Control-Request-Headers\n\n"},
	{"CORS: preflight without an origin", "OPTIONS /healthz\nAccess-Control-Request-Method: GET",
		"204 No Content\nVary: Origin, Access-Control-Request-Method, " +
			"Access-Control-Request-Headers\n\n"},
}

func TestReading(t *testing.T) { runRows(t, readRows) }
func TestRouting(t *testing.T) { runRows(t, routeRows) }

func runRows(t *testing.T, rows []row) {
	env := newEnvironment(t)
	words := strings.NewReplacer(fill(t, env).words...)
	address := serve(t, env.api)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			want := strings.ReplaceAll(r.want, strings.Repeat("A", 56), "$A")
			if got := ask(t, address, words.Replace(r.send)); got != words.Replace(want) {
				t.Errorf("\n%s\ngave\n%s\nwant\n%s", words.Replace(r.send), got,
					words.Replace(want))
			}
		})
	}
}

func TestWithoutAnOperatorItsRouteDoesNotExist(t *testing.T) {
	env := newEnvironment(t, withoutOperator)
	address := serve(t, env.api)
	want := nowhere("http://nas.example:9090/jwt/v1/help")
	for _, method := range []string{"GET", "OPTIONS"} {
		if got := ask(t, address, method+" /jwt/v1/operator"); got != want {
			t.Errorf("%s gave\n%s", method, got)
		}
	}
}

func TestHelpSpeaksOfEveryRoute(t *testing.T) {
	env := newEnvironment(t)
	got := ask(t, serve(t, env.api), "GET /jwt/v1/help")
	if !strings.Contains(got, "Content-Type: text/plain\n") ||
		!strings.Contains(got, "\n\n\n# NATS Account Server JWT API HELP\n") {
		t.Errorf("the page begins otherwise:\n%s", got)
	}
	for _, route := range []string{
		"GET /jwt/v1/help", "GET /jwt/v1/openapi.json", "GET /healthz",
		"GET /jwt/v1/operator", "GET /jwt/v1/accounts/",
		"GET /jwt/v1/accounts/<account key>", "POST /jwt/v1/accounts/<account key>",
	} {
		if !strings.Contains(got, "\n## "+route+"\n") {
			t.Errorf("no heading for %s", route)
		}
	}
}

func TestNotify(t *testing.T) {
	for _, c := range []struct {
		name, send, status string
		announced          int
	}{
		{"announces once more", "GET /jwt/v1/accounts/$A?notify=true", "200 OK", 1},
		{"is kept from happening by a 304",
			"GET /jwt/v1/accounts/$A?notify=true\nIf-None-Match: $ETAG", "304 Not Modified", 0},
		{"is kept from happening by a star",
			"GET /jwt/v1/accounts/$A?notify=true\nIf-None-Match: *", "304 Not Modified", 0},
		{"has no effect with text", "GET /jwt/v1/accounts/$A?notify=true&text=true", "200 OK", 0},
		{"has no effect with decode",
			"GET /jwt/v1/accounts/$A?notify=true&decode=true", "200 OK", 0},
		{"has no effect on an expired account that is checked",
			"GET /jwt/v1/accounts/$X?notify=true&check=true", "404 Not Found", 0},
		{"has no effect on an unknown account", "GET /jwt/v1/accounts/$B?notify=true",
			"404 Not Found", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnvironment(t)
			words := strings.NewReplacer(fill(t, env).words...)
			got := ask(t, serve(t, env.api), words.Replace(c.send))
			if status, _, _ := strings.Cut(got, "\n"); status != c.status ||
				len(env.announcer.announced) != c.announced {
				t.Errorf("%s, announced %d times", status, len(env.announcer.announced))
			}
		})
	}
}

func TestNotifyThatCannotBeStoredIs500(t *testing.T) {
	env := newEnvironment(t)
	words := strings.NewReplacer(fill(t, env).words...)
	env.store.touchErr = errDisk
	got := ask(t, serve(t, env.api), words.Replace("GET /jwt/v1/accounts/$A?notify=true"))
	if want := plain("500 Internal Server Error", "error sending notification of change"); got != want {
		t.Errorf("gave\n%s", got)
	}
	env.wantLine(t, "ERR",
		words.Replace("$A")[:12]+" - error sending notification of change - "+errDisk.Error())
}

func TestNotifyWithoutNATSIsServed(t *testing.T) {
	env := newEnvironment(t)
	words := strings.NewReplacer(fill(t, env).words...)
	env.announcer.delivery = accounts.Delivery{}
	got := ask(t, serve(t, env.api), words.Replace("GET /jwt/v1/accounts/$A?notify=true"))
	if got != words.Replace(serving) {
		t.Errorf("gave\n%s", got)
	}
}

func TestAStoreThatCannotBeReadIs503(t *testing.T) {
	env := newEnvironment(t)
	words := strings.NewReplacer(fill(t, env).words...)
	env.store.loadErr = errDisk
	address := serve(t, env.api)
	for _, query := range []string{"", "?text=true", "?decode=true"} {
		got := ask(t, address, words.Replace("GET /jwt/v1/accounts/$A"+query))
		if want := plain("503 Service Unavailable", "error loading JWT"); got != want {
			t.Errorf("%q gave\n%s", query, got)
		}
	}
	env.wantLine(t, "ERR", words.Replace("$A")[:12]+" - error loading JWT - "+errDisk.Error())
}
