package main_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

// Headers and bodies that come up again and again.
const (
	bareText = "Content-Type: text/plain\n"
	// The original has only the first line.
	signingRefused = "Signing service not enabled\nthe operator must sign it, for " +
		"instance with nsc push\n"
	// What is decoded may have any characters in it, so it has a charset, unlike the original's.
	decodedText = "Content-Type: text/plain; charset=utf-8\n"
	pageText    = "Content-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\n"
	probeHead   = "Cache-Control: no-cache, no-store, must-revalidate\nExpires: 0\nPragma: " +
		"no-cache\nVary: Origin\nContent-Length: 0"
	unknown  = "no matching account JWT\n"
	noMethod = "Method Not Allowed\n"
)

// storedAccounts is the program with a store in which lie A, which never expires; E, which expires
// in 199,999 seconds; X, which has expired; D, a damaged file; F, in whose file A's JWT stands. B is not
// there, and U is a user's key with a file.
func storedAccounts(t *testing.T) (url string, known words, s *testEnv) {
	t.Helper()
	s = newEnv(t, "", "")
	var accounts [7]*jwttest.Account
	for i := range accounts {
		accounts[i] = jwttest.NewAccount(t)
	}
	a, b, e, x, d, f, n := accounts[0], accounts[1], accounts[2], accounts[3],
		accounts[4], accounts[5], accounts[6]
	nameless := jwt.NewAccountClaims(n.ID)
	nameless.Issuer, nameless.IssuedAt, nameless.Type, nameless.Version = s.op.ID,
		time.Now().Unix(), jwt.AccountClaim, 2
	without := jwttest.Encode(t, s.op.Key, nameless)
	_, u := jwttest.NewUser(t)
	token := s.op.Account(t, a)
	expiring := jwttest.Sign(t, s.op.Signing, e, time.Now(), func(c *jwt.AccountClaims) {
		c.Expires = time.Now().Add(199_999 * time.Second).Unix()
	})
	expired := jwttest.Sign(t, s.op.Signing, x, time.Now(), func(c *jwt.AccountClaims) {
		c.Expires = time.Now().Add(-time.Hour).Unix()
	})
	for key, content := range map[string][]byte{a.ID: token, e.ID: expiring, x.ID: expired,
		d.ID: []byte("this is no jwt"), f.ID: token, u: token, n.ID: without} {
		writeFile(t, filepath.Join(s.dir, "store", key[54:], key+".jwt"), content)
	}
	_, url = s.start(t)
	known = words{"$ATOKEN", string(token), "$ETOKEN", string(expiring), "$XTOKEN", string(expired),
		"$OPTOKEN", s.op.Token(t),
		"$AETAG", etagOf(t, url, a.ID), "$XETAG", etagOf(t, url, x.ID), "$JTI", jtiOf(t, token),
		"$A", a.ID, "$B", b.ID, "$E", e.ID, "$X", x.ID, "$D", d.ID, "$NTOKEN",
		string(without), "$N", n.ID,
		"$F", f.ID, "$U", u, "$lower", strings.ToLower(a.ID)}
	return url, known, s
}

func etagOf(t *testing.T, url, key string) string {
	t.Helper()
	answer, err := http.Get(url + "/jwt/v1/accounts/" + key)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.Header.Get("Etag")
}

func jtiOf(t *testing.T, token []byte) string {
	t.Helper()
	c, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func overHTTP(t *testing.T) []behaviour {
	url, known, _ := storedAccounts(t)
	all := requests(url, known, []request{
		{"every answer has Vary and Date, and no Server", "GET /healthz", "200 OK",
			"Vary: Origin\nDate: *\n!Server: *", ""},
		{"an unknown path", "GET /nothing", "404 Not Found", pageText, "404 page not found\n*"},
		{"other letter case is a redirect", "GET /JWT/v1/help", "301 Moved Permanently",
			"Location: /jwt/v1/help", "<a href=\"/jwt/v1/help\">Moved Permanently</a>.\n\n"},
		{"other letter case before a key is a redirect too", "GET /JWT/v1/Accounts/$A",
			"301 Moved Permanently", "Location: /jwt/v1/accounts/$A", "*"},
		{"and before a hash", "GET /JWT/v1/Activations/AAAA", "301 Moved Permanently",
			"Location: /jwt/v1/activations/AAAA", "*"},
		{"a trailing slash is a redirect", "GET /jwt/v1/accounts/$A/?text=true",
			"301 Moved Permanently", "Location: /jwt/v1/accounts/$A?text=true", "*"},
		{"dots and double slashes are a redirect", "GET /jwt/v1//x/../help",
			"301 Moved Permanently", "Location: /jwt/v1/help", "*"},
		{"POST is redirected with 307 and no body", "POST /jwt/v1/accounts/$A/\n\nx",
			"307 Temporary Redirect", "Location: /jwt/v1/accounts/$A", ""},
		{"HEAD, which the original refuses, is GET without its body",
			"HEAD /jwt/v1/accounts/$A", "200 OK",
			"Content-Type: application/jwt\nEtag: $AETAG", ""},
		{"PUT", "PUT /jwt/v1/accounts/$A", "405 Method Not Allowed",
			pageText + "Allow: GET, OPTIONS, POST", noMethod},
		{"DELETE", "DELETE /jwt/v1/help", "405 Method Not Allowed",
			"Allow: GET, OPTIONS", noMethod},
		{"PATCH", "PATCH /healthz", "405 Method Not Allowed", "Allow: GET, OPTIONS", noMethod},
		{"OPTIONS of a path", "OPTIONS /jwt/v1/accounts/$A", "200 OK",
			"Allow: GET, OPTIONS, POST", ""},
		{"OPTIONS of the server", "OPTIONS *", "200 OK", "!Allow: *", ""},
		{"OPTIONS of an unknown path", "OPTIONS /nothing", "404 Not Found", "",
			"404 page not found\n*"},
		{"a parameter is true in any letter case",
			"GET /jwt/v1/accounts/$A?text=tRuE", "200 OK", bareText, "$ATOKEN"},
		{"1 is not true", "GET /jwt/v1/accounts/$A?text=1", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},
		{"a parameter's name has its letter case", "GET /jwt/v1/accounts/$A?Text=true", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},
		{"the first of two values counts", "GET /jwt/v1/accounts/$A?text=no&text=true", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},

		{"CORS: every origin may read", "GET /jwt/v1/help\nOrigin: http://ex.com", "200 OK",
			"Access-Control-Allow-Origin: http://ex.com\nAccess-Control-Expose-Headers: " +
				"Authorization\n!Access-Control-Allow-Credentials: *", "*"},
		{"CORS: nothing with a method that is not served",
			"PUT /jwt/v1/help\nOrigin: http://ex.com",
			"405 Method Not Allowed", "!Access-Control-*", "*"},
		{"CORS: a preflight, of any path", "OPTIONS /nothing\nOrigin: http://ex.com\n" +
			"Access-Control-Request-Method: " +
			"POST\nAccess-Control-Request-Headers: x-foo,content-type",
			"204 No Content",
			"Access-Control-Allow-Headers: x-foo,content-type\nAccess-Control-Allow-Methods: " +
				"POST\nAccess-Control-Allow-Origin: http://ex.com\nVary: Origin, " +
				"Access-Control-Request-Method, Access-Control-Request-Headers", ""},
		{"CORS: a preflight for another method",
			"OPTIONS /nothing\nOrigin: http://ex.com\nAccess-Control-Request-Method: PUT",
			"204 No Content",
			"!Access-Control-*\nVary: Origin, Access-Control-Request-Method, " +
				"Access-Control-Request-Headers", ""},

		{"GET of the help page", "GET /jwt/v1/help", "200 OK", bareText,
			"\n# NATS Account Server JWT API HELP\n*"},
		{"GET of healthz", "GET /healthz", "200 OK", "", ""},
		{"GET of the operator", "GET /jwt/v1/operator", "200 OK",
			"Content-Type: application/jwt\n!Etag: *\n!Cache-Control: *", "$OPTOKEN"},
		{"GET of the operator as text, which beats decode",
			"GET /jwt/v1/operator?text=true&decode=true", "200 OK", bareText, "$OPTOKEN"},
		{"GET of the operator decoded", "GET /jwt/v1/operator?decode=true", "200 OK", decodedText,
			"{\n    \"typ\": \"JWT\",\n    \"alg\": \"ed25519-nkey\"\n}\n\r\n{\n*"},
		{"the probe of nats-server", "GET /jwt/v1/accounts/", "200 OK", probeHead, ""},
		{"the probe without a slash, with a query", "GET /jwt/v1/accounts?jti=x",
			"200 OK", probeHead, ""},
		{"a key is one segment: %2F breaks the match",
			"GET /jwt/v1/accounts/$A%2Fx", "404 Not Found", pageText, "404 page not found\n*"},

		{"an account", "GET /jwt/v1/accounts/$A", "200 OK",
			"Content-Type: application/jwt\nEtag: $AETAG\nVary: Origin\n!Last-Modified: *\n" +
				"!Content-Disposition: *", "$ATOKEN"},
		{"max-age is what is left until it expires", "GET /jwt/v1/accounts/$E", "200 OK",
			"Cache-Control: max-age=19*", "$ETOKEN"},
		{"max-age of what never expires is 0, not minus the time",
			"GET /jwt/v1/accounts/$A", "200 OK",
			"Cache-Control: max-age=0, stale-while-revalidate=3600, stale-if-error=3600",
			"$ATOKEN"},
		{"max-age of what has expired is 0, not below", "GET /jwt/v1/accounts/$X", "200 OK",
			"Cache-Control: max-age=0, stale-while-revalidate=3600, stale-if-error=3600",
			"$XTOKEN"},
		{"the ETag has the jti, and more", "GET /jwt/v1/accounts/$A", "200 OK",
			"Etag: \"$JTI-*", "*"},
		{"a file with another account's JWT is 500, where the original serves it",
			"GET /jwt/v1/accounts/$F", "500 Internal Server Error", bareText,
			"error loading JWT\n"},
		{"an unknown account is 404", "GET /jwt/v1/accounts/$B", "404 Not Found",
			bareText + "!X-Content-Type-Options: *", unknown},
		{"so is what is no key", "GET /jwt/v1/accounts/junk", "404 Not Found", bareText, unknown},
		{"so is a key in lower case", "GET /jwt/v1/accounts/$lower",
			"404 Not Found", bareText, unknown},
		{"so is another key than an account's, even with a file",
			"GET /jwt/v1/accounts/$U?text=true", "404 Not Found", bareText, unknown},
		{"what is damaged is 500", "GET /jwt/v1/accounts/$D", "500 Internal Server Error", bareText,
			"error loading JWT\n"},
		{"what is damaged, as text", "GET /jwt/v1/accounts/$D?text=true", "200 OK", bareText,
			"this is no jwt"},
		{"what is damaged, decoded, where 1.0.3 panics", "GET /jwt/v1/accounts/$D?decode=true",
			"500 Internal Server Error", bareText, "error unmarshalling account claim header\n"},
		{"a JWT without jti has an ETag all the same", "GET /jwt/v1/accounts/$N",
			"200 OK", "Etag: \"-*", "$NTOKEN"},
		{"jti beats text and decode", "GET /jwt/v1/accounts/$A?text=true&decode=true&jti=x",
			"501 Not Implemented", bareText, "*"},
		{"jti is 501", "GET /jwt/v1/accounts/$A?jti=x", "501 Not Implemented", bareText,
			"lookup by jti is no longer supported\n"},
		{"check of what has expired is 404 with no body and no type",
			"GET /jwt/v1/accounts/$X?check=true", "404 Not Found", "!Content-Type: *", ""},
		{"check of what has not", "GET /jwt/v1/accounts/$E?check=true", "200 OK", "", "$ETOKEN"},
		{"check beats 304", "GET /jwt/v1/accounts/$X?check=true\nIf-None-Match: $XETAG",
			"404 Not Found", "", ""},
		{"text beats decode, check and 304",
			"GET /jwt/v1/accounts/$X?text=true&decode=true&check=true\nIf-None-Match: $XETAG",
			"200 OK",
			bareText + "!Etag: *\n!Cache-Control: *", "$XTOKEN"},
		{"decode beats check and 304",
			"GET /jwt/v1/accounts/$X?decode=true&check=true\nIf-None-Match: " +
				"$XETAG", "200 OK", decodedText, "{\n    \"typ\"*"},
		{"a known ETag is 304, without an ETag", "GET /jwt/v1/accounts/$A\nIf-None-Match: $AETAG",
			"304 Not Modified", "Vary: Origin\n!Etag: *\n!Cache-Control: *", ""},
		{"a known ETag, weak, in a list", "GET /jwt/v1/accounts/$A\nIf-None-Match: \"x\", W/$AETAG",
			"304 Not Modified", "", ""},
		{"an ETag without quotes is none",
			"GET /jwt/v1/accounts/$A\nIf-None-Match: $JTI", "200 OK", "", "$ATOKEN"},
		{"* is any ETag, where the original's is none", "GET /jwt/v1/accounts/$A\nIf-None-Match: *",
			"304 Not Modified", "", ""},
		{"notify without NATS", "GET /jwt/v1/accounts/$A?notify=true", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},
	})
	return append(all,
		row("idle connections are closed after the read timeout",
			shownBy("TestAnIdleConnectionIsClosed")),
		row("there is no operator's route without one", noOperator),
		row("the system account's file is served while the store lacks it, with every parameter",
			systemAccountFile),
		row("notify announces, not after a 304, and a failure is 500",
			shownBy("TestNotify", "TestNotifyThatCannotBeStoredIs500")),
		row("the layout of decode: 1.0.3's sorted keys, 0.8.4's line end, "+
			"exact numbers, dates, tokens",
			shownBy("TestDecodeGolden", "TestDecodeOfTheOperatorGolden")),
		row("decode does not ask for the signature",
			shownBy("TestDecodeDoesNotAskForTheSignature")),
		row("decode of what can't be", shownBy("TestWhatCannotBeDecodedIs500")),
	)
}

func noOperator(t *testing.T) {
	p := start(t, t.TempDir(), nil, "-hp", "127.0.0.1:0")
	url := p.url()
	for _, path := range []string{"/jwt/v1/operator", "/jwt/v1/operator?decode=true"} {
		if status, body := get(t, url+path); status != http.StatusNotFound ||
			!strings.HasPrefix(body, "404 page not found\n") {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	a := jwttest.NewAccount(t)
	op := jwttest.NewOperator(t)
	const noOperator = "untrusted issuer in request\nno operator is configured (operatorjwtpath)\n"
	for text, token := range map[string][]byte{
		noOperator:     op.Account(t, a),
		signingRefused: jwttest.Sign(t, a.Key, a, time.Now()),
	} {
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, token)
		if status != http.StatusBadRequest || body != text {
			t.Errorf("%d %q, want %q", status, body, text)
		}
	}
	if !strings.Contains(p.log.String(),
		"No Operator is configured - You will NOT be able to push jwt "+
			"to this account server") {
		t.Errorf("it says\n%s", p.log)
	}
	p.term()
}

func systemAccountFile(t *testing.T) {
	s := newEnv(t, "", "")
	_, url := s.start(t)
	path := "/jwt/v1/accounts/" + s.op.System.ID
	token, err := http.Get(url + path)
	if err != nil {
		t.Fatal(err)
	}
	token.Body.Close()
	for _, b := range requests(url, words{"$S", path, "$TAG", token.Header.Get("Etag")}, []request{
		{"raw", "GET $S", "200 OK", "Content-Type: application/jwt", "eyJ*"},
		{"text", "GET $S?text=true", "200 OK", bareText, "eyJ*"},
		{"decode", "GET $S?decode=true", "200 OK", decodedText, "{\n*"},
		{"check", "GET $S?check=true", "200 OK", "", "eyJ*"},
		{"304", "GET $S\nIf-None-Match: $TAG", "304 Not Modified", "", ""},
	}) {
		t.Run(b.name, b.holds)
	}
}
