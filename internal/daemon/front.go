package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
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

// front is one HTTP server on one listener. Its handler can be exchanged while it serves.
type front struct {
	config   config.HTTP
	listener net.Listener
	server   *http.Server
	api      atomic.Pointer[httpapi.API]
	silenced atomic.Bool   // the listener was closed on purpose, requests in flight go on
	served   chan struct{} // closed when no connection is taken any more

	mu   sync.Mutex
	mute map[net.Conn]bool // connections that have not sent a request
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

func newFront(c config.HTTP, l net.Listener, api *httpapi.API) *front {
	f := &front{config: c, listener: l, served: make(chan struct{}), mute: map[net.Conn]bool{}}
	f.use(api)
	f.server = api.NewServer(c.ReadTimeout, c.WriteTimeout)
	f.server.ConnState = f.watch
	f.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	f.server.RegisterOnShutdown(f.hangUpOnMute)
	f.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.heard(r.Context().Value(connKey{}).(net.Conn))
		f.api.Load().ServeHTTP(w, r)
	})
	return f
}

// connKey is where a request's context has its connection.
type connKey struct{}

// watch keeps the list of connections that have not sent a request. net/http would wait for them at a stop. It also
// forgets a request that it has read but not handed on; so a connection is on the list until the handler has it.
func (f *front) watch(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mute[c] = true
	case http.StateClosed, http.StateHijacked:
		f.heard(c)
	}
}

func (f *front) heard(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.mute, c)
}

// hearOut waits until every connection has sent its request, at most muteTime.
func (f *front) hearOut() {
	for end := time.Now().Add(muteTime); f.anyMute() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // as net/http's own Shutdown polls
	}
}

func (f *front) anyMute() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mute) > 0
}

func (f *front) hangUpOnMute() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.mute {
		_ = c.Close()
	}
}

// use answers with api from the next request on.
func (f *front) use(api *httpapi.API) { f.api.Store(api) }

// serve returns when the front is stopped, or with what keeps it from serving.
func (f *front) serve() error {
	defer close(f.served)
	if err := f.server.Serve(f.listener); !errors.Is(err, http.ErrServerClosed) && !f.silenced.Load() {
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
	f.hearOut()
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
	return "http://" + net.JoinHostPort(host, strconv.Itoa(f.port())) + "/jwt/v1/accounts/"
}

func (f *front) port() int { return f.listener.Addr().(*net.TCPAddr).Port }
