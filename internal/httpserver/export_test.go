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

// NewLimited returns a server on l with limits of its own.
func NewLimited(l net.Listener, h http.Handler, limits Limits, log *slog.Logger) *http.Server {
	e := newEndpoint(Options{Handler: h, Log: log}, l)
	e.limiter.maxConns, e.limiter.maxHeaderMemory = limits.Conns, limits.Memory
	e.limiter.bodies = semaphore.NewWeighted(limits.Memory)
	e.limiter.memoryTimeout = limits.MemoryTimeout
	go func() { _ = e.serve() }()
	return e.server
}

var ConnsWithin = connsWithin
