//go:build unix

package main_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/natstest"
)

// closed reports whether a read got no answer since the process stood still. A request must be read
// within http.readtimeout of its connection. That time may be over before the process can read what has
// come meanwhile: then it closes the connection. nil is a process that never stood still.
func (s *standstill) closed(r madeRead, err error, readTimeout time.Duration) bool {
	isClosed := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	return isClosed && s != nil && r.begin.Before(s.begin) && r.end.After(s.end) &&
		s.end.Sub(r.begin) > readTimeout
}

func TestOnlyAReadOverALongStandstillIsExcused(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	stood := &standstill{at(10), at(16)}
	for _, row := range []struct {
		name       string
		stood      *standstill
		begin, end int
		err        error
		want       bool
	}{
		{"it began before, and the connection was closed after", stood, 9, 17, io.EOF, true},
		{"it was reset", stood, 9, 17, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{"another error", stood, 9, 17, context.DeadlineExceeded, false},
		{"an answer", stood, 9, 17, nil, false},
		{"it was closed while the process stood still", stood, 9, 15, io.EOF, false},
		{"it began when the process stood still", stood, 11, 17, io.EOF, false},
		{"a short standstill", &standstill{at(10), at(12)}, 9, 13, io.EOF, false},
		{"no standstill", nil, 9, 17, io.EOF, false},
	} {
		r := madeRead{begin: at(row.begin), end: at(row.end)}
		if got := row.stood.closed(r, row.err, 5*time.Second); got != row.want {
			t.Errorf("%s: it is excused: %v", row.name, got)
		}
	}
}

// heldConn sends the first half of what is written, and the rest when it is released.
type heldConn struct {
	net.Conn
	half, release func()
}

func (c heldConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b[:len(b)/2])
	c.half()
	c.release()
	if err != nil {
		return n, err
	}
	rest, err := c.Conn.Write(b[n:])
	return n + rest, err
}

// A process that has stood still for longer than http.readtimeout may close the connections whose requests
// were on their way, without an answer. Whether it sees first that the time is over, or that the rest has
// come, is chance: nothing else happens.
func TestAProcessThatStoodStillAnswersOrClosesConnections(t *testing.T) {
	t.Parallel()
	const requests, readTimeout = 8, 300 * time.Millisecond
	env := newEnv(t, "", "")
	text := strings.Replace(mustReadFile(t, env.conf), "port: 0", "port: 0, readtimeout: 300", 1)
	env.conf = conf(t, env.dir, "%s", text)
	p, url := env.start(t)
	// On a busy machine the time may be over before the process stands still. Then that shows nothing.
	natstest.Eventually(t, "it stands still in time", func() bool {
		return standStill(t, p, url+"/healthz", requests, readTimeout)
	})
}

// standStill lets a process stand still while requests are on their way, and reports whether none of them
// ended before.
func standStill(t *testing.T, p *process, url string, requests int, readTimeout time.Duration) bool {
	t.Helper()
	var sent, ended sync.WaitGroup
	sent.Add(requests)
	goOn := make(chan struct{})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return heldConn{c, sent.Done, func() { <-goOn }}, err
		}}}
	reads, replies := make([]madeRead, requests), make([]reply, requests)
	for i := range requests {
		reads[i].begin = time.Now()
		ended.Go(func() {
			replies[i].err = replies[i].fetch(client, http.MethodGet, url, "", nil)
			reads[i].end = time.Now()
		})
	}
	sent.Wait()
	ask(http.DefaultClient, url) // it comes after them: they have been accepted
	p.signal(syscall.SIGSTOP)
	stood := &standstill{begin: time.Now()}
	close(goOn)
	time.Sleep(readTimeout) // of the requests, which began before
	stood.end = time.Now()
	p.signal(syscall.SIGCONT)
	ended.Wait()
	if slices.ContainsFunc(reads, func(r madeRead) bool { return r.end.Before(stood.begin) }) {
		return false
	}
	closed := 0
	for i, a := range replies {
		switch {
		case a.err == nil && a.status == http.StatusOK:
		case stood.closed(reads[i], a.err, readTimeout):
			closed++
		default:
			t.Errorf("status %d, error %v", a.status, a.err)
		}
	}
	t.Logf("%d of %d requests got no answer, such as: %v", closed, requests, replies[0].err)
	return true
}
