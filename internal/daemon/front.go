package daemon

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

	"nats-account-server/internal/config"
	"nats-account-server/internal/httpapi"
)

// drainTime is what requests in flight get when HTTP stops.
const drainTime = 5 * time.Second

// muteTime is what connections that have not sent a request get when HTTP stops: a client that has just connected is
// about to, or has, and we have not read it yet.
const muteTime = time.Second

// front is one HTTP server on one listener. Its handler and its certificates can be exchanged while it serves.
type front struct {
	config   config.HTTP
	listener net.Listener
	server   *http.Server
	api      atomic.Pointer[httpapi.API]
	silenced atomic.Bool                // the listener was closed on purpose, requests in flight go on
	secure   atomic.Pointer[tls.Config] // nil: plain HTTP
	served   chan struct{}              // closed when no connection is taken any more
	crowd    *crowd
}

// listen binds the configured address, or takes over the listener of old when that has the same one: the port
// never closes in between.
func listen(c config.HTTP, old *front) (net.Listener, error) {
	if old != nil && old.config.Host == c.Host && old.config.Port == c.Port {
		return duplicate(old.listener)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return nil, fmt.Errorf("error creating listener: %w", err)
	}
	return l, nil
}

// duplicate gives a second listener on the same socket.
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

// newFront makes a front; it speaks TLS if secure is not nil.
func newFront(c config.HTTP, l net.Listener, api *httpapi.API, secure *tls.Config, warn func(string, ...any)) *front {
	f := &front{config: c, listener: l, served: make(chan struct{}), crowd: newCrowd(warn)}
	f.use(api, secure)
	f.server = api.NewServer(c.ReadTimeout, c.WriteTimeout)
	f.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.api.Load().ServeHTTP(w, r)
	})
	f.crowd.watch(f.server)
	return f
}

// fits says whether the front serves what c asks for. Its certificates and who may come in can be exchanged, all else
// takes another front.
func (f *front) fits(c config.HTTP) bool {
	type fixed struct {
		host        string
		port        int
		read, write time.Duration
		tls         bool
	}
	of := func(c config.HTTP) fixed {
		return fixed{c.Host, c.Port, c.ReadTimeout, c.WriteTimeout, c.TLS.Cert != ""}
	}
	return of(f.config) == of(c)
}

// use answers with api from the next request on, and shows the certificates of secure to the next connection.
func (f *front) use(api *httpapi.API, secure *tls.Config) {
	f.secure.Store(secure)
	f.api.Store(api)
}

// accepting is the listener, with TLS if that is configured.
func (f *front) accepting() net.Listener {
	admitted := f.crowd.admit(f.listener)
	if f.secure.Load() == nil {
		return admitted
	}
	return tls.NewListener(admitted, &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.secure.Load(), nil },
	})
}

// serve returns when the front is stopped, or with what keeps it from serving.
func (f *front) serve() error {
	defer close(f.served)
	if err := f.server.Serve(f.accepting()); !errors.Is(err, http.ErrServerClosed) && !f.silenced.Load() {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// silence gives the address back. Requests in flight go on.
func (f *front) silence() {
	f.silenced.Store(true)
	_ = f.listener.Close()
}

// stop takes no more connections and lets requests in flight finish. That includes those that are still on their way
// from a client that has connected: net/http drops what it reads after Shutdown.
func (f *front) stop() error {
	f.silence()
	<-f.served
	f.crowd.hearOut(muteTime)
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		_ = f.server.Close()
		return err
	}
	return nil
}

// resolver is the URL that nats-server's resolver is configured with.
func (f *front) resolver() string {
	host := f.config.Host
	if host == "" {
		host = "127.0.0.1"
	}
	login := ""
	if f.config.Read != nil {
		login = "<user>:<password>@"
	}
	return f.scheme() + "://" + login + net.JoinHostPort(host, strconv.Itoa(f.port())) + "/jwt/v1/accounts/"
}

func (f *front) scheme() string {
	if f.secure.Load() != nil {
		return "https"
	}
	return "http"
}

func (f *front) port() int { return f.listener.Addr().(*net.TCPAddr).Port }
