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
	LongHeaders   int
	BodyMemory    int64 // bytes
	MemoryTimeout time.Duration
}

// NewLimited serves on l with limits of its own. idle returns how many connections are idle.
func NewLimited(l net.Listener, h http.Handler, limits Limits, log *slog.Logger) (s *http.Server,
	idle func() int) {
	e := newEndpoint(Options{Handler: h, Log: log}, l)
	e.limiter.maxConns, e.limiter.maxLongHeaders = limits.Conns, limits.LongHeaders
	e.limiter.bodies = semaphore.NewWeighted(limits.BodyMemory)
	e.limiter.memoryTimeout = limits.MemoryTimeout
	go func() { _ = e.serve() }()
	return e.server, func() int {
		e.limiter.mu.Lock()
		defer e.limiter.mu.Unlock()
		return e.limiter.idle.Len()
	}
}

var ConnsWithin = connsWithin

// MaxLongHeaderMemory is how many bytes the long headers may take that are not complete.
const MaxLongHeaderMemory = maxLongHeaders * maxHeader * 8
