package httpserver

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"nats-account-server/internal/logging"
)

const (
	maxConns       = 16384           // open connections, if the process may have that many
	maxLongHeaders = 128             // unfinished headers of more than freeBytes
	maxBodyMemory  = 32 << 20        // bytes that the bodies which are being read take together
	memoryTimeout  = 5 * time.Second // for which a body waits until there is memory for it

	// freeBytes of each header and body are not limited. They fit into the buffer that an idle
	// connection has anyway.
	freeBytes = 4 << 10
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
// connection is busy. A header whose lines are as short as possible takes eight times its length.
// So maxLongHeaders of maxHeader take 32 MiB; if one more becomes long, the first one's connection
// is closed. A long body waits for memory while it is read.
type limiter struct {
	maxConns       int
	maxLongHeaders int
	memoryTimeout  time.Duration
	bodies         *semaphore.Weighted // memory for bodies, in bytes
	log            *slog.Logger        // leaves out warnings that come too often

	mu   sync.Mutex // is not held while a socket is read
	open int        // connections
	idle list.List  // of *conn, the longest idle one first
	long list.List  // of those in idle that have sent a long header, the first one first
}

func newLimiter(log *slog.Logger) *limiter {
	return &limiter{
		maxConns:       connLimit(),
		maxLongHeaders: maxLongHeaders,
		memoryTimeout:  memoryTimeout,
		bodies:         semaphore.NewWeighted(maxBodyMemory),
		log:            logging.Limited(log, 1, warnInterval),
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
	switch {
	case err == nil:
		return l.limiter.add(accepted.(*net.TCPConn)), nil
	case !errors.Is(err, net.ErrClosed):
		l.limiter.closeFirst(&l.limiter.idle)
		l.limiter.warnf("%s: the longest idle connection is closed", err)
	}
	return nil, err
}

// conn is a connection that a limiter knows.
type conn struct {
	*net.TCPConn
	limiter *limiter
	// header counts the bytes of the next request's header so far. While a request is handled it
	// stays above freeBytes. Only the goroutine that net/http reads with uses it.
	header int

	// limiter.mu guards the fields below.
	idle, long *list.Element // in the limiter's lists; nil if it is not there
	used       bool          // it has sent a request
	closed     bool
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.header <= freeBytes {
		if c.header += n; c.header > freeBytes {
			c.limiter.addLong(c)
		}
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
	c.idle = l.idle.PushBack(c)
	l.open++
	full := l.open > l.maxConns
	l.mu.Unlock()
	// The new connection is in the list itself. So there is one to close.
	if full {
		l.closeFirst(&l.idle)
		l.warnf("more than %d connections: the longest idle one is closed, "+
			"or the new one if all are busy", l.maxConns)
	}
	return c
}

// addLong counts the unfinished header of c as long, and closes a connection if that makes too
// many.
func (l *limiter) addLong(c *conn) {
	l.mu.Lock()
	if c.idle != nil {
		c.long = l.long.PushBack(c)
	}
	full := l.long.Len() > l.maxLongHeaders
	l.mu.Unlock()
	if full {
		l.closeFirst(&l.long)
		l.warnf("more than %d incomplete headers are long: "+
			"the connections that began first are closed", l.maxLongHeaders)
	}
}

// track implements the ConnState hook of http.Server.
func (l *limiter) track(changed net.Conn, state http.ConnState) {
	if encrypted, ok := changed.(*tls.Conn); ok {
		changed = encrypted.NetConn()
	}
	c := changed.(*conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case state == http.StateActive: // the header is complete
		c.header, c.used = freeBytes+1, true
		l.endIdleLocked(c)
	// The request is answered. The limiter may have closed the connection just before.
	case state == http.StateIdle && !c.closed:
		c.header = 0
		c.idle = l.idle.PushBack(c)
	}
}

// closeFirst closes the first connection of one of the lists and reports whether there was one. It
// does not end TLS first, because that could block.
func (l *limiter) closeFirst(conns *list.List) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := conns.Front()
	if first == nil {
		return false
	}
	c := first.Value.(*conn)
	l.removeLocked(c)
	_ = c.TCPConn.Close()
	return true
}

// removeLocked forgets a connection that is closed now. l.mu must be held.
func (l *limiter) removeLocked(c *conn) {
	if !c.closed {
		c.closed = true
		l.open--
		l.endIdleLocked(c)
	}
}

// endIdleLocked takes a connection from the lists of idle ones. l.mu must be held.
func (l *limiter) endIdleLocked(c *conn) {
	if c.idle != nil {
		l.idle.Remove(c.idle)
	}
	if c.long != nil {
		l.long.Remove(c.long)
	}
	c.idle, c.long = nil, nil
}

// hasUnused reports whether a connection has not sent a request yet.
func (l *limiter) hasUnused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.idle.Front(); e != nil; e = e.Next() {
		if !e.Value.(*conn).used {
			return true
		}
	}
	return false
}

// limitBodies returns a handler whose requests have bodies that take memory as they arrive.
func (l *limiter) limitBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 && r.ContentLength <= freeBytes {
			next.ServeHTTP(w, r)
			return
		}
		body := &limitedBody{ReadCloser: r.Body, ctx: r.Context(), limiter: l, allowed: freeBytes}
		r.Body = body
		defer body.release()
		next.ServeHTTP(w, r)
	})
}

// limitedBody is a body that takes memory in pieces of freeBytes, each before it is read, until its
// request is answered. What a client has only announced takes none: a client that sends nothing
// delays no other.
type limitedBody struct {
	io.ReadCloser
	ctx     context.Context
	limiter *limiter
	allowed int64 // bytes that may be read before more memory is needed
	held    int64 // bytes that count in limiter.bodies
}

// Read implements io.Reader. The error wraps syscall.ENOBUFS if there is no memory in time.
func (b *limitedBody) Read(p []byte) (int, error) {
	if b.allowed == 0 {
		if err := b.limiter.acquire(b.ctx, freeBytes); err != nil {
			return 0, err
		}
		b.held += freeBytes
		b.allowed = freeBytes
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.allowed)])
	b.allowed -= int64(n)
	return n, err
}

func (b *limitedBody) release() { b.limiter.bodies.Release(b.held) }

// acquire returns when there is memory for more bytes of a body, or an error that wraps
// syscall.ENOBUFS if there is none in time.
func (l *limiter) acquire(ctx context.Context, size int64) error {
	if l.bodies.TryAcquire(size) {
		return nil
	}
	l.warnf("request bodies take all the memory that is meant for them, %d bytes: others wait",
		maxBodyMemory)
	ctx, cancel := context.WithTimeout(ctx, l.memoryTimeout)
	defer cancel()
	if err := l.bodies.Acquire(ctx, size); err != nil {
		return fmt.Errorf("%w: %w", syscall.ENOBUFS, err)
	}
	return nil
}
