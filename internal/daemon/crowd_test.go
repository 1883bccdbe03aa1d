package daemon_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/daemon"
	"nats-account-server/internal/natstest"
)

// hall is a server with a crowd. A request for /wait is answered when the test says so.
type hall struct {
	t       *testing.T
	address string
	entered chan struct{}
	answer  chan struct{}
	mu      sync.Mutex
	warned  []string
}

func newHall(t *testing.T, seats int, room int64) *hall {
	t.Helper()
	h := &hall{t: t, entered: make(chan struct{}, 100), answer: make(chan struct{})}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/wait" {
			h.entered <- struct{}{}
			<-h.answer
		}
		if err == nil {
			_, _ = io.WriteString(w, "served")
		}
	})}
	crowd := daemon.Crowd(s, seats, room, func(format string, args ...any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.warned = append(h.warned, fmt.Sprintf(format, args...))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(daemon.Admit(crowd, l)) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return h
}

// comes opens a connection that sends text.
func (h *hall) comes(text string) net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	_, _ = io.WriteString(c, text)
	return c
}

// served says whether the next answer on c is one.
func served(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(r.Body)
	return err == nil && string(body) == "served"
}

// isOut waits a moment for c to be hung up on.
func isOut(c net.Conn, moment time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(moment))
	_, err := c.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

const (
	request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	half    = "GET / HTTP/1.1\r\nHo"
	body    = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab"
	wait    = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
)

// TestTheMostDispensableGoesFirst has one connection of each kind and lets newcomers take their seats.
func TestTheMostDispensableGoesFirst(t *testing.T) {
	h := newHall(t, 5, 1<<20)
	sends, asks, mute := h.comes(body), h.comes(half), h.comes("")
	answered := h.comes(wait)
	<-h.entered
	idle := h.comes(request)
	if !served(idle) {
		t.Fatal("there is a seat")
	}
	time.Sleep(daemon.Grace + 50*time.Millisecond) // all of them have had their chance
	for _, kind := range []struct {
		name string
		conn net.Conn
	}{{"mute", mute}, {"idle", idle}, {"asking", asks}, {"sending", sends}} {
		if isOut(kind.conn, 0) {
			t.Errorf("%s is hung up on too early", kind.name)
		}
		newcomer := h.comes(wait)
		<-h.entered
		if !isOut(kind.conn, 20*time.Second) {
			t.Errorf("%s keeps a seat", kind.name)
		}
		defer func() {
			if !served(newcomer) {
				t.Error("a newcomer is not served")
			}
		}()
	}
	if !isOut(h.comes(""), 20*time.Second) {
		t.Error("everybody is being answered, and one more is let in")
	}
	close(h.answer)
	if !served(answered) {
		t.Error("who was being answered was hung up on")
	}
}

// TestNewcomersGetAChance has all seats taken by those who have begun a request, and newcomers who need a moment.
func TestNewcomersGetAChance(t *testing.T) {
	h := newHall(t, 8, 1<<20)
	for range 8 {
		h.comes(half)
	}
	time.Sleep(daemon.Grace + 50*time.Millisecond)
	var slow []net.Conn
	for range 5 {
		slow = append(slow, h.comes(""))
	}
	for _, c := range slow {
		_, _ = io.WriteString(c, request)
		if !served(c) {
			t.Error("a newcomer had to go although others had been slow for longer")
		}
	}
}

// TestWhatUnfinishedRequestsTakeIsBounded counts a header of many lines for what it takes in memory.
func TestWhatUnfinishedRequestsTakeIsBounded(t *testing.T) {
	header := "GET / HTTP/1.1\r\nHost: x\r\n"
	for i := 0; len(header) < 20<<10; i++ {
		header += strconv.Itoa(i) + ":\r\n"
	}
	for name, c := range map[string]struct {
		text string
		fit  int
	}{
		"body":   {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 20<<10), 64},
		"header": {header, 8},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, 1000, 1<<20)
			var all []net.Conn
			for range 100 {
				all = append(all, h.comes(c.text))
			}
			natstest.Eventually(t, "the first are hung up on", func() bool {
				in := 0
				for _, conn := range all {
					if !isOut(conn, time.Millisecond) {
						in++
					}
				}
				return in <= c.fit && in >= c.fit/2
			})
			if !served(h.comes(request)) {
				t.Error("a newcomer is not served")
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if len(h.warned) != 1 || !strings.HasPrefix(h.warned[0], "http: too much from too many clients: hung up on ") {
				t.Errorf("%q", h.warned)
			}
		})
	}
}

// TestFinishedRequestsDoNotCount sends more over one connection than may be unfinished at a time.
func TestFinishedRequestsDoNotCount(t *testing.T) {
	h := newHall(t, 10, 64<<10)
	c := h.comes("")
	for range 10 {
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n"+strings.Repeat("x", 50000))
		if !served(c) {
			t.Fatal("not served")
		}
	}
	if len(h.warned) != 0 {
		t.Errorf("%q", h.warned)
	}
}

func TestSeatsLeaveDescriptorsForTheStore(t *testing.T) {
	for descriptors, want := range map[uint64]int{64: 32, 1024: 512, 20000: 16384, 4096: 3584, 1 << 62: 16384} {
		if got := daemon.SeatsWithin(descriptors); got != want {
			t.Errorf("%d of %d, want %d", got, descriptors, want)
		}
	}
}
