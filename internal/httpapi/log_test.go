package httpapi_test

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/jwttest"
)

func (env *environment) wantLine(t testing.TB, level, text string) {
	t.Helper()
	lines := env.log.lines(level)
	if !slices.ContainsFunc(lines, func(line string) bool {
		return times.ReplaceAllString(line, "2026-01-02T03:04:05Z") ==
			times.ReplaceAllString("["+level+"] "+text, "2026-01-02T03:04:05Z")
	}) {
		t.Errorf("no %s line %q in %q", level, text, lines)
	}
}

func (env *environment) wantNoLine(t testing.TB, level string) {
	t.Helper()
	if lines := env.log.lines(level); len(lines) != 0 {
		t.Errorf("%s lines: %q", level, lines)
	}
}

func TestA404IsADebugLineAndOneSummaryAMinute(t *testing.T) {
	env := newEnvironment(t)
	a := jwttest.NewAccount(t)
	address := serve(t, env.api)
	began := env.now.UTC().Format(time.RFC3339)
	for range 3 {
		ask(t, address, "GET /jwt/v1/accounts/"+a.ID)
		ask(t, address, "GET /nothing")
	}
	env.wantNoLine(t, "ERR")
	env.wantNoLine(t, "WRN")
	env.wantLine(t, "DBG", a.ID[:12]+" - no matching account JWT")
	env.wantLine(t, "DBG", "404 page not found")

	env.now = env.now.Add(time.Minute)
	again := env.now.UTC().Format(time.RFC3339)
	ask(t, address, "GET /jwt/v1/accounts/junk")
	ask(t, address, "GET /jwt/v1/accounts/junk")
	env.wantLine(t, "WRN", "7 requests since "+began+" were answered 404")

	env.now = env.now.Add(time.Hour)
	ask(t, address, "GET /jwt/v1/accounts/junk")
	env.wantLine(t, "WRN", "2 requests since "+again+" were answered 404")
	if lines := env.log.lines("WRN"); len(lines) != 2 {
		t.Errorf("summaries: %q", lines)
	}
}

func TestAFloodOfFailuresIsAHundredLinesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := newEnvironment(t)
		fail := func(times int) {
			for range times {
				r := httptest.NewRequest("POST", "/jwt/v1/accounts/junk", strings.NewReader("junk"))
				env.api.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		began := time.Now().UTC().Format(time.RFC3339)
		fail(1000)
		if n := len(env.log.lines("ERR")); n != 100 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Minute)
		fail(3)
		if n := len(env.log.lines("ERR")); n != 100+1+3 {
			t.Errorf("a minute later %d lines", n)
		}
		env.wantLine(t, "ERR", "900 more lines like the next were left out since "+began)
	})
}

func TestNothingOfARequestForgesALogLine(t *testing.T) {
	env := newEnvironment(t)
	address := serve(t, env.api)
	forged := "x%0a2026-01-01%20FAKE%20%5BINF%5D%20all%20is%20well%1b%5B31m"
	for _, request := range []string{
		"GET /jwt/v1/accounts/" + forged,
		"GET /jwt/v1/accounts/" + forged + "?decode=true&FAKE=FAKE",
		"GET /jwt/v1/accounts/" + forged + "?jti=FAKE%0a",
		"GET /" + forged + "?FAKE",
		"GET /jwt/v1/accounts/" + forged + "/?FAKE",
		"DELETE /jwt/v1/accounts/" + forged,
		"POST /jwt/v1/accounts/" + forged + "\n\n{\"FAKE\n\":.x.y",
		"OPTIONS /" + forged + "\nOrigin: FAKE",
		"GET /x\nHost: FAKE%0aFAKE",
	} {
		ask(t, address, request)
	}
	for _, line := range env.log.lines("") {
		if strings.Contains(line, "FAKE") || strings.Contains(line, "\x1b") {
			t.Errorf("forged: %q", line)
		}
	}
	if len(env.store.asked) > 0 {
		t.Errorf("the store was asked for %q", env.store.asked)
	}
}

func TestADetailStaysOnItsLine(t *testing.T) {
	env, a := newEnvironment(t), jwttest.NewAccount(t)
	const foul = "line\r\n[INF] FAKE \x1b[31m \u2028 \xff \"é\" "
	env.store.saveErr = errors.New(foul + strings.Repeat("x", 1000))
	ask(t, serve(t, env.api), "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(env.op.Account(t, a)))
	env.wantLine(t, "ERR",
		a.ID[:12]+` - error saving JWT - line\r\n[INF] FAKE \x1b[31m \u2028 \ufffd `+
			`"é" `+strings.Repeat("x", 512-len(foul))+"...")
}

// The registry logs it when it first reads the file.
func TestADamagedFileIsLoggedOnceHoweverOftenItIsAskedFor(t *testing.T) {
	env := newEnvironment(t)
	s := fill(t, env)
	address := serve(t, env.api)
	for range 3 {
		ask(t, address, "GET /jwt/v1/accounts/"+s.d.ID)
	}
	begin := "[ERR] " + s.d.ID[:12] + " - error loading JWT - "
	if lines := env.log.lines("ERR"); len(lines) != 1 || !strings.HasPrefix(lines[0], begin) {
		t.Errorf("ERR lines: %q", lines)
	}
}

func TestTrace(t *testing.T) {
	env := newEnvironment(t)
	words := strings.NewReplacer(fill(t, env).words...)
	address := serve(t, env.api)
	for _, c := range []struct {
		send string
		want []string
	}{
		{"/jwt/v1/accounts/", []string{": /jwt/v1/accounts/", "server sent resolver check"}},
		{"/jwt/v1/accounts/$A", []string{": /jwt/v1/accounts/$A", "request for JWT for - $A",
			"returning JWT for - $A"}},
		{"/jwt/v1/accounts/$A?x=y&text=TRUE&check=1", []string{": /jwt/v1/accounts/$A?text=true",
			"request for JWT for - $A", "returning JWT as text for - $A"}},
		{"/jwt/v1/accounts/$A?decode=true", []string{": /jwt/v1/accounts/$A?decode=true",
			"request for JWT for - $A", "returning decoded JWT as text for - $A"}},
		{"/jwt/v1/accounts/$A?notify=true&jti=", []string{": /jwt/v1/accounts/$A?notify=true",
			"request for JWT for - $A", "trying to send notification for - $A",
			"returning JWT for - $A"}},
		{"/jwt/v1/accounts/$A?jti=secret&check=true",
			[]string{": /jwt/v1/accounts/$A?jti=(any)&check=true"}},
		{"/jwt/v1/accounts/$A?jti=secret&verify=true&delivery=true",
			[]string{": /jwt/v1/accounts/$A?jti=(any)&delivery=true&verify=true"}},
		{"/jwt/v1/accounts/junk", []string{": /jwt/v1/accounts/(invalid key)"}},
		{"/junk", []string{": (unknown path)"}},
	} {
		before := len(env.log.lines("TRC"))
		ask(t, address, words.Replace("GET "+c.send))
		got := env.log.lines("TRC")[before:]
		if len(got) != len(c.want) {
			t.Errorf("%s: %q", c.send, got)
			continue
		}
		for i, want := range c.want {
			want = words.Replace(want)
			if key := words.Replace("$A"); i > 0 {
				want = strings.Replace(want, key, key[:12], 1)
			}
			if !strings.HasSuffix(got[i], want) ||
				(i == 0) != strings.HasPrefix(got[i], "[TRC] 127.0.0.1:") {
				t.Errorf("%s: %q, want %q", c.send, got[i], want)
			}
		}
	}
}
