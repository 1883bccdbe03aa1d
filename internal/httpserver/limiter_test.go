package httpserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/natstest"
)

// limited is a server with small limits. A request for /wait is answered when the test says so.
type limited struct {
	t       *testing.T
	address string
	entered chan struct{} // gets a value for each request of /wait
	answer  chan struct{} // is closed to answer them
	bodies  atomic.Int64  // bytes that the handler has read of bodies which are not answered yet
	idle    func() int    // connections
	log     natstest.Log
}

func newLimited(t *testing.T, conns, longHeaders int, bodyMemory int64) *limited {
	t.Helper()
	s := &limited{t: t, entered: make(chan struct{}, 100), answer: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	limits := httpserver.Limits{Conns: conns, LongHeaders: longHeaders, BodyMemory: bodyMemory,
		MemoryTimeout: 500 * time.Millisecond}
	server, idle := httpserver.NewLimited(l, http.HandlerFunc(s.serve), limits,
		slog.New(slog.NewTextHandler(&s.log, nil)))
	s.idle = idle
	t.Cleanup(func() { _ = server.Close() })
	return s
}

func (s *limited) serve(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(counter{&s.bodies}, r.Body)
	defer s.bodies.Add(-n)
	if r.URL.Path == "/wait" {
		s.entered <- struct{}{}
		<-s.answer
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "served")
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// connect opens a connection that sends text.
func (s *limited) connect(text string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	_, _ = io.WriteString(c, text)
	return c
}

// waitEntered returns when the handler has one more request for /wait.
func (s *limited) waitEntered() {
	s.t.Helper()
	select {
	case <-s.entered:
	case <-time.After(20 * time.Second):
		s.t.Fatal("a request does not reach the handler")
	}
}

// waitIdle returns when so many connections are idle.
func (s *limited) waitIdle(n int) {
	s.t.Helper()
	natstest.Eventually(s.t, fmt.Sprint(n, " connections are idle"),
		func() bool { return s.idle() == n })
}

// served reports whether the next answer on c is a good one.
func served(c net.Conn) bool { return answers(c, "served") }

// answers reports whether the next answer on c has this body.
func answers(c net.Conn, want string) bool {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(r.Body)
	return err == nil && string(body) == want
}

// isClosed waits at most this long for the server to close c.
func isClosed(c net.Conn, most time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(most))
	_, err := c.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

const (
	request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	half    = "GET / HTTP/1.1\r\nHo"
	body    = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab"
	wait    = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
)

// TestTheLongestIdleConnectionIsClosed has one connection of each kind, and opens further ones.
func TestTheLongestIdleConnectionIsClosed(t *testing.T) {
	s := newLimited(t, 5, 8, 1<<20)
	answered := s.connect(wait)
	s.waitEntered()
	sending := s.connect(body)
	natstest.Eventually(t, "the body is being read", func() bool { return s.bodies.Load() == 2 })
	silent := s.connect("")
	s.waitIdle(1)
	header := s.connect(half)
	s.waitIdle(2)
	idle := s.connect(request)
	if !served(idle) {
		t.Fatal("there is room for one more connection")
	}
	s.waitIdle(3)
	var others []net.Conn
	for _, kind := range []struct {
		name string
		conn net.Conn
	}{{"silent", silent}, {"header", header}, {"idle", idle}} {
		if isClosed(kind.conn, 0) {
			t.Errorf("%s is closed too early", kind.name)
		}
		others = append(others, s.connect(wait))
		s.waitEntered()
		if !isClosed(kind.conn, 20*time.Second) {
			t.Errorf("%s stays open", kind.name)
		}
	}
	if !isClosed(s.connect(""), 20*time.Second) {
		t.Error("every connection is busy, and a new one is accepted")
	}
	_, _ = io.WriteString(sending, "c")
	if !served(sending) {
		t.Error("a connection that was sending a body was closed")
	}
	close(s.answer)
	for _, c := range append(others, answered) {
		if !served(c) {
			t.Error("a busy connection was closed")
		}
	}
}

// TestNewConnectionsGetAChance fills the server with connections that have begun a request. New
// ones take a moment to send theirs.
func TestNewConnectionsGetAChance(t *testing.T) {
	s := newLimited(t, 8, 8, 1<<20)
	for range 8 {
		s.connect(half)
	}
	s.waitIdle(8)
	var slow []net.Conn
	for range 5 {
		slow = append(slow, s.connect(""))
	}
	for _, c := range slow {
		_, _ = io.WriteString(c, request)
		if !served(c) {
			t.Error("a new connection was closed although others had been idle for longer")
		}
	}
}

// TestIncompleteHeadersTakeBoundedMemory sends headers of many lines, which take more memory than
// their length.
func TestIncompleteHeadersTakeBoundedMemory(t *testing.T) {
	if httpserver.MaxLongHeaderMemory > 32<<20 {
		t.Errorf("long headers may take %d bytes", httpserver.MaxLongHeaderMemory)
	}
	const fit = 8
	header := "GET / HTTP/1.1\r\nHost: x\r\n"
	for i := 0; len(header) < 20<<10; i++ {
		header += strconv.Itoa(i) + ":\r\n"
	}
	s := newLimited(t, 1000, 8, 1<<20)
	var all []net.Conn
	for range 100 {
		all = append(all, s.connect(header))
	}
	natstest.Eventually(t, "the first are closed", func() bool {
		open := 0
		for _, conn := range all {
			if !isClosed(conn, time.Millisecond) {
				open++
			}
		}
		return open == fit
	})
	if !served(s.connect(request)) {
		t.Error("a new connection is not served")
	}
	if s.log.Count("\n") != 1 ||
		s.log.Count("http: more than 8 incomplete headers are long: ") != 1 {
		t.Errorf("log: %s", s.log.String())
	}
}

// TestIncompleteBodiesTakeBoundedMemory sends bodies that never end. 36 KiB of each count: 29 of
// them take all the memory, and may keep it.
func TestIncompleteBodiesTakeBoundedMemory(t *testing.T) {
	for name, length := range map[string]string{
		"with a length":    "Content-Length: 100000\r\n\r\n",
		"without a length": "Transfer-Encoding: chunked\r\n\r\n186a0\r\n", // 100000 in hexadecimal
	} {
		t.Run(name, func(t *testing.T) {
			s := newLimited(t, 1000, 8, 1<<20)
			var all []net.Conn
			for range 100 {
				all = append(all,
					s.connect("POST / HTTP/1.1\r\nHost: x\r\n"+length+strings.Repeat("x",
						40<<10)))
			}
			if !served(s.connect(request)) {
				t.Error("a new connection is not served")
			}
			refused := 0
			natstest.Eventually(t, "most are refused", func() bool {
				if n := s.bodies.Load(); n > 1<<20+100*4<<10 || n == 0 {
					t.Errorf("bodies take %d bytes", n)
				}
				for i, c := range all {
					if c != nil && isClosed(c, time.Millisecond) {
						all[i] = nil
						refused++
					}
				}
				return refused >= 100-29
			})
			if refused == 100 {
				t.Error("all are refused")
			}
			if s.log.Count("\n") != 1 ||
				s.log.Count("http: request bodies take all the "+
					"memory that is meant for them") != 1 {
				t.Errorf("log: %s", s.log.String())
			}
		})
	}
}

// TestAnnouncedBytesDelayNoOther announces far more bytes than there is memory for, and sends three
// of each body.
func TestAnnouncedBytesDelayNoOther(t *testing.T) {
	s := newLimited(t, 1000, 8, 1<<20)
	for range 100 {
		s.connect("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nxxx")
	}
	natstest.Eventually(t, "all bodies are being read",
		func() bool { return s.bodies.Load() == 300 })
	whole := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" +
		strings.Repeat("x", 60000)
	if !served(s.connect(whole)) {
		t.Error("a whole body is not served")
	}
	if s.log.Count("\n") != 0 {
		t.Errorf("log: %s", s.log.String())
	}
}

// TestAnAnswerWithoutTheBodyIsSentAtOnce is about clients that wait for 100 Continue, or announce
// more than net/http reads after an answer: they get an answer that does not depend on the body.
func TestAnAnswerWithoutTheBodyIsSentAtOnce(t *testing.T) {
	for name, headers := range map[string]string{
		"100-continue": "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
		"too long":     "Content-Length: 1000000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			c := e.dial(e.address())
			_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: x\r\n"+headers)
			if !answers(c, "first") {
				t.Error("no answer")
			}
		})
	}
}

// TestFinishedRequestsDoNotCount sends more over one connection than may be incomplete at a time.
func TestFinishedRequestsDoNotCount(t *testing.T) {
	s := newLimited(t, 10, 1, 64<<10)
	c := s.connect("")
	header := strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 10)
	for range 10 {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"+header+"\r\n")
		if !served(c) {
			t.Fatal("a long header is not served")
		}
		_, _ = io.WriteString(c,
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n"+
				strings.Repeat("x", 50000))
		if !served(c) {
			t.Fatal("a long body is not served")
		}
	}
	if s.log.Count("\n") != 0 {
		t.Errorf("log: %s", s.log.String())
	}
}

func TestSomeFilesAreLeftForTheStore(t *testing.T) {
	for files, want := range map[uint64]int{64: 32, 1024: 512, 20000: 16384,
		4096: 3584, 1 << 62: 16384} {
		if got := httpserver.ConnsWithin(files); got != want {
			t.Errorf("%d of %d, want %d", got, files, want)
		}
	}
}
