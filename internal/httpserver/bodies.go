package httpserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
)

// limitBodies returns a handler whose requests have bodies that take memory as they arrive, until
// the request is answered.
func (l *limiter) limitBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody { // as nearly every request
			next.ServeHTTP(w, r)
			return
		}
		body := &limitedBody{ReadCloser: r.Body, ctx: r.Context(), limiter: l, allowed: freeBytes}
		// net/http looks at the body of its own request to decide whether a client may still send
		// the rest of it. So another request has the limited body.
		r = r.WithContext(r.Context())
		r.Body = body
		defer func() { l.bodies.Release(body.held) }()
		next.ServeHTTP(w, r)
	})
}

// limitedBody is a body that takes memory in pieces of freeBytes, each before it is read. What a
// client has only announced takes none: a client that sends nothing delays no other.
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
	// A chunked body fills all of p before it returns. So p must not be longer than what is
	// allowed.
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.allowed)])
	b.allowed -= int64(n)
	return n, err
}

// acquire returns when there is memory for more bytes of a body, or an error that wraps
// syscall.ENOBUFS if there is none in time.
func (l *limiter) acquire(ctx context.Context, size int64) error {
	// The usual case has no timer and no line in the log.
	if l.bodies.TryAcquire(size) {
		return nil
	}
	l.log.Warn(fmt.Sprintf("http: request bodies take all the memory that is meant for them, "+
		"%d bytes: others wait", maxBodyMemory))
	ctx, cancel := context.WithTimeout(ctx, l.memoryTimeout)
	defer cancel()
	if err := l.bodies.Acquire(ctx, size); err != nil {
		return fmt.Errorf("%w: %w", syscall.ENOBUFS, err)
	}
	return nil
}
