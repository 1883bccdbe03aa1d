package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// stopped ends a process in order and returns how long that took.
func stopped(p *process) time.Duration {
	p.t.Helper()
	began := time.Now()
	p.term()
	return time.Since(began)
}

// TestAStopLeavesWhatIsSentLaterToTheNextProcess: the nats-server has not loaded the account, and is to be
// told once more.
func TestAStopLeavesWhatIsSentLaterToTheNextProcess(t *testing.T) {
	t.Parallel()
	s, p, url, _ := withNATS(t)
	a := jwttest.NewAccount(t)
	mustPush(t, url, a.ID, s.op.Account(t, a))
	p.term()
	p, url = s.start(t)
	natstest.Eventually(t, "the next process delivers it", func() bool {
		d := delivery(t, url, a.ID)
		return d.NATS == "connected" && len(d.Owed) == 0
	})
	p.term()
}

// TestNoSlowClientHoldsAStop: one reads a pack slowly, one sends a push slowly, and one has done so
// since before a reload.
func TestNoSlowClientHoldsAStop(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	long := func(c *jwt.AccountClaims) { c.Description = strings.Repeat("x", 100_000) }
	if err := os.Mkdir(filepath.Join(s.dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		a := jwttest.NewAccount(t)
		jwttest.File(t, s.dir, "store/"+a.ID+".jwt", s.op.Account(t, a, long))
	}
	text, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	conf(t, s.dir, "%s", strings.Replace(string(text), "http {", "http { readtimeout: 1m,", 1))
	p, url := s.start(t)
	begin := func(url, request string) {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.(*net.TCPConn).SetReadBuffer(1)
		fmt.Fprint(c, request)
		if _, err := bufio.NewReaderSize(c, 16).ReadString('\n'); err != nil { // it is in flight
			t.Fatal(err)
		}
	}
	slow := "POST /jwt/v1/accounts/A HTTP/1.1\r\nHost: x\r\nExpect: " +
		"100-continue\r\nContent-Length: 9\r\n\r\n"
	begin(url, slow)
	moved := freePort(t)
	conf(t, s.dir, "%s", strings.Replace(string(text), "port: 0",
		fmt.Sprintf("port: %d", moved), 1))
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	url = fmt.Sprintf("http://127.0.0.1:%d", moved)
	begin(url, slow)
	begin(url, "GET /jwt/v1/pack HTTP/1.1\r\nHost: x\r\n\r\n")
	// A request from before a reload may take five seconds since.
	if took := stopped(p); took > 4*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if !strings.Contains(p.log.String(), "requests that took too long were cut off") {
		t.Errorf("it does not say so:\n%s", p.log)
	}
}
