package httpserver

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// Limits are what a test sets in place of the constants.
type Limits struct {
	Conns         int
	Memory        int64 // for headers, and the same for bodies
	MemoryTimeout time.Duration
}

// NewLimited serves on l with limits of its own. idle returns how many connections are idle.
func NewLimited(l net.Listener, h http.Handler, limits Limits, log *slog.Logger) (s *http.Server,
	idle func() int) {
	e := newEndpoint(Options{Handler: h, Log: log}, l)
	e.limiter.maxConns, e.limiter.maxHeaderMemory = limits.Conns, limits.Memory
	e.limiter.bodies = semaphore.NewWeighted(limits.Memory)
	e.limiter.memoryTimeout = limits.MemoryTimeout
	go func() { _ = e.serve() }()
	return e.server, func() int {
		e.limiter.mu.Lock()
		defer e.limiter.mu.Unlock()
		return e.limiter.idle.Len()
	}
}

var ConnsWithin = connsWithin
