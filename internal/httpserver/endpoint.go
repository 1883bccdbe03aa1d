package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"nats-account-server/internal/pause"
)

const (
	// drainTimeout is how long requests in flight may take when a reload replaces their endpoint.
	drainTimeout = 5 * time.Second
	// stopTimeout is how long they may take when the server stops.
	stopTimeout = 1500 * time.Millisecond
	// unusedTimeout is how long connections that have not sent a request are kept open when an
	// endpoint is stopped. The request of a client that has just connected may be on its way.
	unusedTimeout = time.Second
)

// endpoint is an HTTP server on one listener.
type endpoint struct {
	options  atomic.Pointer[Options] // a reload exchanges the handler and the certificates in it
	listener net.Listener
	limiter  *limiter
	server   *http.Server
	served   chan struct{} // is closed when no connection is accepted any more
}

// newEndpoint returns an endpoint for a listener on the address of o. It does not serve yet.
func newEndpoint(o Options, l net.Listener) *endpoint {
	e := &endpoint{listener: l, limiter: newLimiter(o.Log), served: make(chan struct{})}
	e.options.Store(&o)
	// The handler is looked up for each request, because a reload exchanges it.
	current := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.options.Load().Handler.ServeHTTP(w, r)
	})
	e.server = NewHTTP(e.limiter.limitBodies(current), o.ReadTimeout, o.WriteTimeout, o.Log)
	e.server.ConnState = e.limiter.track
	return e
}

// matches reports whether the endpoint can serve o without another http.Server. The next requests
// are given to another handler, and the next connections get other certificates. A change of the
// timeouts, or between HTTP and HTTPS, needs a new endpoint.
func (e *endpoint) matches(o Options) bool {
	now := e.options.Load()
	return e.sameAddress(o) && (now.TLS == nil) == (o.TLS == nil) &&
		now.ReadTimeout == o.ReadTimeout && now.WriteTimeout == o.WriteTimeout
}

// sameAddress reports whether o has the host and the port of the endpoint, as they are configured.
func (e *endpoint) sameAddress(o Options) bool {
	now := e.options.Load()
	return now.Host == o.Host && now.Port == o.Port
}

// serve returns nil after stop or closeListener, otherwise what failed. It is called once. What it
// closes tells stop that no more connections come.
func (e *endpoint) serve() error {
	defer close(e.served)
	var l net.Listener = &listener{e.listener, e.limiter}
	if e.options.Load().TLS != nil {
		current := func(*tls.ClientHelloInfo) (*tls.Config, error) {
			// Each handshake takes the certificates of the last reload.
			return e.options.Load().TLS, nil
		}
		l = tls.NewListener(l, &tls.Config{GetConfigForClient: current})
	}
	if err := e.server.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// closeListener gives the address back. Requests in flight go on.
func (e *endpoint) closeListener() { _ = e.listener.Close() }

// errCutOff is returned if a request in flight was not answered in time.
var errCutOff = errors.New("requests that took too long were cut off")

// stop accepts no more connections and returns when the requests in flight are answered. Those that
// are not when ctx ends are cut off.
func (e *endpoint) stop(ctx context.Context) error {
	e.closeListener()
	<-e.served
	// This closes connections that wait for another request, and the others after their answer. The
	// first request of a new connection may be on its way. Shutdown would drop it.
	e.server.SetKeepAlivesEnabled(false)
	unused, cancel := context.WithTimeout(ctx, unusedTimeout)
	defer cancel()
	for e.limiter.open.Load() > 0 && pause.For(unused, 10*time.Millisecond) { // as Shutdown polls
	}
	// Shutdown would wait for connections without a whole header.
	for e.limiter.closeFirst(&e.limiter.idle) || e.limiter.closeFirst(&e.limiter.long) {
	}
	err := e.server.Shutdown(ctx)
	if err != nil && ctx.Err() != nil {
		_ = e.server.Close()
		return errCutOff
	}
	return err
}

// address returns the scheme and the port. The port is the one that is bound, also if 0 is
// configured.
func (e *endpoint) address() (scheme string, port int) {
	scheme = "http"
	if e.options.Load().TLS != nil {
		scheme = "https"
	}
	return scheme, e.listener.Addr().(*net.TCPAddr).Port
}

// listen binds the address of o. The words before the cause are the original's.
func listen(o Options) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return nil, fmt.Errorf("error creating listener: %w", err)
	}
	return l, nil
}

// duplicate returns a second listener on the same socket, so that the port stays open when the
// first one is closed. Both listeners must be closed.
func duplicate(l net.Listener) (net.Listener, error) {
	// File duplicates the socket, and FileListener does so once more.
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("error creating listener: %w", err)
	}
	defer f.Close()
	return net.FileListener(f)
}
