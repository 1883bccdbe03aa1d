package httpserver

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"nats-account-server/internal/logging"
)

const (
	maxConns        = 16384           // open connections, if the process may have that many
	maxHeaderMemory = 32 << 20        // bytes that long headers take together
	maxBodyMemory   = 32 << 20        // bytes that the bodies which are being read take together
	maxBody         = 1 << 20         // bytes of one body; a handler reads no more
	memoryTimeout   = 5 * time.Second // for which a body waits until there is memory for it

	// freeBytes of each header and body are not counted. They fit into the buffer that an idle
	// connection has anyway.
	freeBytes = 4 << 10
	// headerFactor is how many bytes of memory a byte of a header takes if its lines are as short
	// as possible.
	headerFactor = 8
	// warnInterval is the time between two warnings about one limit.
	warnInterval = time.Minute
)

// connsWithin returns how many connections a process may have open that may open so many files. The
// other files are for the store and NATS.
func connsWithin(files uint64) int {
	return int(min(maxConns, files-min(files/2, 512)))
}

// limiter bounds the connections of an endpoint and the memory that their requests take.
//
// A connection is idle until the header of its next request is complete. If one connection more
// than allowed is opened, the longest idle one is closed. That is the new one if every other
// connection is busy. If long headers take too much memory, the longest idle connections that have
// sent one are closed. A long body waits for memory before it is read.
type limiter struct {
	maxConns        int
	maxHeaderMemory int64
	memoryTimeout   time.Duration
	bodies          *semaphore.Weighted // memory for bodies, in bytes
	log             *slog.Logger        // leaves out warnings that come too often

	mu      sync.Mutex
	open    int       // connections
	unused  int       // connections of them that have not sent a request yet
	headers int64     // memory that long headers take, in bytes
	idle    list.List // of *conn, the longest idle one first
}

func newLimiter(log *slog.Logger) *limiter {
	return &limiter{
		maxConns:        connLimit(),
		maxHeaderMemory: maxHeaderMemory,
		memoryTimeout:   memoryTimeout,
		bodies:          semaphore.NewWeighted(maxBodyMemory),
		log:             logging.Limited(log, 1, warnInterval),
	}
}

// warnf logs a warning, unless there was one a moment ago.
func (l *limiter) warnf(format string, args ...any) {
	l.log.Warn("http: " + fmt.Sprintf(format, args...))
}

// listener is a TCP listener whose connections a limiter knows.
type listener struct {
	net.Listener
	limiter *limiter
}

// Accept implements net.Listener. If the process has no file descriptor left, an idle connection is
// closed; net/http tries again after a moment.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err == nil {
		return l.limiter.add(accepted.(*net.TCPConn)), nil
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.limiter.closeIdle()
		l.limiter.warnf("%s: the longest idle connection is closed", err)
	}
	return nil, err
}

// conn is a connection that a limiter knows. limiter.mu guards the second group of fields.
type conn struct {
	*net.TCPConn
	limiter *limiter
	busy    atomic.Bool  // a request is being handled
	header  atomic.Int64 // bytes of the next request's header so far

	place  *list.Element // in limiter.idle; nil if the connection is busy or closed
	used   bool          // it has sent a request
	memory int64         // bytes that count in limiter.headers
	closed bool
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if !c.busy.Load() && c.header.Add(int64(n)) > freeBytes {
		c.limiter.countHeader(c)
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.removeLocked(c)
	c.limiter.mu.Unlock()
	return c.TCPConn.Close()
}

// add makes the limiter know a new connection, and closes one if that makes too many.
func (l *limiter) add(accepted *net.TCPConn) *conn {
	c := &conn{TCPConn: accepted, limiter: l}
	l.mu.Lock()
	c.place = l.idle.PushBack(c)
	l.open++
	l.unused++
	full := l.open > l.maxConns
	l.mu.Unlock()
	if full {
		l.closeIdle()
		l.warnf("more than %d connections: the longest idle one is closed, "+
			"or the new one if all are busy", l.maxConns)
	}
	return c
}

// track implements the ConnState hook of http.Server.
func (l *limiter) track(changed net.Conn, state http.ConnState) {
	if encrypted, ok := changed.(*tls.Conn); ok {
		changed = encrypted.NetConn()
	}
	switch c := changed.(*conn); state {
	case http.StateActive:
		l.setBusy(c)
	case http.StateIdle:
		l.setIdle(c)
	}
}

// setBusy takes a connection from the idle ones. The header of its request is complete.
func (l *limiter) setBusy(c *conn) {
	c.busy.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaveIdleLocked(c)
}

// setIdle makes a connection the last of the idle ones. Its request is answered.
func (l *limiter) setIdle(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return
	}
	l.releaseLocked(c)
	c.place = l.idle.PushBack(c)
	c.header.Store(0)
	c.busy.Store(false)
}

// closeIdle closes the longest idle connection and reports whether there was one. It does not end
// TLS first, because that could block.
func (l *limiter) closeIdle() bool {
	l.mu.Lock()
	first := l.idle.Front()
	if first != nil {
		l.removeLocked(first.Value.(*conn))
	}
	l.mu.Unlock()
	if first == nil {
		return false
	}
	_ = first.Value.(*conn).TCPConn.Close()
	return true
}

// countHeader counts the memory for the header of c, and closes connections if that makes too much.
func (l *limiter) countHeader(c *conn) {
	l.mu.Lock()
	if !c.closed {
		l.headers -= c.memory
		c.memory = (c.header.Load() - freeBytes) * headerFactor
		l.headers += c.memory
	}
	var closed []*conn
	for e := l.idle.Front(); e != nil && l.headers > l.maxHeaderMemory; {
		c := e.Value.(*conn)
		e = e.Next()
		if c.memory > 0 {
			l.removeLocked(c)
			closed = append(closed, c)
		}
	}
	l.mu.Unlock()
	for _, c := range closed {
		_ = c.TCPConn.Close()
		l.warnf("incomplete headers take more than %d bytes: "+
			"the connections that began first are closed", l.maxHeaderMemory)
	}
}

// removeLocked forgets a connection that is closed now. l.mu must be held.
func (l *limiter) removeLocked(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	l.open--
	l.leaveIdleLocked(c)
	l.releaseLocked(c)
}

// leaveIdleLocked takes a connection from the list of idle ones. l.mu must be held.
func (l *limiter) leaveIdleLocked(c *conn) {
	if c.place != nil {
		l.idle.Remove(c.place)
		c.place = nil
	}
	if !c.used {
		c.used = true
		l.unused--
	}
}

// releaseLocked gives back the memory of the last header. l.mu must be held.
func (l *limiter) releaseLocked(c *conn) {
	l.headers -= c.memory
	c.memory = 0
}

// waitForUnused returns when every connection has sent a request, but after most at the latest.
func (l *limiter) waitForUnused(most time.Duration) {
	for end := time.Now().Add(most); l.hasUnused() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // as http.Server.Shutdown polls
	}
}

// hasUnused reports whether a connection has not sent a request yet.
func (l *limiter) hasUnused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unused > 0
}

// limitBodies returns a handler that calls next when there is memory for the body of the request.
func (l *limiter) limitBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := min(r.ContentLength, maxBody)
		if size < 0 {
			size = maxBody // its length is not known
		}
		if size <= freeBytes {
			next.ServeHTTP(w, r)
			return
		}
		if err := l.acquire(r.Context(), size); err != nil {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close")
			const text = "too many requests are being read: try again later"
			http.Error(w, text, http.StatusServiceUnavailable)
			return
		}
		defer l.bodies.Release(size)
		next.ServeHTTP(w, r)
	})
}

// acquire returns when there is memory for a body of this size, or an error if there is none in
// time.
func (l *limiter) acquire(ctx context.Context, size int64) error {
	if l.bodies.TryAcquire(size) {
		return nil
	}
	l.warnf("request bodies take all the memory that is meant for them, %d bytes: others wait",
		maxBodyMemory)
	ctx, cancel := context.WithTimeout(ctx, l.memoryTimeout)
	defer cancel()
	return l.bodies.Acquire(ctx, size)
}
