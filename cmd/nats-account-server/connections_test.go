//go:build linux

package main_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// startRelease runs that program, with these variables in its environment.
func (s *testEnv) startRelease(t *testing.T, env ...string) (*process, string) {
	t.Helper()
	path, err := releaseBinary()
	if err != nil {
		t.Fatal(err)
	}
	p := startOther(t, path, s.dir, env, "-c", s.conf)
	return p, p.url()
}

// startWithFiles runs the program, which may open so many files.
func (s *testEnv) startWithFiles(t *testing.T, files int) (*process, string) {
	t.Helper()
	c := exec.Command("sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(files),
		binary, "-c", s.conf)
	c.Dir = s.dir
	p := launch(t, c)
	return p, p.url()
}

// timeouts is the part of a configuration that sets them, in milliseconds.
func timeouts(read, write int) string {
	return fmt.Sprintf("http { readtimeout: %d, writetimeout: %d }", read, write)
}

// sockets is how many of them are connections, or listen.
func (p *process) sockets() (n int) {
	p.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, fd := range all {
		if what, _ := os.Readlink(filepath.Join(dir, fd.Name())); strings.HasPrefix(what,
			"socket:") {
			n++
		}
	}
	return n
}

// wantDescriptorsBack waits until only those are left that the program has for itself.
func (p *process) wantDescriptorsBack() {
	p.t.Helper()
	http.DefaultClient.CloseIdleConnections()
	natstest.Eventually(p.t, "all descriptors are back",
		func() bool { return p.sockets() == 1 && p.descriptors() < 20 })
}

// connectMany opens n connections that send text, from several addresses because one has too few
// ports.
func connectMany(t *testing.T, url string, n int, text string) []*net.TCPConn {
	t.Helper()
	all := make([]*net.TCPConn, n)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				all[i] = connect(t, url, byte(w+1), text)
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() { closeAll(all) })
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// connect opens a connection from 127.0.0.host that sends text. The server may close it meanwhile.
func connect(t *testing.T, url string, host byte, text string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)},
		Timeout: 10 * time.Second}
	c, err := d.DialContext(context.Background(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Error(err)
		return nil
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, text); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the program does not read:", err)
	}
	return c.(*net.TCPConn)
}

// closeAll resets the connections, so that the system forgets them.
func closeAll(all []*net.TCPConn) {
	for _, c := range all {
		if c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}

// answered reads one answer and returns its status; 0 when there is none.
func answered(c net.Conn) int {
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// wantServed checks that new clients can push and read. It returns the URL of the account.
func wantServed(t *testing.T, s *testEnv, url string) (path string) {
	t.Helper()
	a := jwttest.NewAccount(t)
	token := s.op.Account(t, a)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		Timeout: 20 * time.Second}
	path = url + "/jwt/v1/accounts/" + a.ID
	if status, body := post(client, path, token); status != http.StatusOK {
		t.Errorf("the push of a new client: %d %s", status, body)
	}
	if status, body := ask(client, path); status != http.StatusOK || body != string(token) {
		t.Errorf("the GET of a new client: %d %q", status, body)
	}
	return path
}

const healthy = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

// TestTenThousandIdleConnections has half of them silent from the beginning and half after a
// request.
func TestTenThousandIdleConnections(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := int(min(10000, limit.Cur-min(limit.Cur/2, 600)))
	if n < 10000 {
		t.Logf("only %d connections: this process may open no more than %d files", n, limit.Cur)
	}
	s := newEnv(t, "", timeouts(300000, 30000))
	p, url := s.startRelease(t)
	wantServed(t, s, url)
	memory := p.memory()
	idle := append(connectMany(t, url, n/2, ""), connectMany(t, url, n/2, healthy)...)
	for _, c := range idle[n/2:] {
		if answered(c) != http.StatusOK {
			t.Fatal("no answer")
		}
	}
	natstest.Eventually(t, "all are accepted", func() bool { return p.descriptors() >= len(idle) })
	path := wantServed(t, s, url)
	natstest.Eventually(t, "a new client is answered within a second", func() bool {
		began := time.Now()
		get(t, path)
		return time.Since(began) < time.Second
	})
	if each := (p.memory() - memory) / len(idle); each > 64 {
		t.Errorf("a connection takes %d KiB", each)
	}
	closeAll(idle)
	p.wantDescriptorsBack()
	wantServed(t, s, url)
	p.wantOnce()
	p.term()
}

// TestSlowClientsAreNotWaitedFor has clients that are slow in every way. Some of them disappear
// without a word.
func TestSlowClientsAreNotWaitedFor(t *testing.T) {
	const n = 100
	// What is slow gets an answer, and has more time for that than for its request.
	s := newEnv(t, "", timeouts(2000, 20000))
	p, url := s.start(t)
	wantServed(t, s, url)
	vanished := connectMany(t, url, n, "GET /healthz HTTP/1.1\r\nHo")
	for _, c := range vanished {
		vanish(t, c)
	}
	silent := connectMany(t, url, n, "")
	idle := connectMany(t, url, n, healthy)
	headers := connectMany(t, url, n, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
	bodies := connectMany(t, url, n,
		"POST /jwt/v1/accounts/A HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	chunks := connectMany(t, url, n,
		"POST /jwt/v1/accounts/A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	stop := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() { trickle(headers, "x", stop) })
	drip.Go(func() { trickle(bodies, "x", stop) })
	drip.Go(func() { trickle(chunks, "1\r\nx\r\n", stop) })
	wantServed(t, s, url)
	for kind, conns := range map[string][]*net.TCPConn{"400 body": bodies,
		"400 chunked body": chunks,
		"0 silent":         silent, "200 idle": idle, "0 header": headers} {
		for _, c := range conns {
			if status := answered(c); !strings.HasPrefix(kind, strconv.Itoa(status)+" ") {
				t.Errorf("%s: %d", kind, status)
			}
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection stays open", kind)
			}
		}
	}
	close(stop)
	drip.Wait()
	p.wantDescriptorsBack()
	wantServed(t, s, url)
	p.term()
}

// vanish closes a connection without telling the other side.
func vanish(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
			t.Log("a connection can't vanish here, it says good-bye:", err)
		}
	})
	_ = c.Close()
}

// trickle sends text on every connection now and then.
func trickle(conns []*net.TCPConn, text string, stop <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, c := range conns {
			_, _ = io.WriteString(c, text)
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// TestAClientThatDoesNotReadIsClosed asks for more than the system buffers and reads nothing.
func TestAClientThatDoesNotReadIsClosed(t *testing.T) {
	s := newEnv(t, "", timeouts(500, 500))
	p, url := s.start(t)
	greedy(t, s, url)
	wantServed(t, s, url)
	p.wantDescriptorsBack()
	p.wantOnce()
	p.term()
}

// greedy asks for a large account until the program is stuck with answers that are not read.
func greedy(t *testing.T, s *testEnv, url string) *net.TCPConn {
	t.Helper()
	a := jwttest.NewAccount(t)
	token := s.op.Account(t, a, large)
	path := url + "/jwt/v1/accounts/" + a.ID
	if status, body := post(http.DefaultClient, path, token); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	c := connectMany(t, url, 1, "")[0]
	request := fmt.Sprintf("GET /jwt/v1/accounts/%s HTTP/1.1\r\nHost: x\r\n\r\n", a.ID)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := io.WriteString(c, strings.Repeat(request, 100)); err != nil {
			return c
		}
	}
}

// TestIdleConnectionsAreClosedForNewOnes runs the program with few files and opens more idle
// connections than it may have. The one that is being answered stays open.
func TestIdleConnectionsAreClosedForNewOnes(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", timeouts(300000, 300000))
	p, url := s.startWithFiles(t, 100)
	reader := greedy(t, s, url)
	for range 4 {
		connectMany(t, url, 100, "")
		connectMany(t, url, 100, healthy)
		connectMany(t, url, 100, "GET /healthz HTTP/1.1\r\nHo")
		wantServed(t, s, url)
	}
	if n := p.descriptors(); n > 80 {
		t.Errorf("%d descriptors of 100 are open", n)
	}
	_ = reader.SetReadDeadline(time.Now().Add(30 * time.Second))
	answers := bufio.NewReader(reader)
	for i := range 5 {
		r, err := http.ReadResponse(answers, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			t.Fatalf("the busy connection got %d answers: %v", i, err)
		}
	}
	p.wantOnce("http: more than 50 connections: the longest idle one is closed")
	p.term()
}

// TestUnfinishedBodiesTakeBoundedMemory has clients that send as much as they may but for the last
// byte.
func TestUnfinishedBodiesTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	const clients, max = 300, 220 // MiB
	s := newEnv(t, "", timeouts(300000, 300000))
	p, url := s.startRelease(t, "GOGC=20") // what the collector has not got to yet is not to be measured
	memory := p.memory()
	head := "POST /jwt/v1/accounts/A HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
	connectMany(t, url, clients, head+strings.Repeat("x", 1<<20-1))
	wantServed(t, s, url)
	took := (p.memory() - memory) >> 10
	t.Logf("%d bodies take %d MiB", clients, took)
	if took > max {
		t.Errorf("that is more than %d", max)
	}
	p.wantOnce("http: request bodies take all the memory that is meant for them")
	p.term()
}

// TestTooManyOpenFilesIsNoEnd lowers the limit of open files of the running program, and lifts it
// again.
func TestTooManyOpenFilesIsNoEnd(t *testing.T) {
	s := newEnv(t, "", timeouts(30000, 30000))
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	first, second := jwttest.Sign(t, s.op.Signing, a,
		time.Now().Add(-time.Minute)), s.op.Account(t, a)
	mustPush(t, url, a.ID, first)
	p.term() // now the JWT is in its file, and nowhere else
	p, url = s.start(t)
	path := url + "/jwt/v1/accounts/" + a.ID
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second} // one connection for all
	push := func(token []byte) (int, string) { return post(client, path, token) }
	ask(client, url+"/healthz")
	var limit unix.Rlimit
	few := unix.Rlimit{Cur: 3, Max: 20000}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &few, &limit); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if status, body := push(second); status != http.StatusInternalServerError ||
			body != "error saving JWT: too many open files\n" {
			t.Errorf("without descriptors: %d %q", status, body)
		}
		if status, body := ask(client, path); (status != http.StatusOK || body != string(first)) &&
			status != http.StatusServiceUnavailable {
			t.Errorf("what was stored: %d %q", status, body)
		}
	}
	waiting := connectMany(t, url, 1, healthy)[0]
	p.wait("http: accept .*too many open files")
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	if status := answered(waiting); status != http.StatusOK {
		t.Errorf("a client that connected without a free descriptor: %d", status)
	}
	wantServed(t, s, url)
	if status, body := post(http.DefaultClient, path, second); status != http.StatusOK {
		t.Errorf("when there are descriptors again: %d %q", status, body)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exited(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestManyPushesAtOnceFindDescriptors has as many clients as may connect, which all push again and
// again.
func TestManyPushesAtOnceFindDescriptors(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", timeouts(60000, 60000))
	p, url := s.startWithFiles(t, 128)
	var all sync.WaitGroup
	for range 60 {
		a := jwttest.NewAccount(t)
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := range 5 {
				token := jwttest.Sign(t, s.op.Signing, a,
					time.Now().Add(time.Duration(n-60)*time.Second))
				path := url + "/jwt/v1/accounts/" + a.ID
				if status, body := post(client, path, token); status != http.StatusOK {
					t.Errorf("%d %s", status, body)
				}
				if status, body := ask(client, path); status != http.StatusOK ||
					body != string(token) {
					t.Errorf("%d %.80q", status, body)
				}
			}
		})
	}
	all.Wait()
	p.wantOnce()
	p.term()
}

// large makes an account's JWT one of 100 KiB.
func large(c *jwt.AccountClaims) {
	for i := range 75 {
		c.Tags.Add(strconv.Itoa(i) + strings.Repeat("x", 1<<10))
	}
}
