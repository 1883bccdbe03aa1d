// Package loggingtest has a log for tests: its lines can be read as soon as they are logged.
package loggingtest

import (
	"context"
	"io"
	"log/slog"
	"time"

	"nats-account-server/internal/logging"
)

// New returns a handler that has written each line to w before Handle returns.
func New(w io.Writer, f logging.Format) slog.Handler { return AtOnce(logging.New(w, f)) }

// AtOnce returns a handler that has each line written before Handle returns.
func AtOnce(h *logging.Handler) slog.Handler { return atOnce{h} }

type atOnce struct{ *logging.Handler }

// Handle implements slog.Handler.
func (h atOnce) Handle(ctx context.Context, r slog.Record) error {
	defer h.Flush(time.Hour)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h atOnce) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atOnce{h.Handler.WithAttrs(attrs).(*logging.Handler)}
}

// WithGroup implements slog.Handler.
func (h atOnce) WithGroup(string) slog.Handler { return h }
