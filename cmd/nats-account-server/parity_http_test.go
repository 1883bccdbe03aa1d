package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
)

// Headers and bodies that come up again and again.
const (
	bareText  = "Content-Type: text/plain\n"
	pageText  = "Content-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\n"
	probeHead = "Cache-Control: no-cache, no-store, must-revalidate\nExpires: 0\nPragma: no-cache\n" +
		"Vary: Origin\nContent-Length: 0"
	unknown  = "no matching account JWT\n"
	noMethod = "Method Not Allowed\n"
)

// storedAccounts is the program with a store in which lie A, which never expires; E, which expires
// in two hours; X, which has expired; D, a damaged file; F, in whose file A's JWT stands. B is not
// there, and U is a user's key with a file.
func storedAccounts(t *testing.T) (url string, known words, s *testEnv) {
	t.Helper()
	s = newEnv(t, "", "")
	var accounts [7]*jwttest.Account
	for i := range accounts {
		accounts[i] = jwttest.NewAccount(t)
	}
	a, b, e, x, d, f, n := accounts[0], accounts[1], accounts[2], accounts[3], accounts[4], accounts[5],
		accounts[6]
	nameless := jwt.NewAccountClaims(n.ID)
	nameless.Issuer, nameless.IssuedAt, nameless.Type, nameless.Version = s.op.ID, time.Now().Unix(),
		jwt.AccountClaim, 2
	without := jwttest.Encode(t, s.op.Key, nameless)
	user, _ := nkeys.CreateUser()
	u, _ := user.PublicKey()
	token := s.op.Account(t, a)
	expiring := jwttest.Sign(t, s.op.Signing, e, time.Now(), func(c *jwt.AccountClaims) {
		c.Expires = time.Now().Add(2 * time.Hour).Unix()
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
		"$A", a.ID, "$B", b.ID, "$E", e.ID, "$X", x.ID, "$D", d.ID, "$NTOKEN", string(without), "$N", n.ID,
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
		{"a trailing slash is a redirect", "GET /jwt/v1/accounts/$A/?text=true", "301 Moved Permanently",
			"Location: /jwt/v1/accounts/$A?text=true", "*"},
		{"dots and double slashes are a redirect", "GET /jwt/v1//x/../help", "301 Moved Permanently",
			"Location: /jwt/v1/help", "*"},
		{"POST is redirected with 307 and no body", "POST /jwt/v1/accounts/$A/\n\nx",
			"307 Temporary Redirect", "Location: /jwt/v1/accounts/$A", ""},
		{"HEAD, which the original refuses, is GET without its body", "HEAD /jwt/v1/accounts/$A", "200 OK",
			"Content-Type: application/jwt\nEtag: $AETAG", ""},
		{"PUT", "PUT /jwt/v1/accounts/$A", "405 Method Not Allowed", pageText + "Allow: GET, OPTIONS, POST",
			noMethod},
		{"DELETE", "DELETE /jwt/v1/help", "405 Method Not Allowed", "Allow: GET, OPTIONS", noMethod},
		{"PATCH", "PATCH /healthz", "405 Method Not Allowed", "Allow: GET, OPTIONS", noMethod},
		{"OPTIONS of a path", "OPTIONS /jwt/v1/accounts/$A", "200 OK", "Allow: GET, OPTIONS, POST", ""},
		{"OPTIONS of the server", "OPTIONS *", "200 OK", "!Allow: *", ""},
		{"OPTIONS of an unknown path", "OPTIONS /nothing", "404 Not Found", "", "404 page not found\n*"},
		{"a parameter is true in any letter case", "GET /jwt/v1/accounts/$A?text=tRuE", "200 OK", bareText,
			"$ATOKEN"},
		{"1 is not true", "GET /jwt/v1/accounts/$A?text=1", "200 OK", "Content-Type: application/jwt",
			"$ATOKEN"},
		{"a parameter's name has its letter case", "GET /jwt/v1/accounts/$A?Text=true", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},
		{"the first of two values counts", "GET /jwt/v1/accounts/$A?text=no&text=true", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},

		{"CORS: every origin may read", "GET /jwt/v1/help\nOrigin: http://ex.com", "200 OK",
			"Access-Control-Allow-Origin: http://ex.com\nAccess-Control-Expose-Headers: Authorization\n" +
				"!Access-Control-Allow-Credentials: *", "*"},
		{"CORS: nothing with a method that is not served", "PUT /jwt/v1/help\nOrigin: http://ex.com",
			"405 Method Not Allowed", "!Access-Control-*", "*"},
		{"CORS: a preflight, of any path", "OPTIONS /nothing\nOrigin: http://ex.com\n" +
			"Access-Control-Request-Method: POST\nAccess-Control-Request-Headers: x-foo,content-type",
			"204 No Content",
			"Access-Control-Allow-Headers: x-foo,content-type\nAccess-Control-Allow-Methods: POST\n" +
				"Access-Control-Allow-Origin: http://ex.com\nVary: Origin, " +
				"Access-Control-Request-Method, Access-Control-Request-Headers", ""},
		{"CORS: a preflight for another method",
			"OPTIONS /nothing\nOrigin: http://ex.com\nAccess-Control-Request-Method: PUT", "204 No Content",
			"!Access-Control-*\nVary: Origin, Access-Control-Request-Method, " +
				"Access-Control-Request-Headers", ""},

		{"GET of the help page", "GET /jwt/v1/help", "200 OK", bareText,
			"\n# NATS Account Server JWT API HELP\n*"},
		{"GET of healthz", "GET /healthz", "200 OK", "", ""},
		{"GET of the operator", "GET /jwt/v1/operator", "200 OK",
			"Content-Type: application/jwt\n!Etag: *\n!Cache-Control: *", "$OPTOKEN"},
		{"GET of the operator as text, which beats decode", "GET /jwt/v1/operator?text=true&decode=true",
			"200 OK", bareText, "$OPTOKEN"},
		{"GET of the operator decoded", "GET /jwt/v1/operator?decode=true", "200 OK", bareText,
			"{\n    \"typ\": \"JWT\",\n    \"alg\": \"ed25519-nkey\"\n}\n\r\n{\n*"},
		{"the probe of nats-server", "GET /jwt/v1/accounts/", "200 OK", probeHead, ""},
		{"the probe without a slash, with a query", "GET /jwt/v1/accounts?jti=x", "200 OK", probeHead, ""},
		{"a key is one segment: %2F breaks the match", "GET /jwt/v1/accounts/$A%2Fx", "404 Not Found",
			pageText, "404 page not found\n*"},

		{"an account", "GET /jwt/v1/accounts/$A", "200 OK",
			"Content-Type: application/jwt\nEtag: $AETAG\nVary: Origin\n!Last-Modified: *\n" +
				"!Content-Disposition: *", "$ATOKEN"},
		{"max-age is what is left until it expires", "GET /jwt/v1/accounts/$E", "200 OK",
			"Cache-Control: max-age=71*", "$ETOKEN"},
		{"max-age of what never expires is 0, not minus the time", "GET /jwt/v1/accounts/$A", "200 OK",
			"Cache-Control: max-age=0, stale-while-revalidate=3600, stale-if-error=3600", "$ATOKEN"},
		{"max-age of what has expired is 0, not below", "GET /jwt/v1/accounts/$X", "200 OK",
			"Cache-Control: max-age=0, stale-while-revalidate=3600, stale-if-error=3600", "$XTOKEN"},
		{"the ETag has the jti, and more", "GET /jwt/v1/accounts/$A", "200 OK", "Etag: \"$JTI-*", "*"},
		{"a file with another account's JWT is 500, where the original serves it",
			"GET /jwt/v1/accounts/$F", "500 Internal Server Error", bareText, "error loading JWT\n"},
		{"an unknown account is 404", "GET /jwt/v1/accounts/$B", "404 Not Found",
			bareText + "!X-Content-Type-Options: *", unknown},
		{"so is what is no key", "GET /jwt/v1/accounts/junk", "404 Not Found", bareText, unknown},
		{"so is a key in lower case", "GET /jwt/v1/accounts/$lower", "404 Not Found", bareText, unknown},
		{"so is another key than an account's, even with a file", "GET /jwt/v1/accounts/$U?text=true",
			"404 Not Found", bareText, unknown},
		{"what is damaged is 500", "GET /jwt/v1/accounts/$D", "500 Internal Server Error", bareText,
			"error loading JWT\n"},
		{"what is damaged, as text", "GET /jwt/v1/accounts/$D?text=true", "200 OK", bareText,
			"this is no jwt"},
		{"what is damaged, decoded, where 1.0.3 panics", "GET /jwt/v1/accounts/$D?decode=true",
			"500 Internal Server Error", bareText, "error unmarshalling account claim header\n"},
		{"a JWT without jti has an ETag all the same", "GET /jwt/v1/accounts/$N", "200 OK", "Etag: \"-*",
			"$NTOKEN"},
		{"jti beats text and decode", "GET /jwt/v1/accounts/$A?text=true&decode=true&jti=x",
			"501 Not Implemented", bareText, "*"},
		{"jti is 501", "GET /jwt/v1/accounts/$A?jti=x", "501 Not Implemented", bareText,
			"lookup by jti is no longer supported\n"},
		{"check of what has expired is 404 with no body and no type", "GET /jwt/v1/accounts/$X?check=true",
			"404 Not Found", "!Content-Type: *", ""},
		{"check of what has not", "GET /jwt/v1/accounts/$E?check=true", "200 OK", "", "$ETOKEN"},
		{"check beats 304", "GET /jwt/v1/accounts/$X?check=true\nIf-None-Match: $XETAG", "404 Not Found",
			"", ""},
		{"text beats decode, check and 304",
			"GET /jwt/v1/accounts/$X?text=true&decode=true&check=true\nIf-None-Match: $XETAG", "200 OK",
			bareText + "!Etag: *\n!Cache-Control: *", "$XTOKEN"},
		{"decode beats check and 304", "GET /jwt/v1/accounts/$X?decode=true&check=true\nIf-None-Match: " +
			"$XETAG", "200 OK", bareText, "{\n    \"typ\"*"},
		{"a known ETag is 304, without an ETag", "GET /jwt/v1/accounts/$A\nIf-None-Match: $AETAG",
			"304 Not Modified", "Vary: Origin\n!Etag: *\n!Cache-Control: *", ""},
		{"a known ETag, weak, in a list", "GET /jwt/v1/accounts/$A\nIf-None-Match: \"x\", W/$AETAG",
			"304 Not Modified", "", ""},
		{"an ETag without quotes is none", "GET /jwt/v1/accounts/$A\nIf-None-Match: $JTI", "200 OK", "",
			"$ATOKEN"},
		{"* is no ETag", "GET /jwt/v1/accounts/$A\nIf-None-Match: *", "200 OK", "", "$ATOKEN"},
		{"notify without NATS", "GET /jwt/v1/accounts/$A?notify=true", "200 OK",
			"Content-Type: application/jwt", "$ATOKEN"},
	})
	return append(all,
		row("idle connections are closed after the read timeout", shownBy("TestAnIdleConnectionIsClosed")),
		row("there is no operator's route without one", noOperator),
		row("the system account's file is served while the store lacks it, with every parameter",
			systemAccountFile),
		row("notify announces, not after a 304, and a failure is 500",
			shownBy("TestNotify", "TestNotifyThatCannotBeStoredIs500")),
		row("the layout of decode: 1.0.3's sorted keys, 0.8.4's line end, exact numbers, dates, tokens",
			shownBy("TestDecodeGolden", "TestDecodeOfTheOperatorGolden")),
		row("decode does not ask for the signature", shownBy("TestDecodeDoesNotAskForTheSignature")),
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
	for text, token := range map[string][]byte{
		"untrusted issuer in request\n": op.Account(t, a),
		"Signing service not enabled\n": jwttest.Sign(t, a.Key, a, time.Now()),
	} {
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, token)
		if status != http.StatusBadRequest || body != text {
			t.Errorf("%d %q, want %q", status, body, text)
		}
	}
	if !strings.Contains(p.log.String(), "No Operator is configured - You will NOT be able to push jwt "+
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
		{"decode", "GET $S?decode=true", "200 OK", bareText, "{\n*"},
		{"check", "GET $S?check=true", "200 OK", "", "eyJ*"},
		{"304", "GET $S\nIf-None-Match: $TAG", "304 Not Modified", "", ""},
	}) {
		t.Run(b.name, b.holds)
	}
}

func overPOST(t *testing.T) []behaviour {
	s := newEnv(t, "", "")
	_, url := s.start(t)
	known := words{}
	push := func(name string, token func(a *jwttest.Account) []byte, status, header, body string) request {
		a := jwttest.NewAccount(t)
		n := fmt.Sprintf("%03d", len(known)/2)
		known = append(known, "$T"+n, string(token(a)), "$K"+n, a.ID)
		return request{name, "POST /jwt/v1/accounts/$K" + n + "\n\n$T" + n, status, header, body}
	}
	sign := func(signer nkeys.KeyPair, edits ...func(*jwt.AccountClaims)) func(a *jwttest.Account) []byte {
		return func(a *jwttest.Account) []byte { return jwttest.Sign(t, signer, a, time.Now(), edits...) }
	}
	text := func(text string) func(*jwttest.Account) []byte {
		return func(*jwttest.Account) []byte { return []byte(text) }
	}
	good, junk := sign(s.op.Signing), sign(s.op.Signing, func(c *jwt.AccountClaims) { c.Subject = "junk" })
	other, stranger := jwttest.NewAccount(t), jwttest.NewOperator(t)
	const bad, ok = "400 Bad Request", "200 OK"
	all := requests(url, nil, nil)
	rows := []request{
		push("a JWT of a signing key of the operator", good, ok, "Vary: Origin", "stored; *"),
		push("a JWT of the operator", sign(s.op.Key), ok, "", "stored; *"),
		push("line ends behind it, which are not stored", func(a *jwttest.Account) []byte {
			return append(good(a), "\r\n\n"...)
		}, ok, "", "stored; *"),
		push("BEGIN and END around it", func(a *jwttest.Account) []byte {
			return fmt.Appendf(nil, "-----BEGIN NATS ACCOUNT JWT-----\n%s\n------END NATS ACCOUNT "+
				"JWT------\n", good(a))
		}, bad, bareText, "bad JWT in request\n"),
		push("a line end within it, which the original stores", func(a *jwttest.Account) []byte {
			token := good(a)
			return append(append(token[:len(token)-9:len(token)-9], '\n'), token[len(token)-9:]...)
		}, bad, bareText, "bad JWT in request\n"),
		push("nothing", text(""), bad, bareText, "bad JWT in request\n"),
		push("garbage", text("garbage"), bad, bareText, "bad JWT in request\n"),
		push("another kind of JWT", func(a *jwttest.Account) []byte {
			return activationOf(t, a, other)
		}, bad, bareText, "bad JWT in request\n"),
		push("a broken signature", func(a *jwttest.Account) []byte {
			return jwttest.Flip(good(a))
		}, bad, bareText, "bad JWT in request\n"),
		push("another account's", func(*jwttest.Account) []byte {
			return good(other)
		}, bad, bareText, "pub keys don't match\n"),
		push("an issuer that is neither account nor operator", sign(userKey(t)), bad, bareText,
			"bad JWT in request\n"),
		push("signed by itself", func(a *jwttest.Account) []byte {
			return jwttest.Sign(t, a.Key, a, time.Now())
		}, bad, bareText, "Signing service not enabled\n"),
		push("signed by another account", sign(other.Key), bad, bareText, "Bad JWT Issuer in request\n"),
		push("signed by another operator", sign(stranger.Key), bad, bareText,
			"untrusted issuer in request\n"),
		push("claims that are not valid: each issue in a line of its own",
			sign(s.op.Signing, func(c *jwt.AccountClaims) {
				c.Exports.Add(&jwt.Export{Subject: "a b", Type: jwt.Stream})
			}), bad, pageText, "The server was unable to update your account JWT. One more more "+
				"validation "+
				"issues occurred.\n\t - subject \"a b\" cannot have spaces\n\n"),
		push("warnings are lines too", sign(s.op.Signing, func(c *jwt.AccountClaims) {
			c.Exports.Add(&jwt.Export{Subject: "a b", Type: jwt.Stream})
			//lint:ignore SA1019 the warning of that is what this row is about
			c.Imports.Add(&jwt.Import{Subject: "c", To: "d", Account: other.ID, Type: jwt.Stream})
		}), bad, pageText, "The server was unable to update your account JWT. One more more validation "+
			"issues occurred.\n\t - the field to has been deprecated (use LocalSubject instead)\n\n\t - "+
			"subject \"a b\" cannot have spaces\n\n"),
		push("another account's that signed it itself: the key comes first", func(*jwttest.Account) []byte {
			return jwttest.Sign(t, other.Key, other, time.Now())
		}, bad, bareText, "pub keys don't match\n"),
		push("an expired one", sign(s.op.Signing, func(c *jwt.AccountClaims) {
			c.Expires = time.Now().Add(-time.Hour).Unix()
		}), bad, pageText,
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n\t - claim is expired\n\n"),
		push("one that is not valid yet", sign(s.op.Signing, func(c *jwt.AccountClaims) {
			c.NotBefore = time.Now().Add(time.Hour).Unix()
		}), bad, pageText,
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n\t - claim is not yet valid\n\n"),
		{"a subject that is no account key", "POST /jwt/v1/accounts/junk\n\n" + string(junk(other)), bad,
			bareText,
			"bad JWT Subject in request\n"},
		{"POST to the probe without a slash is 405", "POST /jwt/v1/accounts\n\nx", "405 Method Not Allowed",
			"Allow: GET, OPTIONS", noMethod},
		{"POST to the probe is 405", "POST /jwt/v1/accounts/\n\nx", "405 Method Not Allowed",
			"Allow: GET, OPTIONS", noMethod},
	}
	all = append(all, requests(url, known, rows)...)
	return append(all,
		row("any content type, chunked, Expect: 100-continue", shownBy("TestEveryWayOfSendingABody")),
		row("a body of more than a megabyte is not read, where the original keeps all of it in memory",
			shownBy("TestABodyThatSaysItIsTooLargeIsNotRead", "TestAChunkedBodyIsReadToTheLimitOnly")),
		row("the same once more is 200, and announced at most every 5 s, where the original announces "+
			"each time", shownBy("TestAnUnchangedPushIsAnnouncedOncePerFiveSeconds")),
		row("an older one is 409, where the original takes it", shownBy("TestAnOlderJWTIs409")),
		row("a full disk is 500 and error saving JWT", shownBy("TestAFullDiskIs500")),
		row("a body that does not come is 400", shownBy("TestASlowBodyGetsItsAnswer")),
		row("a JWT of version 1 is taken", versionOne(s, url)),
		row("without an operator nothing is taken",
			shownBy("TestWithoutAnOperatorEveryWritingDoorIsClosed")),
		row("a read-only server answers with 405", shownBy("TestAReadOnlyServerWithoutADirectoryIsEmpty")),
	)
}

func userKey(t testing.TB) nkeys.KeyPair {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// versionOne pushes an account as tools of 2019 wrote it.
func versionOne(s *testEnv, url string) func(*testing.T) {
	return func(t *testing.T) {
		a := jwttest.NewAccount(t)
		token := oldAccount(t, s.op, a)
		mustPush(t, url, a.ID, token)
		if _, body := get(t, url+"/jwt/v1/accounts/"+a.ID); body != string(token) {
			t.Errorf("served is %q", body)
		}
	}
}

// activationOf is a token with which exporter lets importer in.
func activationOf(t testing.TB, exporter, importer *jwttest.Account) []byte {
	t.Helper()
	token, _ := jwttest.Activation(t, exporter, importer, time.Now())
	return token
}

func hashOf(t testing.TB, activation []byte) string {
	t.Helper()
	c, err := jwt.DecodeActivationClaims(string(activation))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := c.HashID()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func activations(t *testing.T) []behaviour {
	s := newEnv(t, "", "")
	_, url := s.start(t)
	a, b, unknown := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	mustPush(t, url, a.ID, s.op.Account(t, a))
	token := activationOf(t, a, b)
	hash := hashOf(t, token)
	known := words{"$TOKEN", string(token), "$FOREIGN", string(activationOf(t, unknown, b)), "$ACCOUNT",
		string(s.op.Account(t, b)), "$HASH", hash, "$BARE", strings.TrimRight(hash, "="), "$A", a.ID,
		"$JTI", activationJTI(t, token)}
	all := requests(url, known, []request{
		{"a token is stored, with an empty answer", "POST /jwt/v1/activations\n\n$TOKEN", "200 OK",
			"!Content-Type: *", ""},
		{"garbage", "POST /jwt/v1/activations\n\ngarbage", "400 Bad Request", bareText,
			"bad activation JWT in request\n"},
		{"a token of an account that is not stored, which the original takes",
			"POST /jwt/v1/activations\n\n$FOREIGN", "400 Bad Request", bareText, "*"},
		{"POST with a slash too much is 307", "POST /jwt/v1/activations/\n\nx", "307 Temporary Redirect",
			"Location: /jwt/v1/activations", ""},
		{"GET without a hash is 405", "GET /jwt/v1/activations", "405 Method Not Allowed",
			"Allow: OPTIONS, POST", noMethod},
		{"GET of a token", "GET /jwt/v1/activations/$HASH", "200 OK",
			"Content-Type: application/jwt\nEtag: \"$JTI-*\nCache-Control: max-age=0*", "$TOKEN"},
		{"GET of an unknown one", "GET /jwt/v1/activations/AAAA", "404 Not Found", pageText,
			"No Matching JWT\n"},
		{"the padding is part of the hash", "GET /jwt/v1/activations/$BARE", "404 Not Found", pageText,
			"No Matching JWT\n"},
		{"GET as text", "GET /jwt/v1/activations/$HASH?text=true", "200 OK", bareText, "$TOKEN"},
		{"GET decoded", "GET /jwt/v1/activations/$HASH?decode=true", "200 OK", bareText, "{\n*"},
		{"there is no check", "GET /jwt/v1/activations/$HASH?check=true", "200 OK", "", "$TOKEN"},
		{"an account is no activation, where 0.8.4 mixes them", "GET /jwt/v1/activations/$A",
			"404 Not Found", "", "No Matching JWT\n"},
		{"an activation is no account, where 0.8.4 mixes them", "GET /jwt/v1/accounts/$HASH",
			"404 Not Found", "", "no matching account JWT\n"},
	})
	return append(all,
		row("an account's JWT is no activation", func(t *testing.T) {
			status, body := post(http.DefaultClient, url+"/jwt/v1/activations", s.op.Account(t, b))
			if status != http.StatusBadRequest || !strings.HasPrefix(body, "bad activation") {
				t.Errorf("%d %q", status, body)
			}
		}),
		row("the other answers, 304, and which keys may sign", shownBy("TestActivationsOverHTTP")),
	)
}

func activationJTI(t testing.TB, token []byte) string {
	t.Helper()
	c, err := jwt.DecodeActivationClaims(string(token))
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func packs(t *testing.T) []behaviour {
	s := newEnv(t, "", "maxreplicationpack: 3")
	_, url := s.start(t)
	empty := requests(url, nil, []request{{"of an empty store", "GET /jwt/v1/pack", "200 OK", bareText,
		""}})
	t.Run("an empty store", empty[0].holds)
	var lines []string
	for range 2 {
		a := jwttest.NewAccount(t)
		token := s.op.Account(t, a)
		mustPush(t, url, a.ID, token)
		lines = append(lines, a.ID+"|"+string(token))
	}
	slices.Sort(lines)
	whole := strings.Join(lines, "\n")
	all := requests(url, words{"$PACK", whole, "$FIRST", lines[0]}, []request{
		{"lines of key and JWT, without a last line end", "GET /jwt/v1/pack", "200 OK",
			bareText + "!Etag: *", "$PACK"},
		{"max", "GET /jwt/v1/pack?max=1", "200 OK", bareText, "$FIRST"},
		{"max=0", "GET /jwt/v1/pack?max=0", "200 OK", bareText, ""},
		{"max beyond the limit", "GET /jwt/v1/pack?max=4", "400 Bad Request", bareText,
			"bad max parameter \"4\", no more than 3 are allowed\n"},
		{"max that is no number, in lower case", "GET /jwt/v1/pack?max=ABC", "400 Bad Request", bareText,
			"bad max parameter \"abc\"\n"},
		{"max below 0 is the limit, where 1.0.3 gives everything", "GET /jwt/v1/pack?max=-1", "200 OK",
			bareText, "$PACK"},
		{"the largest max, where 0.8.4 panics", "GET /jwt/v1/pack?max=9223372036854775807",
			"400 Bad Request", bareText, "bad max parameter \"9223372036854775807\", no more than 3 are " +
				"allowed\n"},
		{"max that is too large for a number", "GET /jwt/v1/pack?max=99999999999999999999",
			"400 Bad Request", bareText, "bad max parameter \"99999999999999999999\"\n"},
	})
	return append(all,
		row("of a store that can't be read is 500, and healthz is 200", lostStore),
		row("what has expired is not in it", expiredPack),
		row("a negative limit is none", shownBy("TestThePackAndItsLimit")),
		row("only what is served is in it", shownBy("TestAPackHasOnlyWhatIsServed")),
		row("it holds up no request", shownBy("TestAPackThatIsNotReadKeepsNoOtherRequestWaiting")),
	)
}

func lostStore(t *testing.T) {
	s := newEnv(t, "", "")
	p, url := s.start(t)
	store := filepath.Join(s.dir, "store")
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, url+"/jwt/v1/pack"); status != http.StatusInternalServerError ||
		body != "error packing JWTs\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	p.kill()
}

func expiredPack(t *testing.T) {
	url, known, _ := storedAccounts(t)
	expand := strings.NewReplacer(known...)
	status, body := get(t, url+"/jwt/v1/pack")
	if status != http.StatusOK || strings.Contains(body, expand.Replace("$X|")) ||
		!strings.Contains(body, expand.Replace("$A|$ATOKEN")) {
		t.Errorf("%d %s", status, body)
	}
}
