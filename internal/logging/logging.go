// Package logging is a slog handler that writes nats-server's line format.
//
//	[28732] 2026/11/23 11:27:15.106492 [INF] starting NATS Account server, version 2.0.0
//	 pid     local time, microseconds   level text
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

// LevelTrace is below slog's own levels: a line for every request.
const LevelTrace = slog.Level(-8)

// Format says what stands in a line and which levels are written.
type Format struct {
	Time   bool // date and local time
	PID    bool
	Colors bool // of the level's three letters, also when the output is no terminal
	Debug  bool
	Trace  bool
}

// Lines is the value of an attribute that is written as it is, line ends included, and without its key. Nothing that came from
// outside may be in it.
type Lines string

// Handler writes one line per record. All handlers derived from one share its format and its writer.
type Handler struct {
	out    *output
	prefix string // of attributes added by With
}

type output struct {
	format atomic.Pointer[Format]
	mu     sync.Mutex
	w      io.Writer
}

// New returns a handler that writes to w, each record with one Write.
func New(w io.Writer, f Format) *Handler {
	h := &Handler{out: &output{w: w}}
	h.SetFormat(f)
	return h
}

// SetFormat changes the format of every line from now on.
func (h *Handler) SetFormat(f Format) { h.out.format.Store(&f) }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool {
	f := h.out.format.Load()
	switch {
	case l >= slog.LevelInfo:
		return true
	case l >= slog.LevelDebug:
		return f.Debug
	default:
		return f.Trace
	}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	f := h.out.format.Load()
	line := make([]byte, 0, 160)
	if f.PID {
		line = fmt.Appendf(line, "[%d] ", os.Getpid())
	}
	if f.Time {
		line = r.Time.Local().AppendFormat(line, "2006/01/02 15:04:05.000000 ")
	}
	line = appendLevel(line, r.Level, f.Colors)
	line = appendText(line, r.Message)
	line = appendText(line, h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		if lines, whole := a.Value.Any().(Lines); whole {
			line = append(line, lines...)
			return true
		}
		line = appendText(line, attr(a))
		return true
	})
	line = append(line, '\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(line)
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *h
	for _, a := range as {
		c.prefix += attr(a)
	}
	return &c
}

// WithGroup implements slog.Handler. Groups have no place in the format.
func (h *Handler) WithGroup(string) slog.Handler { return h }

func attr(a slog.Attr) string { return " " + a.Key + "=" + a.Value.String() }

// level is how nats-server shows a level: three letters and their colour.
func level(l slog.Level) (letters, color string) {
	switch {
	case l >= slog.LevelError:
		return "ERR", "31"
	case l >= slog.LevelWarn:
		return "WRN", "0;93"
	case l >= slog.LevelInfo:
		return "INF", "32"
	case l >= slog.LevelDebug:
		return "DBG", "36"
	default:
		return "TRC", "33"
	}
}

func appendLevel(line []byte, l slog.Level, colors bool) []byte {
	letters, color := level(l)
	if colors {
		return fmt.Appendf(line, "[\x1b[%sm%s\x1b[0m] ", color, letters)
	}
	return fmt.Appendf(line, "[%s] ", letters)
}

// appendText appends text with its control characters escaped: nobody forges a line by sending a line break.
func appendText(line []byte, text string) []byte {
	for _, c := range text {
		if c < ' ' || c == 0x7f || (c >= 0x80 && !strconv.IsPrint(c)) {
			quoted := strconv.QuoteRuneToASCII(c)
			line = append(line, quoted[1:len(quoted)-1]...)
			continue
		}
		line = append(line, string(c)...)
	}
	return line
}
