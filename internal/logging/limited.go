package logging

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limited returns a logger that writes at most the given number of lines per period and counts the
// others. If lines were left out, a line with their number comes before the next one. Use it for
// lines that a client can cause, and for an error that repeats. lines must be at least 1. The lines
// of a whole period may come at once.
func Limited(log *slog.Logger, lines int, period time.Duration) *slog.Logger {
	allowed := rate.NewLimiter(rate.Every(period/time.Duration(lines)), lines)
	return slog.New(&limitedHandler{Handler: log.Handler(), limit: &lineLimit{allowed: allowed}})
}

// limitedHandler passes a record on if its limit allows that. With and WithGroup keep the limit.
// All lines of the logger share one limit, whatever they say.
type limitedHandler struct {
	slog.Handler // writes the records that the limit allows
	limit        *lineLimit
}

// lineLimit counts the lines that are left out. Goroutines share it.
type lineLimit struct {
	// allowed is safe for goroutines by itself; mu guards the other fields.
	allowed *rate.Limiter

	mu      sync.Mutex
	omitted int       // number of lines since the last one that was written
	since   time.Time // when the first of them was left out
}

// Handle implements slog.Handler. The line with the number has the level of the line that follows.
func (h *limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	omitted, since, allowed := h.limit.take(r.Time)
	if !allowed {
		return nil
	}
	if omitted > 0 {
		text := fmt.Sprintf("%s left out since %s",
			Count(omitted, "more line like the next was", "more lines like the next were"),
			Time(since))
		if err := h.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, text, 0)); err != nil {
			return err
		}
	}
	return h.Handler.Handle(ctx, r)
}

// take reports whether a line may be written now, and how many were left out since the last one. It
// counts the line if that is left out. Otherwise the count begins anew. now is the time of the
// record.
func (l *lineLimit) take(now time.Time) (omitted int, since time.Time, allowed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.allowed.AllowN(now, 1) {
		if l.omitted == 0 {
			l.since = now
		}
		l.omitted++
		return 0, time.Time{}, false
	}
	omitted, since = l.omitted, l.since
	l.omitted = 0
	return omitted, since, true
}

// WithAttrs implements slog.Handler.
func (h *limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitedHandler{h.Handler.WithAttrs(attrs), h.limit}
}

// WithGroup implements slog.Handler.
func (h *limitedHandler) WithGroup(name string) slog.Handler {
	return &limitedHandler{h.Handler.WithGroup(name), h.limit}
}
