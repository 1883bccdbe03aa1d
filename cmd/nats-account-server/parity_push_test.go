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

func overPOST(t *testing.T) []behaviour {
	s := newEnv(t, "", "")
	_, url := s.start(t)
	known := words{}
	push := func(name string, token func(a *jwttest.Account) []byte, status, header,
		body string) request {
		a := jwttest.NewAccount(t)
		n := fmt.Sprintf("%03d", len(known)/2)
		known = append(known, "$T"+n, string(token(a)), "$K"+n, a.ID)
		return request{name, "POST /jwt/v1/accounts/$K" + n + "\n\n$T" + n, status, header, body}
	}
	sign := func(signer nkeys.KeyPair,
		edits ...func(*jwt.AccountClaims)) func(a *jwttest.Account) []byte {
		return func(a *jwttest.Account) []byte {
			return jwttest.Sign(t, signer, a, time.Now(), edits...)
		}
	}
	text := func(text string) func(*jwttest.Account) []byte {
		return func(*jwttest.Account) []byte { return []byte(text) }
	}
	good, junk := sign(s.op.Signing), sign(s.op.Signing, func(c *jwt.AccountClaims) {
		c.Subject = "junk"
	})
	other, stranger := jwttest.NewAccount(t), jwttest.NewOperator(t)
	user, _ := jwttest.NewUser(t)
	const bad, ok = "400 Bad Request", "200 OK"
	all := requests(url, nil, nil)
	rows := []request{
		push("a JWT of a signing key of the operator", good, ok, "Vary: Origin", "stored; *"),
		push("a JWT of the operator", sign(s.op.Key), ok, "", "stored; *"),
		push("line ends behind it, which are not stored", func(a *jwttest.Account) []byte {
			return append(good(a), "\r\n\n"...)
		}, ok, "", "stored; *"),
		push("BEGIN and END around it, which the original refuses",
			func(a *jwttest.Account) []byte {
				return fmt.Appendf(nil,
					"-----BEGIN NATS ACCOUNT JWT-----\n%s\n------END NATS ACCOUNT "+
						"JWT------\n", good(a))
			}, ok, "", "stored; *"),
		push("a line end within it, which the original stores", func(a *jwttest.Account) []byte {
			token := good(a)
			return append(append(token[:len(token)-9:len(token)-9], '\n'), token[len(token)-9:]...)
		}, bad, bareText, "bad JWT in request\n*"),
		push("nothing", text(""), bad, bareText, "bad JWT in request\n*"),
		push("garbage", text("garbage"), bad, bareText, "bad JWT in request\n*"),
		push("another kind of JWT", func(a *jwttest.Account) []byte {
			return activationOf(t, a, other)
		}, bad, bareText, "bad JWT in request\n*"),
		push("a broken signature", func(a *jwttest.Account) []byte {
			return jwttest.Flip(good(a))
		}, bad, bareText, "bad JWT in request\n*"),
		push("another account's", func(*jwttest.Account) []byte {
			return good(other)
		}, bad, bareText, "pub keys don't match\n*"),
		push("an issuer that is neither account nor operator", sign(user), bad, bareText,
			"bad JWT in request\n*"),
		push("signed by itself", func(a *jwttest.Account) []byte {
			return jwttest.Sign(t, a.Key, a, time.Now())
		}, bad, bareText, "Signing service not enabled\n*"),
		push("signed by another account", sign(other.Key), bad, bareText,
			"Bad JWT Issuer in request\n*"),
		push("signed by another operator", sign(stranger.Key), bad, bareText,
			"untrusted issuer in request*"),
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
		}), bad, pageText,
			"The server was unable to update your account JWT. One more more validation "+
				"issues occurred.\n\t - the field to has been deprecated (use LocalSubject "+
				"instead)\n\n\t - subject \"a b\" cannot have spaces\n\n"),
		push("another account's that signed it itself: the key comes first",
			func(*jwttest.Account) []byte {
				return jwttest.Sign(t, other.Key, other, time.Now())
			}, bad, bareText, "pub keys don't match\n*"),
		push("another account's with a broken signature: the key comes first",
			func(*jwttest.Account) []byte { return jwttest.Flip(good(other)) }, bad, bareText,
			"pub keys don't match\n*"),
		push("an expired one", sign(s.op.Signing, func(c *jwt.AccountClaims) {
			c.Expires = time.Now().Add(-time.Hour).Unix()
		}), bad, pageText,
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n\t - claim is expired: its exp is *"),
		push("one that is not valid yet", sign(s.op.Signing, func(c *jwt.AccountClaims) {
			c.NotBefore = time.Now().Add(time.Hour).Unix()
		}), bad, pageText,
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n\t - claim is not yet valid: its nbf is *"),
		{"a subject that is no account key",
			"POST /jwt/v1/accounts/junk\n\n" + string(junk(other)), bad, bareText,
			"bad JWT Subject in request\n*"},
		{"POST to the probe without a slash is 405", "POST /jwt/v1/accounts\n\nx",
			"405 Method Not Allowed", "Allow: GET, OPTIONS", noMethod},
		{"a path below an account is 404 and stores nothing: so an older server answers a dry run",
			"POST /jwt/v1/accounts/$OTHER/nothing\n\n$OTHERJWT", "404 Not Found", pageText,
			"404 page not found\n*"},
		{"nothing is stored by that", "GET /jwt/v1/accounts/$OTHER", "404 Not Found", "", unknown},
		{"POST to the probe is 405", "POST /jwt/v1/accounts/\n\nx", "405 Method Not Allowed",
			"Allow: GET, OPTIONS", noMethod},
	}
	known = append(known, "$OTHERJWT", string(good(other)), "$OTHER", other.ID)
	all = append(all, requests(url, known, rows)...)
	return append(all,
		row("any content type, chunked, Expect: 100-continue",
			shownBy("TestEveryWayOfSendingABody")),
		row("a body of more than a megabyte is not read, where the original "+
			"keeps all of it in memory",
			shownBy("TestABodyThatSaysItIsTooLargeIsNotRead",
				"TestAChunkedBodyIsReadToTheLimitOnly")),
		row("the same once more is 200, and announced at most every 5 s, where the original "+
			"announces each time", shownBy("TestAnUnchangedPushIsAnnouncedOncePerFiveSeconds")),
		row("an older one is 409, where the original takes it", shownBy("TestAnOlderJWTIs409")),
		row("a dry run is a path of its own, which the original does not have: nothing is stored",
			shownBy("TestADryRunChangesNothingOnDisk")),
		row("If-Match and If-None-Match count, where the original ignores them",
			shownBy("TestAWeakETagIsNoMatch", "TestADryRunShowsTheETagsBeforeAndAfter")),
		row("a full disk is 500 and error saving JWT", shownBy("TestAFullDiskIs500")),
		row("a body that does not come is 400", shownBy("TestASlowBodyGetsItsAnswer")),
		row("a JWT of version 1 is taken", versionOne(s, url)),
		row("without an operator nothing is taken",
			shownBy("TestWithoutAnOperatorNothingIsTaken")),
		row("a read-only server answers with 405",
			shownBy("TestAReadOnlyServerWithoutADirectoryIsEmpty")),
	)
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
	known := words{"$TOKEN", string(token), "$FOREIGN",
		string(activationOf(t, unknown, b)), "$ACCOUNT",
		string(s.op.Account(t, b)), "$HASH", hash, "$BARE",
		strings.TrimRight(hash, "="), "$A", a.ID,
		"$JTI", activationJTI(t, token)}
	all := requests(url, known, []request{
		{"a token is stored; the answer has its hash, where the original's is empty",
			"POST /jwt/v1/activations\n\n$TOKEN", "200 OK", "",
			"stored; its hash is $HASH, and it is served at /jwt/v1/activations/$HASH\n"},
		{"garbage", "POST /jwt/v1/activations\n\ngarbage", "400 Bad Request", bareText,
			"bad activation JWT in request\n*"},
		{"a token of an account that is not stored, which the original takes",
			"POST /jwt/v1/activations\n\n$FOREIGN", "400 Bad Request", bareText, "*"},
		{"POST with a slash too much is 307", "POST /jwt/v1/activations/\n\nx",
			"307 Temporary Redirect", "Location: /jwt/v1/activations", ""},
		{"GET without a hash is 405", "GET /jwt/v1/activations", "405 Method Not Allowed",
			"Allow: OPTIONS, POST", noMethod},
		{"GET of a token", "GET /jwt/v1/activations/$HASH", "200 OK",
			"Content-Type: application/jwt\nEtag: \"$JTI-*\nCache-Control: max-age=0*", "$TOKEN"},
		{"GET of an unknown one", "GET /jwt/v1/activations/AAAA", "404 Not Found", pageText,
			"No Matching JWT\n"},
		{"the padding is part of the hash", "GET /jwt/v1/activations/$BARE",
			"404 Not Found", pageText, "No Matching JWT\n"},
		{"GET as text", "GET /jwt/v1/activations/$HASH?text=true", "200 OK", bareText, "$TOKEN"},
		{"GET decoded", "GET /jwt/v1/activations/$HASH?decode=true", "200 OK", decodedText, "{\n*"},
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
	empty := requests(url, nil,
		[]request{{"of an empty store", "GET /jwt/v1/pack", "200 OK", bareText,
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
		{"max that is no number, in lower case", "GET /jwt/v1/pack?max=ABC",
			"400 Bad Request", bareText, "bad max parameter \"abc\"\n"},
		{"max below 0 is the limit, where 1.0.3 gives everything",
			"GET /jwt/v1/pack?max=-1", "200 OK", bareText, "$PACK"},
		{"the largest max, where 0.8.4 panics", "GET /jwt/v1/pack?max=9223372036854775807",
			"400 Bad Request", bareText,
			"bad max parameter \"9223372036854775807\", no more than 3 are " +
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
