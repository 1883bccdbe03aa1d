package main_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

func TestNoURLReachesNATS(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	creds, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), creds)
	heard := make(chan string, 100)
	// A lookup of an account that exists may be the server's own, before an announcement.
	isOwn := regexp.MustCompile(`^\$SYS\.REQ\.ACCOUNT\.A[A-Z2-7]{55}\.CLAIMS\.LOOKUP$`)
	for _, subject := range []string{"pwned", "$SYS.REQ.ACCOUNT.>", "$SYS.ACCOUNT.*.CLAIMS.>"} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if !isOwn.MatchString(m.Subject) {
				heard <- m.Subject
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	_ = nc.Flush()
	for _, key := range []string{
		"x%20y%200%0d%0a%0d%0aPUB%20pwned%205%0d%0ahello%0d%0aPUB%20x", "%0d%0aBOGUS", "*", "%3E",
		s.op.System.ID + "%0d%0aPUB",
	} {
		for _, query := range []string{"", "?notify=true", "?text=true", "?decode=true"} {
			got := raw(t, url, "GET /jwt/v1/accounts/"+key+query+" HTTP/1.1\r\nHost: x\r\n\r\n")
			if got != "HTTP/1.1 404 Not Found" {
				t.Errorf("%s%s: %s", key, query, got)
			}
		}
		raw(t, url, "POST /jwt/v1/accounts/"+key+
			" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	}
	a := jwttest.NewAccount(t) // what is heard first after all that is the announcement of a push
	mustPush(t, url, a.ID, s.op.Account(t, a))
	if got := <-heard; got != "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE" {
		t.Errorf("heard on %q", got)
	}
	if strings.Contains(p.log.String(), "pwned") || strings.Contains(p.log.String(), "BOGUS") {
		t.Errorf("a hostile key is in the log:\n%s", p.log)
	}
	p.term()
}

func TestAChangeIsAnnouncedOnceToServersThatHaveTheAccount(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	a := jwttest.NewAccount(t)
	push := func(token []byte) {
		mustPush(t, url, a.ID, token)
	}
	push(jwttest.Sign(t, s.op.Signing, a, time.Now().Add(-time.Minute)))
	creds, _ := a.User(t)
	natstest.Connect(t, n.ClientURL(), creds)                               // nats-server loads the account
	push(jwttest.Sign(t, s.op.Signing, a, time.Now().Add(-30*time.Second))) // takes the first one's place
	delivered := func() {
		t.Helper()
		natstest.Eventually(t, "nothing is left to announce", func() bool {
			return running(t, url, a.ID) == "connected [] true"
		})
	}
	delivered()
	sys, _ := s.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), sys)
	var mu sync.Mutex
	count := 0
	if _, err := nc.Subscribe("$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE", func(*nats.Msg) {
		mu.Lock()
		count++
		mu.Unlock()
	}); err != nil {
		t.Fatal(err)
	}
	_ = nc.Flush()
	push(s.op.Account(t, a))
	delivered()
	p.term() // everything that is to be sent has been sent
	_ = nc.Flush()
	mu.Lock()
	defer mu.Unlock()
	if count != 1 {
		t.Errorf("announced %d times", count)
	}
}

func TestHTTPLivesWhileNATSIsSilent(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := newEnv(t, "nats://"+silent.Addr().String(), "")
	// What waits for the connection waits for longer than this test does for a start and for an end.
	text := strings.Replace(mustReadFile(t, s.conf), "connecttimeout: 3000", "connecttimeout: 1h", 1)
	s.conf = conf(t, s.dir, "%s", text)
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusNotFound {
		t.Errorf("unknown account: %d", status)
	}
	status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a))
	if status != http.StatusOK ||
		body != "stored; NATS is not connected: will be sent when it is\n" {
		t.Errorf("push: %d %s", status, body)
	}
	p.term()
}

func TestTheFlagsDAndVAreHonoured(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	for flag, want := range map[string]string{"-V": "TRC", "-DV": "TRC"} {
		p, url := s.start(t, flag)
		get(t, url+"/jwt/v1/accounts/")
		p.wait(want)
		p.term()
	}
	p, url := s.start(t, "-D")
	get(t, url+"/jwt/v1/accounts/"+jwttest.NewAccount(t).ID)
	p.wait("DBG")
	p.term()
}

func TestNotifyingWhileNATSConnectsIsNoRace(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	a := jwttest.NewAccount(t)
	post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a))
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					status, body := get(t, url+"/jwt/v1/accounts/"+a.ID+"?notify=true")
					if status != http.StatusOK {
						t.Errorf("%d %s", status, body)
						return
					}
				}
			}
		})
	}
	natstest.Stop(n)
	p.wait("nats disconnected")
	p.wait("failed to connect to NATS")
	close(stop)
	busy.Wait()
	p.term() // fails on a data race
}

func TestSIGTERMStopsInOrderWithoutAnError(t *testing.T) {
	s := newEnv(t, "", "")
	p, url := s.start(t)
	// connects, as load balancers do, and says nothing
	mute, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	get(t, url+"/healthz") // accepted after the mute one
	p.signal(syscall.SIGTERM)
	p.wait("received sig-term, shutting down(?s:.*)http server stopped(?s:.*)closed JWT store")
	if code := p.exited(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(p.log.String(), "[ERR]") {
		t.Errorf("an error on a normal stop:\n%s", p.log)
	}
	if strings.Contains(p.log.String(), "took too long") {
		t.Errorf("it has waited for a client that says nothing:\n%s", p.log)
	}
}

// TestASecondSignalEndsTheProcessAtOnce keeps the stop waiting with half a request.
func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	for _, first := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := newEnv(t, "", "")
		p, url := s.start(t)
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "POST /jwt/v1/accounts/A HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+
			"Content-Length: 9\r\n\r\n")
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil { // it reads the body
			t.Fatal(err)
		}
		p.signal(first)
		p.wait("received sig-(?s:.*)stopping http server")
		p.signal(syscall.SIGTERM)
		if code := p.exited(); code != -1 { // -1: a signal has killed it
			t.Errorf("exit code %d", code)
		}
		if strings.Contains(p.log.String(), "http server stopped") {
			t.Errorf("it waited for the request:\n%s", p.log)
		}
	}
}

// TestARequestInFlightSurvivesAReload sends half a push, lets the address and the timeouts change,
// and sends the rest.
func TestARequestInFlightSurvivesAReload(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /jwt/v1/accounts/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
		a.ID, len(token), token[:10])
	conf(t, s.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: "127.0.0.1", port: 0, writetimeout: 6s }
		store { dir: store, shard: true }
		logging { trace: true }`)
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	if _, err := c.Write(token[10:]); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "HTTP/1.1 200 OK" {
		t.Errorf("answer %q, %v", line, err)
	}
	if status, _ := get(t, url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK {
		t.Errorf("on the same address: %d", status)
	}
	p.term()
}

// TestANewConnectionSurvivesAReload connects, lets the timeouts change, and only then makes
// its request.
func TestANewConnectionSurvivesAReload(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	get(t, url+"/healthz") // accepted after it
	conf(t, s.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: "127.0.0.1", port: 0, writetimeout: 6s }
		store { dir: store, shard: true }`)
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "HTTP/1.1 200 OK" {
		t.Errorf("answer %q, %v", line, err)
	}
	p.term()
}

func TestASecondProcessSaysWhoHoldsTheDirectory(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	first, _ := s.start(t)
	second := start(t, s.dir, nil, "-c", s.conf)
	if code := second.exited(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := second.log.String(); !strings.Contains(log, fmt.Sprint(first.cmd.Process.Pid)) ||
		strings.Count(log, "[ERR]") != 1 {
		t.Errorf("it says:\n%s", log)
	}
	impatient := start(t, s.dir, nil, "-c", s.conf)
	impatient.wait("creating a store at")
	impatient.term()
	third := start(t, s.dir, nil, "-c", s.conf) // a rolling restart
	third.wait("creating a store at")
	first.term()
	third.url()
	third.term()
}

func TestAPortInUseIsOneLineAndExitCode1(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, t.TempDir(), nil, "-hp", l.Addr().String())
	if code := p.exited(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := p.log.String(); len(p.lines("ERR")) != 1 ||
		!strings.Contains(log, "error creating listener: listen tcp") {
		t.Errorf("it says:\n%s", log)
	}
}
