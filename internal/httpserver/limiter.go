package httpserver

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
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
	// warnInterval is the time between two warnings about limits.
	warnInterval = time.Minute
)

// connsWithin returns how many connections a process may have open that may open so many files. The
// other files are for the store and NATS.
func connsWithin(files uint64) int {
	return int(min(maxConns, files-min(files/2, 512)))
}

// ConnLimit returns how many connections may be open at once in this process, and how many may be
// if the process may open enough files. Go raises the soft limit of files to the hard one when it
// starts.
func ConnLimit() (now, most int) { return connLimit(), maxConns }

// limiter bounds the connections of an endpoint and the memory that their requests take. What
// net/http knows of a connection comes through track; a limiter only decides which to close.
//
// A connection is idle until the header of its next request is complete. If one connection more
// than allowed is opened, the longest idle one is closed. That is the new one if every other
// connection is busy.
//
// A header whose lines are as short as possible takes eight times its length. So maxLongHeaders of
// maxHeader take 32 MiB. If one more becomes long, the connection of the first one is closed. A
// long body waits for memory while it is read.
type limiter struct {
	maxConns       int
	maxLongHeaders int
	memoryTimeout  time.Duration
	bodies         *semaphore.Weighted // memory for bodies, in bytes
	log            *slog.Logger        // leaves out warnings that come too often

	open atomic.Int64 // connections

	mu   sync.Mutex // guards the lists; is not held while a socket is read
	idle list.List  // of *conn that wait for a header, the longest idle one first
	long list.List  // of *conn whose unfinished header is long, the first one first
}

// newLimiter returns a limiter that knows no connection. It writes its warnings into log.
func newLimiter(log *slog.Logger) *limiter {
	return &limiter{
		maxConns:       connLimit(),
		maxLongHeaders: maxLongHeaders,
		memoryTimeout:  memoryTimeout,
		bodies:         semaphore.NewWeighted(maxBodyMemory),
		log:            logging.Limited(log, 1, warnInterval),
	}
}

// listener is a TCP listener whose connections a limiter knows.
type listener struct {
	net.Listener
	limiter *limiter
}

// Accept implements net.Listener. If the process has no file descriptor left, an idle connection is
// closed; net/http tries again after a moment.
func (l *listener) Accept() (net.Conn, error) {
	// The type keeps CloseWrite and ReadFrom of a TCP connection, which net/http looks for.
	accepted, err := l.Listener.Accept()
	if err == nil {
		return &conn{TCPConn: accepted.(*net.TCPConn), limiter: l.limiter}, nil
	}
	if !errors.Is(err, net.ErrClosed) {
		l.limiter.closeFirst(&l.limiter.idle)
		l.limiter.log.Warn(fmt.Sprintf("http: %s: the longest idle connection is closed", err))
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
	in    *list.List    // the limiter's list that it is in; nil if it is busy or closed
	place *list.Element // of that list
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	// The bytes of a TLS handshake count too. It happens before the first request.
	n, err := c.TCPConn.Read(p)
	if c.header <= freeBytes {
		if c.header += n; c.header > freeBytes {
			c.limiter.addLong(c)
		}
	}
	return n, err
}

// track implements the ConnState hook of http.Server, which sees each connection end as well.
func (l *limiter) track(changed net.Conn, state http.ConnState) {
	if encrypted, ok := changed.(*tls.Conn); ok {
		changed = encrypted.NetConn()
	}
	c := changed.(*conn)
	switch state {
	case http.StateNew:
		l.move(c, &l.idle)
		if l.open.Add(1) > int64(l.maxConns) {
			l.closeFirst(&l.idle) // there is one: c itself is in the list
			l.log.Warn(fmt.Sprintf("http: more than %d connections: "+
				"the longest idle one is closed, or the new one if all are busy", l.maxConns))
		}
	case http.StateActive: // the header is complete
		c.header = freeBytes + 1
		l.move(c, nil)
	case http.StateIdle: // the request is answered
		c.header = 0
		l.move(c, &l.idle)
	default: // closed
		l.open.Add(-1)
		l.move(c, nil)
	}
}

// addLong counts the unfinished header of c as long, and closes a connection if that makes too
// many.
func (l *limiter) addLong(c *conn) {
	if l.move(c, &l.long) > l.maxLongHeaders {
		l.closeFirst(&l.long)
		l.log.Warn(fmt.Sprintf("http: more than %d incomplete headers are long: "+
			"the connections that began first are closed", l.maxLongHeaders))
	}
}

// move takes a connection from its list to the end of another one; nil is none. It returns how many
// connections the other one has.
func (l *limiter) move(c *conn, to *list.List) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.in != nil {
		c.in.Remove(c.place)
	}
	if c.in = to; to == nil {
		return 0
	}
	c.place = to.PushBack(c)
	return to.Len()
}

// closeFirst closes the first connection of one of the lists and reports whether there was one. It
// does not end TLS first, because that could block. net/http calls track when it finds out.
func (l *limiter) closeFirst(conns *list.List) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := conns.Front()
	if first == nil {
		return false
	}
	c := conns.Remove(first).(*conn)
	c.in = nil
	_ = c.TCPConn.Close()
	return true
}
