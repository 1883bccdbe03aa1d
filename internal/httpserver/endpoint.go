package httpserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// drainTimeout is how long requests in flight may take when an endpoint is stopped.
	drainTimeout = 5 * time.Second
	// unusedTimeout is how long connections that have not sent a request are kept open when an
	// endpoint is stopped. The request of a client that has just connected may be on its way.
	unusedTimeout = time.Second
)

// endpoint is an HTTP server on one listener. Its handler and its certificates can be exchanged
// while it serves.
type endpoint struct {
	options  Options // of its beginning
	listener net.Listener
	server   *http.Server
	limiter  *limiter
	handler  atomic.Pointer[http.Handler]
	tls      atomic.Pointer[tls.Config] // nil: plain HTTP
	closed   atomic.Bool                // the listener was closed on purpose
	served   chan struct{}              // is closed when no connection is accepted any more
}

// newEndpoint returns an endpoint for a listener on the address of o.
func newEndpoint(o Options, l net.Listener) *endpoint {
	e := &endpoint{options: o, listener: l, limiter: newLimiter(o.Log), served: make(chan struct{})}
	e.use(o.Handler, o.TLS)
	// The handler is looked up for each request, because a reload exchanges it.
	current := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*e.handler.Load()).ServeHTTP(w, r)
	})
	e.server = NewHTTP(e.limiter.limitBodies(current), o.ReadTimeout, o.WriteTimeout, o.Log)
	e.server.ConnState = e.limiter.track
	return e
}

// matches reports whether the endpoint can serve what o asks for. Only the handler and the
// certificates may differ.
func (e *endpoint) matches(o Options) bool {
	return e.sameAddress(o) && e.options.ReadTimeout == o.ReadTimeout &&
		e.options.WriteTimeout == o.WriteTimeout &&
		(e.options.TLS == nil) == (o.TLS == nil)
}

func (e *endpoint) sameAddress(o Options) bool {
	return e.options.Host == o.Host && e.options.Port == o.Port
}

// use answers the next requests with h, and shows the certificates of c to the next connections.
func (e *endpoint) use(h http.Handler, c *tls.Config) {
	e.tls.Store(c)
	e.handler.Store(&h)
}

// serve returns nil when the listener was closed on purpose, otherwise what failed.
func (e *endpoint) serve() error {
	defer close(e.served)
	var l net.Listener = &listener{e.listener, e.limiter}
	if e.tls.Load() != nil {
		current := func(*tls.ClientHelloInfo) (*tls.Config, error) { return e.tls.Load(), nil }
		l = tls.NewListener(l, &tls.Config{GetConfigForClient: current})
	}
	if err := e.server.Serve(l); !e.closed.Load() {
		return err
	}
	return nil
}

// closeListener gives the address back. Requests in flight go on.
func (e *endpoint) closeListener() {
	e.closed.Store(true)
	_ = e.listener.Close()
}

// stop accepts no more connections and returns when the requests in flight are answered. Its error
// says that some were not, and is that of http.Server.Shutdown.
func (e *endpoint) stop() error {
	e.closeListener()
	<-e.served
	e.limiter.waitForUnused(unusedTimeout) // Shutdown would drop the requests of these connections
	for e.limiter.closeIdle() {            // Shutdown would wait for half a header
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := e.server.Shutdown(ctx); err != nil {
		_ = e.server.Close()
		return err
	}
	return nil
}

func (e *endpoint) scheme() string {
	if e.options.TLS != nil {
		return "https"
	}
	return "http"
}

func (e *endpoint) port() int { return e.listener.Addr().(*net.TCPAddr).Port }

// listen binds the address of o.
func listen(o Options) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return nil, fmt.Errorf("error creating listener: %w", err)
	}
	return l, nil
}

// duplicate returns a second listener on the same socket, so that the port stays open when the
// first one is closed.
func duplicate(l net.Listener) (net.Listener, error) {
	t, ok := l.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("error creating listener: %s can't be shared", l.Addr())
	}
	f, err := t.File()
	if err != nil {
		return nil, fmt.Errorf("error creating listener: %w", err)
	}
	defer f.Close()
	return net.FileListener(f)
}
