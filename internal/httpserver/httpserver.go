// Package httpserver serves HTTP on one address: listening, TLS, limits, and changing all of that
// without dropping a connection. It knows no route.
//
//	Server ── current ──> endpoint ──> listener ──> conn   the connections of one limiter
//	   └── draining ────> endpoint      finishes its requests after a reload
//
// # Files
//
// In the order in which to read them:
//
//	httpserver.go  Server: New, Run and Reload
//	endpoint.go    one address with one configuration
//	limiter.go     how many connections there are, and which one is closed for another
//	bodies.go      how much memory the bodies of requests take together
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxHeader is how many bytes a request line and its headers may have together.
const maxHeader = 32 << 10

// Options is what a Server serves, and where.
type Options struct {
	Host string // "": every interface
	Port int    // 0: any free port

	ReadTimeout  time.Duration // for a whole request, and for the next one to begin; 0: no limit
	WriteTimeout time.Duration // for the answer, after the request; 0: no limit

	Handler http.Handler
	TLS     *tls.Config // nil: plain HTTP
	Log     *slog.Logger
}

// Server serves HTTP. Reload exchanges its options while it serves.
type Server struct {
	log    *slog.Logger
	tasks  *errgroup.Group // one for each endpoint that serves, and for each that drains
	failed context.Context // ends when an endpoint can't go on serving
	// Requests in flight are cut off when life ends, see stopTimeout.
	life context.Context
	end  context.CancelFunc

	mu       sync.Mutex // guards the fields below; is held during a reload
	current  *endpoint
	stopping bool // Run has ended: there will be no other endpoint
}

// New listens and begins to serve. Run must be called to end that. The error is that of listening;
// nothing serves then.
func New(o Options) (*Server, error) {
	l, err := listen(o)
	if err != nil {
		return nil, err
	}
	s := &Server{log: o.Log}
	s.tasks, s.failed = errgroup.WithContext(context.Background())
	s.life, s.end = context.WithCancel(context.Background())
	s.startLocked(newEndpoint(o, l))
	return s, nil
}

// Run serves until ctx ends and every request in flight is answered, or it returns what keeps the
// server from serving. It is called once.
func (s *Server) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-s.failed.Done():
	}
	s.mu.Lock()
	// From here on Reload is refused, so last is the last endpoint.
	s.stopping = true
	last := s.current
	s.mu.Unlock()
	defer time.AfterFunc(stopTimeout, s.end).Stop()
	if err := last.stop(s.life); err != nil {
		s.log.Warn(fmt.Sprintf("error closing http server: %s", err))
	}
	// Endpoints of earlier reloads may still answer requests. The error is that of the endpoint
	// that has failed first.
	return s.tasks.Wait()
}

// Reload serves what o asks for from now on. Requests in flight are answered as before. If there is
// an error, nothing has changed.
func (s *Server) Reload(o Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		// A new endpoint would not be stopped by Run any more.
		return http.ErrServerClosed
	}
	if s.current.matches(o) {
		// Requests in flight keep the handler that they have.
		s.current.options.Store(&o)
		return nil
	}
	l, err := s.listenLocked(o)
	if err != nil {
		return err
	}
	s.replaceLocked(newEndpoint(o, l))
	return nil
}

// Address returns the scheme and the port that are served.
func (s *Server) Address() (scheme string, port int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.address()
}

// Connections returns how many connections are open, without those of former endpoints.
func (s *Server) Connections() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.limiter.open.Load()
}

// Answers returns nil if the server answers a connection from this system within a limit. Any
// answer will do: a server with TLS refuses the request, and one that is full closes the
// connection.
func (s *Server) Answers(limit time.Duration) error {
	s.mu.Lock()
	address := s.current.listener.Addr().String()
	s.mu.Unlock()
	conn, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("GET /healthz HTTP/1.0\r\n\r\n")); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// listenLocked binds the address of o. If that is the current one, its socket is shared: the port
// never closes in between. s.mu must be held.
func (s *Server) listenLocked(o Options) (net.Listener, error) {
	former := *s.current.options.Load()
	switch {
	case s.current.sameAddress(o):
		return duplicate(s.current.listener)
	case o.Port != former.Port || o.Port == 0:
		return listen(o)
	}
	// The same port, on one interface instead of on every one, say: the current listener itself may
	// be in the way. Its address is bound again if that was not the cause.
	s.current.closeListener()
	l, err := listen(o)
	if err == nil {
		return l, nil
	}
	again, lost := listen(former)
	if lost != nil {
		// Neither address can be bound. The current endpoint accepts nothing any more.
		return nil, errors.Join(err, lost)
	}
	s.replaceLocked(newEndpoint(former, again))
	return nil, err
}

// replaceLocked lets next serve, and the current endpoint finish its requests in flight. s.mu must
// be held. It does not wait for them: Run does at the end.
func (s *Server) replaceLocked(next *endpoint) {
	old := s.current
	s.startLocked(next)
	old.closeListener() // at once, so that new connections come to next
	s.tasks.Go(func() error {
		ctx, cancel := context.WithTimeout(s.life, drainTimeout)
		defer cancel()
		if err := old.stop(ctx); err != nil {
			s.log.Warn(fmt.Sprintf("error closing http server: %s", err))
		}
		return nil // what is served now goes on
	})
}

// startLocked makes e the current endpoint and lets it serve. s.mu must be held.
func (s *Server) startLocked(e *endpoint) {
	s.current = e
	s.tasks.Go(e.serve) // the first failure of any endpoint ends Run
	scheme, port := e.address()
	s.log.Info(fmt.Sprintf("%s listening on port %d", scheme, port))
}

// NewHTTP returns an http.Server with the timeouts of Options and a limit for headers. A timeout of
// 0 means none.
func NewHTTP(h http.Handler, read, write time.Duration, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: read,
		ReadTimeout:       read,
		IdleTimeout:       read,
		MaxHeaderBytes:    maxHeader - 4<<10, // net/http reads 4 KiB more than it is told
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	// net/http starts this clock when the header is read. A body that takes all of its time must
	// still get its answer. If a body may take for ever, there is no moment to start from.
	if read > 0 && write > 0 {
		s.WriteTimeout = read + write
	}
	return s
}
