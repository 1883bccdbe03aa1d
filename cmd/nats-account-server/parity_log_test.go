package main_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

func logLines(t *testing.T) []behaviour {
	return []behaviour{
		row("the format: pid, time, level, colours", shownBy("TestTheLineFormat")),
		row("no text forges a line", shownBy("TestNoTextCanForgeALine",
			"TestNothingOfARequestForgesALogLine")),
		row("what is said at a start with everything, in order", startWithEverything),
		row("what is said of pushes and requests", pushLines),
		row("what is said of requests, with trace", traceLines),
		row("no error at a stop, where the original always has one",
			shownBy("TestSIGTERMStopsInOrderWithoutAnError")),
		row("each 404 is a debug line and one warning a minute, where the "+
			"original has an error each", shownBy("TestA404IsADebugLineAndOneSummaryAMinute")),
		row("an address of version 6 has its brackets", func(t *testing.T) {
			p := start(t, t.TempDir(), nil, "-hp", "[::1]:0")
			p.wait(`resolver: "URL\(http://\[::1\]:\d+/jwt/v1/accounts/\)"`)
		}),
		row("no host is the machine's name in the hint, where the original has 127.0.0.1",
			func(t *testing.T) {
				name, err := os.Hostname()
				if err != nil {
					t.Skip(err)
				}
				p := start(t, t.TempDir(), nil, "-hp", ":0")
				p.wait(`resolver: URL\(http://` + regexp.QuoteMeta(name) +
					`:\d+/jwt/v1/accounts/\)`)
			}),
		row("the hint is a text that nats-server parses",
			shownBy("TestTheResolverHintWorksInNatsServer")),
	}
}

func startWithEverything(t *testing.T) {
	s, p, _, _ := withNATS(t)
	begin, _, _ := strings.Cut(p.log.String(), "it keeps no accounts then")
	inOrder(t, begin, `\[INF\] starting NATS Account server, version `,
		`server time is \w+ \w+ +\d+ [\d:]+ \w+ \d+\n`, `loading configuration from "/.*"`,
		"loading system account from .*sys.jwt", "System Account: "+s.op.System.ID,
		"System Account Name: ",
		"loading operator from .*op.jwt", "Operator: "+s.op.ID, "Operator Name: ",
		"creating a store at /.*store", `http listening on port \d+`,
		"nats-account-server is running", "configure the nats-server with:",
		`  resolver: URL\(http://127.0.0.1:\d+/jwt/v1/accounts/\)`)
	inOrder(t, p.log.String(), "connecting to NATS for notifications",
		"connected to NATS for account and activation notifications",
		"connected to NATS for JWT syncing")
	p.term()
	inOrder(t, p.log.String(), `\n\n?.*received sig-term, shutting down`, "stopping account server",
		"stopping http server", "http server stopped",
		"disconnected from NATS", "http stopped", "closed JWT store")
}

// pushLines are those that people look for.
func pushLines(t *testing.T) {
	s := newEnv(t, "", "logging { colors: false }")
	p, url := s.start(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	push := func(key string, token []byte) {
		post(http.DefaultClient, url+"/jwt/v1/accounts/"+key, token)
	}
	short := a.ID[:12]
	push(a.ID, token)
	p.wait(`\[INF\] updated JWT for account - ` + short + " - " + jtiOf(t, token) + "\n")
	p.wait(`\[INF\] skipping notification for ` + short + ", no NATS configured\n")
	activation := activationOf(t, a, b)
	status, body := post(http.DefaultClient, url+"/jwt/v1/activations", activation)
	if status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	p.wait(`\[INF\] updated activation JWT - ` + short + "-" + b.ID[:12] + ` - "foo\.>"`)
	p.wait(`\[INF\] skipping activation notification for ` + hashOf(t, activation)[:12] +
		", no NATS configured\n")
	push(b.ID, []byte("garbage"))
	p.wait(`\[ERR\] ` + b.ID[:12] + " - bad JWT in request - expected 3 chunks: .*\n")
	push(b.ID, jwttest.Flip(s.op.Account(t, b)))
	p.wait(`\[ERR\] ` + b.ID[:12] +
		" - bad JWT in request - claim failed V2 signature verification: .*\n")
	push(b.ID, activation)
	p.wait(`\[ERR\] ` + b.ID[:12] + " - bad JWT in request - not account claim: .*\n")
	push(b.ID, token)
	p.wait(`\[ERR\] .{12} - pub keys don't match - .*\n`)
	push(b.ID, jwttest.NewOperator(t).Account(t, b))
	p.wait(`\[ERR\] .{12} - untrusted issuer in request`)
	push(b.ID, jwttest.Sign(t, s.op.Signing, b, time.Now(), func(c *jwt.AccountClaims) {
		c.Expires = 1
	}))
	p.wait(`\[ERR\] attempt to update JWT ` + b.ID[:12] +
		" with blocking validation errors - claim is expired: .*\n")
	p.term()
}

func traceLines(t *testing.T) {
	s := newEnv(t, "", "logging { colors: false }")
	p, url := s.start(t, "-DV")
	a := jwttest.NewAccount(t)
	path := "/jwt/v1/accounts/" + a.ID
	unknown := strings.Repeat("A", 52) + "===="
	post(http.DefaultClient, url+path, s.op.Account(t, a))
	short := a.ID[:12]
	for _, c := range []struct {
		path  string
		lines []string
	}{
		{"/jwt/v1/accounts/", []string{`127\.0\.0\.1:\d+: /jwt/v1/accounts/\n`,
			"server sent resolver check"}},
		{path, []string{"request for JWT for - " + short, "returning JWT for - " + short}},
		{"/jwt/v1/activations/" + unknown,
			[]string{`127\.0\.0\.1:\d+: /jwt/v1/activations/` + unknown}},
		{path + "?text=true", []string{"returning JWT as text for - " + short}},
		{path + "?decode=true", []string{"returning decoded JWT as text for - " + short}},
		{path + "?notify=true", []string{"trying to send notification for - " + short}},
		{"/jwt/v1/pack", []string{"request for JWT Pack - max=10000", "returning JWT Pack"}},
		{"/jwt/v1/accounts/" + s.op.System.ID, []string{"returning system JWT from configuration"}},
	} {
		get(t, url+c.path)
		for _, line := range c.lines {
			p.wait(`\[TRC\] ` + line)
		}
	}
	wantSaid(t, p.log.String(), "[DBG] unable to find requested activation JWT for "+unknown+" - ")
	p.term()
}

func startToEnd(t *testing.T) []behaviour {
	k := newParityEnv(t)
	return []behaviour{
		row("SIGHUP any number of times, a bad configuration is no end, SIGINT after it is clean",
			shownBy("TestStories/reload")),
		row("SIGHUP keeps requests and connections",
			shownBy("TestARequestInFlightSurvivesAReload", "TestANewConnectionSurvivesAReload")),
		row("-dump is one record of JSON, two spaces deep, after the "+
			"start, and the program goes on",
			func(t *testing.T) {
				p := start(t, k.dir, nil, flags("-hp 127.0.0.1:0 -dump")...)
				url := p.url()
				p.wait(`(?s)\[INF\] \{\n  "Logging": \{\n    "Time": true,\n.*\n` +
					`  "MaxReplicationPack": 10000,\n.*\n\}\n`)
				if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
					t.Errorf("healthz: %d", status)
				}
				p.term()
			}),
		row("a Windows service, with its lines in the event log",
			shownBy("TestTheServiceReportsItsState", "TestALineOfTheLogIsAnEventOfItsLevel")),
		row("a container image with the original's paths and entry point; "+
			"docker stop is a stop in order",
			shownBy("TestTheProgramRunsAloneInAContainer", "TestTheImageIsTheOriginals")),
		row("a directory of either version is served unchanged",
			shownBy("TestADirectoryOfTheOriginalIsServedAndKept")),
		row("nats-server's URL resolver: one GET at its start, accounts on demand, updates",
			shownBy("TestTheQuickStartWorksAsTheReadmeSays", "TestOlderNATSServersFollowEveryPush",
				"TestAURLResolverDoesNotStartWithoutUs")),
		row("nsc push, pull and add operator over HTTP", nscOverHTTP),
		row("nsc over NATS", shownBy("TestNSCPushesPullsAndDeletesOverNATS")),
	}
}

// nscOverHTTP sends what nsc sends: one connection for all accounts, each of which must be 200;
// then everything back.
func nscOverHTTP(t *testing.T) {
	s := newEnv(t, "", "")
	p, url := s.start(t)
	client := &http.Client{}
	tokens := map[string][]byte{}
	for range 5 {
		a := jwttest.NewAccount(t)
		tokens[a.ID] = s.op.Account(t, a)
		status, body := post(client, url+"/jwt/v1/accounts/"+a.ID, tokens[a.ID])
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	if _, body := get(t, url+"/jwt/v1/operator"); body != s.op.Token(t) {
		t.Errorf("the operator is %q", body)
	}
	for key, token := range tokens {
		if _, body := get(t, url+"/jwt/v1/accounts/"+key); body != string(token) {
			t.Errorf("%s is %q", key, body)
		}
	}
	p.term()
}
