package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/jwttest"
)

func withoutOperator(o *httpapi.Options) { o.Operator = nil }

const stored = "200 OK\nContent-Length: 43\nContent-Type: text/plain; charset=utf-8\n" + vary +
	"\nstored; acknowledged by 1 of 1 nats-server\n"

func bad(text string) string { return plain("400 Bad Request", text) }

// oneChunk says why garbage is no JWT.
const oneChunk = "expected 3 chunks: a JWT has three parts with dots between, and this has 1: " +
	"it may be cut off, or be something else"

// times are in a text, the clock's among them. All have the same length.
var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// push is a row of the table below: a JWT that is sent to an account's path.
type push struct {
	name  string
	token func(t testing.TB, env *environment, a *jwttest.Account) []byte
	to    string // another path segment than the account's key
	want  string // the answer; with why only its first line
	why   string // the second line, with $A for the account's key and $B for that of env.other
	log   string // the ERR line, with $K for the beginning of the key; "": there is none
}

func valid(t testing.TB, env *environment, a *jwttest.Account) []byte {
	return env.op.Account(t, a)
}

func with(
	edits ...func(*jwt.AccountClaims),
) func(testing.TB, *environment, *jwttest.Account) []byte {
	return func(t testing.TB, env *environment,
		a *jwttest.Account) []byte {
		return env.op.Account(t, a, edits...)
	}
}

func text(s string) func(testing.TB, *environment, *jwttest.Account) []byte {
	return func(testing.TB, *environment, *jwttest.Account) []byte { return []byte(s) }
}

var pushes = []push{
	{name: "a JWT of the operator is stored", token: valid, want: stored},
	{name: "white space around a JWT does no harm", want: stored,
		token: func(t testing.TB, env *environment, a *jwttest.Account) []byte {
			return []byte(" \r\n" + string(valid(t, env, a)) + "\r\n \n")
		}},
	{name: "garbage", token: text("garbage"), want: "bad JWT in request",
		why: oneChunk,
		log: "$K - bad JWT in request"},
	{name: "nothing", token: text(""), want: "bad JWT in request",
		why: "expected 3 chunks: it is empty: send the JWT, for instance with " +
			"curl --data-binary @account.jwt",
		log: "$K - bad JWT in request"},
	{name: "a user's JWT", want: "bad JWT in request",
		why: "not account claim: it is the JWT of a user, which no server keeps: it is sent " +
			"when the user connects",
		log: "$K - bad JWT in request",
		token: func(t testing.TB, _ *environment, a *jwttest.Account) []byte {
			creds, _ := a.User(t)
			token, err := jwt.ParseDecoratedJWT(creds)
			if err != nil {
				t.Fatal(err)
			}
			return []byte(token)
		}},
	{name: "a broken signature", want: "bad JWT in request",
		why: "claim failed V2 signature verification: it was changed after it was signed, or " +
			"the key in iss did not sign it",
		log: "$K - bad JWT in request",
		token: func(t testing.TB, env *environment,
			a *jwttest.Account) []byte {
			return jwttest.Flip(valid(t, env, a))
		}},
	{name: "a line break within the signature", want: "bad JWT in request",
		why: "illegal line break at input byte 76: there is white space within it, at byte " +
			"695: a JWT is one line without any",
		log: "$K - bad JWT in request",
		token: func(t testing.TB, env *environment, a *jwttest.Account) []byte {
			token := string(valid(t, env, a))
			return []byte(token[:len(token)-10] + "\n" + token[len(token)-10:])
		}},
	{name: "another account's JWT", want: "pub keys don't match",
		why: "it is the JWT of $B, and was sent for $A",
		log: "$K - pub keys don't match",
		token: func(t testing.TB, env *environment, _ *jwttest.Account) []byte {
			return valid(t, env, env.other)
		}},
	{name: "garbage to a path without a key", to: "junk", token: text("garbage"),
		want: "bad JWT in request",
		why:  oneChunk,
		log:  "bad JWT in request"},
	{name: "an account's JWT to a path without a key", to: "junk", token: valid,
		want: "pub keys don't match",
		why:  "it is the JWT of $A, and was sent for something that is not the key of an account",
		log:  "pub keys don't match"},
	{name: "an account's JWT to its key with a line break", to: "$half%0a$rest", token: valid,
		want: "pub keys don't match",
		why:  "it is the JWT of $A, and was sent for something that is not the key of an account",
		log:  "pub keys don't match"},
	{name: "an account's JWT for a subject that is no account", to: "junk",
		want:  "bad JWT Subject in request",
		why:   "its sub is not the key of an account, which begins with A",
		log:   "bad JWT Subject in request",
		token: with(func(c *jwt.AccountClaims) { c.Subject = "junk" })},
	{name: "a JWT that the account signed itself", want: "Signing service not enabled",
		why: "the operator must sign it, for instance with nsc push",
		log: "$K - Signing service not enabled",
		token: func(t testing.TB, _ *environment, a *jwttest.Account) []byte {
			return jwttest.Sign(t, a.Key, a, time.Now())
		}},
	{name: "a JWT that another account signed", want: "Bad JWT Issuer in request",
		why: "$B has signed it, but the operator must",
		log: "$K - Bad JWT Issuer in request",
		token: func(t testing.TB, env *environment, a *jwttest.Account) []byte {
			return jwttest.Sign(t, env.other.Key, a, time.Now())
		}},
	{name: "a JWT of another operator", want: "untrusted issuer in request",
		why: "$O has signed it, which is not a key of an operator that is configured here",
		log: "$K - untrusted issuer in request",
		token: func(t testing.TB, env *environment, a *jwttest.Account) []byte {
			return jwttest.Sign(t, env.stranger.Key, a, time.Now())
		}},
	{name: "an expired JWT",
		token: with(func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(-time.Hour).Unix() }),
		want: page("400 Bad Request",
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n"+
				"\t - claim is expired: its exp is 2026-01-02T03:04:05Z, and this server's "+
				"clock shows 2026-01-02T03:04:05Z; that is before its iat, "+
				"2026-01-02T03:04:05Z: it was never valid\n"),
		log: "attempt to update JWT $K with blocking validation errors - claim is expired: its " +
			"exp is 2026-01-02T03:04:05Z, and this server's clock shows 2026-01-02T03:04:05Z; " +
			"that is before its iat, 2026-01-02T03:04:05Z: it was never valid"},
	{name: "a JWT that is not valid yet",
		token: with(func(c *jwt.AccountClaims) { c.NotBefore = time.Now().Add(time.Hour).Unix() }),
		want: page("400 Bad Request",
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n"+
				"\t - claim is not yet valid: its nbf is 2026-01-02T03:04:05Z, and this "+
				"server's clock shows 2026-01-02T03:04:05Z\n"),
		log: "attempt to update JWT $K with blocking validation errors - claim is not yet " +
			"valid: its nbf is 2026-01-02T03:04:05Z, and this server's clock " +
			"shows 2026-01-02T03:04:05Z"},
	{name: "a JWT with two issues",
		token: with(func(c *jwt.AccountClaims) {
			c.Exports = jwt.Exports{{Subject: "a b", Type: jwt.Stream},
				{Subject: "a.b", Type: jwt.Stream}, {Subject: "a.b", Type: jwt.Stream}}
		}),
		want: page("400 Bad Request",
			"The server was unable to update your account JWT. One more more validation issues "+
				"occurred.\n"+
				"\t - subject \"a b\" cannot have spaces\n\n\t - stream export subject \"a.b\" "+
				"already exports \"a.b\"\n"),
		log: "attempt to update JWT $K with blocking validation errors - subject \"a b\" cannot " +
			"have spaces; stream export subject \"a.b\" already exports \"a.b\""},
}

func TestPushing(t *testing.T) {
	for _, p := range pushes {
		t.Run(p.name, func(t *testing.T) {
			env := newEnvironment(t)
			a := jwttest.NewAccount(t)
			words := strings.NewReplacer("$half", a.ID[:20], "$rest", a.ID[20:], "$K", a.ID[:12],
				"$A", a.ID, "$B", env.other.ID, "$O", env.stranger.ID)
			to := a.ID
			if p.to != "" {
				to = words.Replace(p.to)
			}
			got := ask(t, serve(t, env.api),
				"POST /jwt/v1/accounts/"+to+"\nContent-Type: x/y\n\n"+string(p.token(t, env, a)))
			want, log := p.want, p.log
			if p.why != "" {
				want, log = bad(p.want+"\n"+words.Replace(p.why)), log+" - "+p.why
			}
			if got = times.ReplaceAllString(got, "2026-01-02T03:04:05Z"); got != want {
				t.Errorf("gave\n%s\nwant\n%s", got, want)
			}
			if p.log == "" {
				env.wantNoLine(t, "ERR")
			} else {
				env.wantLine(t, "ERR", words.Replace(log))
			}
		})
	}
}

func TestTheAnswerTellsHowFarTheAnnouncementIs(t *testing.T) {
	env := newEnvironment(t)
	address := serve(t, env.api)
	for _, c := range []struct {
		delivery accounts.Delivery
		want     string
	}{
		{accounts.Delivery{}, "stored; NATS is not configured\n"},
		{accounts.Delivery{State: accounts.NotConnected},
			"stored; NATS is not connected: will be sent when it is\n"},
		{accounts.Delivery{State: accounts.Sent, Acked: 2, Servers: 3},
			"stored; 2 of 3 acknowledged so far\n"},
	} {
		env.announcer.delivery = c.delivery
		a := jwttest.NewAccount(t)
		got := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(env.op.Account(t, a)))
		if _, body, _ := strings.Cut(got, "\n\n"); body != c.want {
			t.Errorf("gave %q, want %q", body, c.want)
		}
	}
}

func TestAnOlderJWTIs409(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	address := serve(t, env.api)
	env.put(t, a)
	iat := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := ask(t, address, "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(jwttest.Sign(t,
		env.op.Signing, a, iat)))
	begin := "409 Conflict\nContent-Length: 95\nContent-Type: text/plain\n" + vary +
		"\na newer JWT is stored: it was issued at "
	if !strings.HasPrefix(got, begin) ||
		!strings.HasSuffix(got, ", this one at 2026-01-02T03:04:05Z\n") {
		t.Errorf("gave\n%s", got)
	}
	if lines := env.log.lines("ERR"); len(lines) != 1 ||
		!strings.Contains(lines[0], a.ID[:12]+" - a newer JWT is stored") {
		t.Errorf("log: %q", lines)
	}
}

func TestAJWTFromTheFutureIs400(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	token := jwttest.Sign(t, env.op.Signing, a, time.Now().Add(time.Hour))
	got := ask(t, serve(t, env.api), "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(token))
	if !strings.HasPrefix(got, "400 Bad Request\n") ||
		!strings.Contains(got, "\n\nthe JWT was issued at ") {
		t.Errorf("gave\n%s", got)
	}
}

func TestAJWTThatNATSCannotCarryIs413(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	env.announcer.maxPayload = 100
	token := env.op.Account(t, a)
	got := ask(t, serve(t, env.api), "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(token))
	want := plain("413 Request Entity Too Large",
		fmt.Sprintf("the JWT has %d bytes, nats-server takes no more than 100 (max_payload)",
			len(token)))
	if got != want {
		t.Errorf("gave\n%s", got)
	}
}

func TestAFullDiskIs500(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	env.store.saveErr = errDisk
	got := ask(t, serve(t, env.api),
		"POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(env.op.Account(t, a)))
	if want := plain("500 Internal Server Error", "error saving JWT"); got != want {
		t.Errorf("gave\n%s", got)
	}
	env.wantLine(t, "ERR", a.ID[:12]+" - error saving JWT - "+errDisk.Error())
}

func TestEveryWayOfSendingABody(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	address := serve(t, env.api)
	token := string(env.op.Account(t, a))
	line := "POST /jwt/v1/accounts/" + a.ID + "\n"
	t.Run("chunked", func(t *testing.T) {
		body := fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, token[:10], len(token)-10,
			token[10:])
		got := ask(t, address, line+"Transfer-Encoding: chunked\n\n"+body)
		if got != strings.Replace(stored, "\n", "\nConnection: close\n", 1) {
			t.Errorf("gave\n%s", got)
		}
	})
	t.Run("as a form", func(t *testing.T) {
		got := ask(t, address, line+"Content-Type: application/x-www-form-urlencoded\n\n"+token)
		if got != stored {
			t.Errorf("gave\n%s", got)
		}
	})
	t.Run("asking first", func(t *testing.T) {
		conn := dial(t, address)
		send(t, conn, wire(line+"Expect: 100-continue\nContent-Length: "+itoa(len(token))+"\n\n"))
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		send(t, conn, token)
		if got := receive(t, r, "POST"); got != stored {
			t.Errorf("gave\n%s", got)
		}
	})
	t.Run("closing its half of the connection", func(t *testing.T) {
		conn := dial(t, address)
		send(t, conn, wire(line+"\n"+token))
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, bufio.NewReader(conn), "POST"); got != stored {
			t.Errorf("gave\n%s", got)
		}
	})
}

const tooLarge = "413 Request Entity Too Large\nConnection: close\nContent-Length: " +
	"42\nContent-Type: text/plain\n" + vary +
	"\nrequest body is larger than 1048576 bytes\n"

// The answer comes before the body: it is not read.
func TestABodyThatSaysItIsTooLargeIsNotRead(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	conn := dial(t, serve(t, env.api))
	send(t, conn, wire("POST /jwt/v1/accounts/"+a.ID+"\nContent-Length: 629145600\n\n"))
	r := bufio.NewReader(conn)
	if got, want := receive(t, r, "POST"), tooLarge; got != want {
		t.Errorf("gave\n%s", got)
	}
	wantClosed(t, conn, r)
	env.wantNothingOffered(t)
}

func TestAChunkedBodyIsReadToTheLimitOnly(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	conn := dial(t, serve(t, env.api))
	send(t, conn, wire("POST /jwt/v1/accounts/"+a.ID+"\nTransfer-Encoding: chunked\n\n"))
	const sizeOfAll = 64 << 20
	go func() { // until the server disconnects
		chunk := "10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n"
		for range sizeOfAll >> 16 {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if got, want := receive(t, bufio.NewReader(conn), "POST"), tooLarge; got != want {
		t.Errorf("gave\n%s", got)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes allocated for a body that is refused", used)
	}
	env.wantNothingOffered(t)
}

func TestABodyOfExactlyTheLimitReachesTheRegistry(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	got := ask(t, serve(t, env.api),
		"POST /jwt/v1/accounts/"+a.ID+"\n\n"+strings.Repeat("x", 1<<20))
	if sizes := env.audit.offered(); !strings.HasPrefix(got, "400 Bad Request\n") ||
		!slices.Equal(sizes, []int{1 << 20}) {
		t.Errorf("gave\n%s, JWTs of %d bytes were offered", got, sizes)
	}
}

// timed serves with the server of the program.
func timed(t *testing.T, env *environment, read, write time.Duration) string {
	t.Helper()
	s := httpserver.NewHTTP(env.api, read, write, slog.New(env.log))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestASlowBodyGetsItsAnswer(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	conn := dial(t, timed(t, env, 700*time.Millisecond, 400*time.Millisecond))
	send(t, conn, wire("POST /jwt/v1/accounts/"+a.ID+"\nContent-Length: 100\n\neyJ0"))
	r := bufio.NewReader(conn)
	got := receive(t, r, "POST")
	if want := strings.Replace(bad("bad JWT in request\nit did not arrive whole within the time "+
		"for a request (http.readtimeout)"), "\n", "\nConnection: close\n", 1); got != want {
		t.Errorf("gave\n%s", got)
	}
	wantClosed(t, conn, r)
	if lines := env.log.lines("ERR"); len(lines) != 1 ||
		!strings.Contains(lines[0], "i/o timeout") {
		t.Errorf("log: %q", lines)
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	env := newEnvironment(t)
	conn := dial(t, timed(t, env, 700*time.Millisecond, 400*time.Millisecond))
	send(t, conn, wire("GET /healthz"))
	r := bufio.NewReader(conn)
	if got := receive(t, r, "GET"); got != bare {
		t.Errorf("gave\n%s", got)
	}
	wantClosed(t, conn, r)
}

func TestHeadersAreBounded(t *testing.T) {
	env := newEnvironment(t)
	conn := dial(t, timed(t, env, 5*time.Second, 5*time.Second))
	send(t, conn, wire("GET /healthz\nX: "+strings.Repeat("x", 64<<10)))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 431 ") {
		t.Errorf("gave %q, %v", line, err)
	}
}

// A client that disconnects within its body is no concern of the operator.
func TestABodyThatBreaksOffIsNoError(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	conn := dial(t, serve(t, env.api))
	send(t, conn, wire("POST /jwt/v1/accounts/"+a.ID+"\nContent-Length: 100\n\neyJ0"))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got := receive(t, bufio.NewReader(conn), "POST")
	if !strings.HasPrefix(got, "400 Bad Request\n") {
		t.Errorf("gave\n%s", got)
	}
	env.wantNoLine(t, "ERR")
	env.wantLine(t, "DBG", a.ID[:12]+" - bad JWT in request - unexpected EOF")
	env.wantNothingOffered(t)
}

func TestARequestIsCarriedOutThoughItsClientHasLeft(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	left, leave := context.WithCancel(t.Context())
	leave()
	url := "/jwt/v1/accounts/" + a.ID
	for _, r := range []*http.Request{
		httptest.NewRequest("POST", url, bytes.NewReader(env.op.Account(t, a))),
		httptest.NewRequest("GET", url+"?notify=true", nil),
	} {
		w := httptest.NewRecorder()
		env.api.ServeHTTP(w, r.WithContext(left))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %q", r.Method, w.Code, w.Body)
		}
	}
	if len(env.announcer.announced) != 2 {
		t.Errorf("announced %d times", len(env.announcer.announced))
	}
}

func TestAPanicIs500AndAnErrorLine(t *testing.T) {
	env := newEnvironment(t, func(o *httpapi.Options) { o.Accounts = nil })
	a := jwttest.NewAccount(t)
	w := httptest.NewRecorder()
	env.api.ServeHTTP(w, httptest.NewRequest("GET", "/jwt/v1/accounts/"+a.ID, nil))
	if w.Code != http.StatusInternalServerError || w.Body.String() != "internal server error\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if lines := env.log.lines("ERR"); len(lines) != 1 ||
		!strings.Contains(lines[0], "nil pointer dereference") {
		t.Errorf("log: %q", lines)
	}
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// wantClosed waits until the server closes the connection.
func wantClosed(t *testing.T, conn net.Conn, r *bufio.Reader) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("more came than the answer")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the connection is still open")
	}
}

// TestAPushWaitsAsLongAsTheClientWants, and no longer than ten seconds.
func TestAPushWaitsAsLongAsTheClientWants(t *testing.T) {
	env := newEnvironment(t)
	for query, want := range map[string]time.Duration{
		"": accounts.UsualWait, "?wait=": accounts.UsualWait,
		"?wait=2s": 2 * time.Second, "?wait=0s": 0,
		"?wait=1500ms": 1500 * time.Millisecond, "?wait=1h": 10 * time.Second,
		"?wait=2": 0, "?wait=-1s": 0, "?wait=soon": 0,
	} {
		env.announcer.waited = 0
		a, w := jwttest.NewAccount(t), httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/jwt/v1/accounts/"+a.ID+query,
			bytes.NewReader(env.op.Account(t, a)))
		env.api.ServeHTTP(w, r)
		isGood := want != 0 || query == "?wait=0s"
		if env.announcer.waited != want || (w.Code == http.StatusOK) != isGood ||
			!isGood && !strings.Contains(w.Body.String(),
				"is not a duration such as 2s, at most 10s") {
			t.Errorf("%s: waits for %s, %d %s", query, env.announcer.waited, w.Code, w.Body)
		}
	}
}
