// Package logging writes the log and the audit.
//
// Handler is a slog.Handler for nats-server's line format:
//
//	[28732] 2026/11/23 11:27:15.106492 [INF] starting NATS Account server, version 2.0.0
//	 pid     local time, microseconds   level text
//
// Audit writes what happened to each JWT that was offered. Limited, Quote and ShortKey are for
// texts that a client can cause or choose.
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

// LevelTrace is the level of a line for each request. It is below the levels of slog.
const LevelTrace = slog.Level(-8)

// Format says what is in a line and which levels are written.
type Format struct {
	Time   bool // date and local time
	PID    bool // process id
	Colors bool // of the level's three letters, also if the output is not a terminal
	Debug  bool // write lines of LevelDebug
	Trace  bool // write lines of LevelTrace
}

// Lines is the value of an attribute that is written unchanged, with its line ends and without its
// key. It must hold no text that a client or a file has chosen.
type Lines string

// Handler writes one line per record. A handler made by WithAttrs writes in the same format and to
// the same writer.
type Handler struct {
	out   *output
	attrs string // the text of the attributes added by WithAttrs
}

// output is what handlers share.
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

// SetFormat changes the format of all further lines.
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
	line = appendText(line, h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		if lines, ok := a.Value.Any().(Lines); ok {
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
		c.attrs += attr(a)
	}
	return &c
}

// WithGroup implements slog.Handler. The format has no groups.
func (h *Handler) WithGroup(string) slog.Handler { return h }

// attr returns the text of an attribute.
func attr(a slog.Attr) string { return " " + a.Key + "=" + a.Value.String() }

// level returns the three letters of a level and the code of their colour, as in nats-server.
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

// appendLevel appends a level in brackets.
func appendLevel(line []byte, l slog.Level, colors bool) []byte {
	letters, color := level(l)
	if colors {
		return fmt.Appendf(line, "[\x1b[%sm%s\x1b[0m] ", color, letters)
	}
	return fmt.Appendf(line, "[%s] ", letters)
}

// appendText appends text with its unprintable characters escaped. No text can forge a line.
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
