// Package logging writes the log and the audit.
//
// Handler is a slog.Handler for nats-server's line format:
//
//	[28732] 2026/11/23 11:27:15.106492 [INF] starting NATS Account server, version 2.0.0
//	 pid     local time, microseconds   level text
//
// or for JSON:
//
//	{"time":"2026-11-23T10:27:15.106492Z","level":"INFO","msg":"stopping account server"}
//
// Lines wait in a queue, so that a reader that does not read stops nothing. Use sends them to a file
// or to syslog, see Target.
//
// Audit writes what happened to each JWT that was offered. Limited, Quote and ShortKey are for
// texts that a client can cause or choose, and Condition is for what stays wrong.
//
// # Files
//
// In the order in which to read them:
//
//	logging.go    Handler and Format: a record becomes a line
//	text.go       quoting, cutting, times and numbers; json.go, lines in JSON
//	queue.go      lines that wait for their reader
//	sink.go       where lines go: file.go, which is rotated, or syslog.go
//	limited.go    at most so many lines in a time
//	condition.go  what stays wrong is logged once
//	audit.go      the audit
package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// LevelTrace is the level of a line for each request. It is below the levels of slog.
const LevelTrace = slog.Level(-8)

// Format says what is in a line and which levels are written. The zero Format is text without time,
// from INF up, with colours on a terminal.
type Format struct {
	Encoding Encoding
	Time     bool   // date and local time
	PID      bool   // process id
	Colors   Colors // of the level's three letters
	Debug    bool   // write lines of LevelDebug
	Trace    bool   // write lines of LevelTrace
}

// Encoding is the form of a line.
type Encoding int

const (
	Text Encoding = iota // nats-server's
	JSON                 // an object, see jsonLine
)

// Colors says when a line has colours. Lines in JSON, in a file and in syslog never have any.
type Colors int

const (
	ColorsOnTerminal Colors = iota // if the writer is a terminal and the environment permits it
	ColorsAlways
	ColorsNever
)

// Object is a JSON object, as the value of an attribute. Text has it without its key and unchanged,
// with its line ends. It must have been escaped already. In JSON it is a member that is an object
// too.
type Object string

// Handler writes one line per record. A handler made by WithAttrs writes in the same format and to
// the same writer. Its methods may be called from any goroutine.
type Handler struct {
	out   *output
	attrs []slog.Attr // added by WithAttrs; its array is never appended to
}

// output is what handlers share.
type output struct {
	format atomic.Pointer[Format] // never nil
	queue  *queue

	first    writer               // what New was given
	target   atomic.Pointer[Sink] // what Use was given; nil means first
	failures *rate.Limiter        // of lines in first about target
	// colors is set if first shows colours. It counts only for ColorsOnTerminal.
	colors bool
}

// New returns a handler that writes each record to w with one Write. It does not wait for w. Lines
// that are left out are counted, and a line says so. Flush waits for the last ones.
func New(w io.Writer, f Format) *Handler {
	o := &output{
		first:    plain{w},
		colors:   showsColors(w),
		failures: rate.NewLimiter(rate.Every(time.Minute), 1),
	}
	h := &Handler{out: o}
	o.queue = &queue{note: h.omitted, write: h.write}
	h.SetFormat(f)
	return h
}

// Use sends all further lines to s, and closes what was used before. Nil means the writer that the
// handler was made with. A line that s does not take goes there too.
func (h *Handler) Use(s *Sink) {
	if old := h.out.target.Swap(s); old != nil {
		_ = old.Close()
	}
}

// IsRedirected reports whether lines go to another place than the writer that the handler was made
// with.
func (h *Handler) IsRedirected() bool { return h.out.target.Load() != nil }

// write writes a line of the queue. Only the goroutine of the queue calls it, so lines are never
// mixed.
func (h *Handler) write(level slog.Level, line []byte) error {
	for {
		s := h.out.target.Load()
		if s == nil {
			return h.out.first.writeLine(level, line)
		}
		err := s.writeLine(level, line)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, os.ErrClosed) && h.out.target.Load() != s:
			continue // Use has closed it in the meantime
		}
		h.reportFailed(s, err)
		_ = h.out.first.writeLine(level, line)
		return err
	}
}

// reportFailed writes that s can't be used to the first writer, once a minute.
func (h *Handler) reportFailed(s *Sink, err error) {
	if h.out.failures.Allow() {
		text := fmt.Sprintf("%s can't be written, its lines are here until it can: %s", s.name, err)
		level := slog.LevelError
		_ = h.out.first.writeLine(level, h.line(slog.NewRecord(time.Now(), level, text, 0)))
	}
}

// omitted returns the line about those that were left out.
func (h *Handler) omitted(lines int, since time.Time) []byte {
	text := fmt.Sprintf("%s left out of the log since %s: its reader was too slow",
		Count(lines, "line was", "lines were"), Time(since))
	return h.line(slog.NewRecord(time.Now(), slog.LevelWarn, text, 0))
}

// Flush waits until all lines are written, at most for limit. It is for the end of the program.
func (h *Handler) Flush(limit time.Duration) { h.out.queue.flush(limit) }

// showsColors reports whether w is a terminal that shows colours. NO_COLOR with any value, and the
// terminal type dumb, mean that colours are not wanted. A character device counts as a terminal.
// See https://no-color.org.
func showsColors(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// SetFormat changes the format of all further lines, also of the handlers that WithAttrs has made.
// It may be called while other goroutines write lines.
func (h *Handler) SetFormat(f Format) { h.out.format.Store(&f) }

// levelName is how a line shows the levels from least on.
type levelName struct {
	least          slog.Level
	letters, color string // in text; color is the number in a terminal's control sequence
	name           string // in JSON
	severity       int    // in syslog
}

// levels has the levels from the highest to the lowest. Letters, colours and severities are those
// of nats-server. A level in between counts as the next lower one.
var levels = []levelName{
	{slog.LevelError, "ERR", "31", "ERROR", 3},
	{slog.LevelWarn, "WRN", "0;93", "WARN", 4},
	{slog.LevelInfo, "INF", "32", "INFO", 5},
	{slog.LevelDebug, "DBG", "36", "DEBUG", 7},
	{math.MinInt, "TRC", "33", "TRACE", 7},
}

// levelOf returns how a level is shown.
func levelOf(level slog.Level) levelName {
	// The last one takes everything, so an index is always found.
	return levels[slices.IndexFunc(levels, func(l levelName) bool { return level >= l.least })]
}

// Enabled implements slog.Handler. Debug and Trace are independent: either can be set alone.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool {
	f := h.out.format.Load()
	return l >= slog.LevelInfo || l >= slog.LevelDebug && f.Debug || l < slog.LevelDebug && f.Trace
}

// Handle implements slog.Handler. No text can forge a line.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	h.out.queue.put(r.Level, h.line(r))
	return nil
}

// line returns a record as a line.
func (h *Handler) line(r slog.Record) []byte {
	f, s := h.out.format.Load(), h.out.target.Load()
	switch {
	case f.Encoding == JSON:
		return h.jsonLine(r, f)
	case s != nil && s.isSyslog:
		// syslog has fields of its own for what comes before the text.
		return h.appendText(nil, r)
	}
	// 160 bytes hold most lines, so that few are copied while they grow.
	line := make([]byte, 0, 160)
	if f.PID {
		line = fmt.Appendf(line, "[%d] ", os.Getpid())
	}
	if f.Time {
		line = r.Time.Local().AppendFormat(line, "2006/01/02 15:04:05.000000 ")
	}
	level := levelOf(r.Level)
	if s == nil && (f.Colors == ColorsAlways || f.Colors == ColorsOnTerminal && h.out.colors) {
		line = fmt.Appendf(line, "[\x1b[%sm%s\x1b[0m] ", level.color, level.letters)
	} else {
		line = fmt.Appendf(line, "[%s] ", level.letters)
	}
	return h.appendText(line, r)
}

// appendText appends the text of a record, its attributes and a line end. escape makes one line of
// any text.
func (h *Handler) appendText(line []byte, r slog.Record) []byte {
	line = append(line, escape(r.Message)...)
	h.eachAttr(r, func(a slog.Attr) {
		if r.Message != "" {
			line = append(line, ' ')
		}
		line = append(line, attr(a)...)
	})
	return append(line, '\n')
}

// eachAttr calls f with the attributes of the handler and of a record.
func (h *Handler) eachAttr(r slog.Record, f func(slog.Attr)) {
	for _, a := range h.attrs {
		f(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		f(a)
		return true
	})
}

// WithAttrs implements slog.Handler. h itself does not change.
func (h *Handler) WithAttrs(as []slog.Attr) slog.Handler {
	return &Handler{out: h.out, attrs: slices.Concat(h.attrs, as)}
}

// WithGroup implements slog.Handler. The format has no groups.
func (h *Handler) WithGroup(string) slog.Handler { return h }

// attr returns the text of an attribute.
func attr(a slog.Attr) string {
	if o, isObject := a.Value.Any().(Object); isObject {
		return string(o)
	}
	return escape(a.Key + "=" + a.Value.String())
}
