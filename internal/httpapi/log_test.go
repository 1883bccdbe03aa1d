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

func (b *bench) wantLine(t testing.TB, level, text string) {
	t.Helper()
	if lines := b.log.lines(level); !slices.Contains(lines, "["+level+"] "+text) {
		t.Errorf("no %s line %q in %q", level, text, lines)
	}
}

func (b *bench) wantNoLine(t testing.TB, level string) {
	t.Helper()
	if lines := b.log.lines(level); len(lines) != 0 {
		t.Errorf("%s lines: %q", level, lines)
	}
}

func TestA404IsADebugLineAndOneSummaryAMinute(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	address := serve(t, b.api)
	began := b.now.UTC().Format(time.RFC3339)
	for range 3 {
		ask(t, address, "GET /jwt/v1/accounts/"+a.ID)
		ask(t, address, "GET /nothing")
	}
	b.wantNoLine(t, "ERR")
	b.wantNoLine(t, "WRN")
	b.wantLine(t, "DBG", a.ID[:12]+" - no matching account JWT")
	b.wantLine(t, "DBG", "404 page not found")

	b.now = b.now.Add(time.Minute)
	again := b.now.UTC().Format(time.RFC3339)
	ask(t, address, "GET /jwt/v1/accounts/junk")
	ask(t, address, "GET /jwt/v1/accounts/junk")
	b.wantLine(t, "WRN", "7 requests since "+began+" were answered 404")

	b.now = b.now.Add(time.Hour)
	ask(t, address, "GET /jwt/v1/accounts/junk")
	b.wantLine(t, "WRN", "2 requests since "+again+" were answered 404")
	if lines := b.log.lines("WRN"); len(lines) != 2 {
		t.Errorf("summaries: %q", lines)
	}
}

func TestAFloodOfFailuresIsAHundredLinesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		fail := func(times int) {
			for range times {
				r := httptest.NewRequest("POST", "/jwt/v1/accounts/junk", strings.NewReader("junk"))
				b.api.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		began := time.Now().UTC().Format(time.RFC3339)
		fail(1000)
		if n := len(b.log.lines("ERR")); n != 100 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Minute)
		fail(3)
		if n := len(b.log.lines("ERR")); n != 100+1+3 {
			t.Errorf("a minute later %d lines", n)
		}
		b.wantLine(t, "ERR", "900 more lines like the next were left out since "+began)
	})
}

func TestNothingOfARequestForgesALogLine(t *testing.T) {
	b := newBench(t)
	address := serve(t, b.api)
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
	for _, line := range b.log.lines("") {
		if strings.Contains(line, "FAKE") || strings.Contains(line, "\x1b") {
			t.Errorf("forged: %q", line)
		}
	}
	if len(b.gate.calls) != 0 {
		t.Errorf("the gate was asked: %v", b.gate.calls)
	}
}

func TestADetailStaysOnItsLine(t *testing.T) {
	b, a := newBench(t), jwttest.NewAccount(t)
	const foul = "line\r\n[INF] FAKE \x1b[31m \u2028 \xff \"é\" "
	b.store.saveErr = errors.New(foul + strings.Repeat("x", 1000))
	ask(t, serve(t, b.api), "POST /jwt/v1/accounts/"+a.ID+"\n\n"+string(b.op.Account(t, a)))
	b.wantLine(t, "ERR", a.ID[:12]+` - error saving JWT - line\r\n[INF] FAKE \x1b[31m \u2028 \ufffd "é" `+strings.Repeat("x", 512-len(foul))+"...")
}

// The gate says once that a file is damaged; who asks for it again does not fill the log.
func TestADamagedFileIsOneLine(t *testing.T) {
	b := newBench(t)
	s := fill(t, b)
	address := serve(t, b.api)
	for range 3 {
		ask(t, address, "GET /jwt/v1/accounts/"+s.d.ID)
	}
	b.wantNoLine(t, "ERR")
	if lines := b.log.lines("WRN"); len(lines) != 1 {
		t.Errorf("WRN lines: %q", lines)
	}
}

func TestTrace(t *testing.T) {
	b := newBench(t)
	words := strings.NewReplacer(fill(t, b).words...)
	address := serve(t, b.api)
	for _, c := range []struct {
		send string
		want []string
	}{
		{"/jwt/v1/accounts/", []string{": /jwt/v1/accounts/", "server sent resolver check"}},
		{"/jwt/v1/accounts/$A", []string{": /jwt/v1/accounts/$A", "request for JWT for - $A", "returning JWT for - $A"}},
		{"/jwt/v1/accounts/$A?x=y&text=TRUE&check=1", []string{": /jwt/v1/accounts/$A?text=true", "request for JWT for - $A", "returning JWT as text for - $A"}},
		{"/jwt/v1/accounts/$A?decode=true", []string{": /jwt/v1/accounts/$A?decode=true", "request for JWT for - $A", "returning decoded JWT as text for - $A"}},
		{"/jwt/v1/accounts/$A?notify=true&jti=", []string{": /jwt/v1/accounts/$A?notify=true", "request for JWT for - $A", "trying to send notification for - $A", "returning JWT for - $A"}},
		{"/jwt/v1/accounts/$A?jti=secret&check=true", []string{": /jwt/v1/accounts/$A?jti=(any)&check=true"}},
		{"/jwt/v1/accounts/junk", []string{": /jwt/v1/accounts/(invalid key)"}},
		{"/junk", []string{": (unknown path)"}},
	} {
		before := len(b.log.lines("TRC"))
		ask(t, address, words.Replace("GET "+c.send))
		got := b.log.lines("TRC")[before:]
		if len(got) != len(c.want) {
			t.Errorf("%s: %q", c.send, got)
			continue
		}
		for i, want := range c.want {
			want = words.Replace(want)
			if key := words.Replace("$A"); i > 0 {
				want = strings.Replace(want, key, key[:12], 1)
			}
			if !strings.HasSuffix(got[i], want) || (i == 0) != strings.HasPrefix(got[i], "[TRC] 127.0.0.1:") {
				t.Errorf("%s: %q, want %q", c.send, got[i], want)
			}
		}
	}
}
