// Package logging writes the log and the audit.
//
// Handler is a slog.Handler for nats-server's line format:
//
//	[28732] 2026/11/23 11:27:15.106492 [INF] starting NATS Account server, version 2.0.0
//	 pid     local time, microseconds   level text
//
// A handler of the program writes through a Queue, so that a reader that does not read stops
// nothing.
//
// Audit writes what happened to each JWT that was offered. Limited, Quote and ShortKey are for
// texts that a client can cause or choose, and Condition is for what stays wrong.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// LevelTrace is the level of a line for each request. It is below the levels of slog.
const LevelTrace = slog.Level(-8)

// Format says what is in a line and which levels are written.
type Format struct {
	Time   bool   // date and local time
	PID    bool   // process id
	Colors Colors // of the level's three letters
	Debug  bool   // write lines of LevelDebug
	Trace  bool   // write lines of LevelTrace
}

// Colors says when a line has colours.
type Colors int

const (
	ColorsOnTerminal Colors = iota // if the writer is a terminal and the environment permits it
	ColorsAlways
	ColorsNever
)

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
	format atomic.Pointer[Format] // never nil
	queue  *Queue
	waits  bool // Handle waits until the line is written
	// colors is set if the writer shows colours. It counts only for ColorsOnTerminal.
	colors bool
}

// New returns a handler that writes each record to w, with one Write, before Handle returns.
func New(w io.Writer, f Format) *Handler {
	h := NewQueued(w, f)
	h.out.waits = true
	return h
}

// NewQueued returns a handler that does not wait for w. Lines that are left out are counted, and a
// line says so. Flush writes the last ones.
func NewQueued(w io.Writer, f Format) *Handler {
	h := &Handler{out: &output{queue: NewQueue(w), colors: showsColors(w)}}
	h.out.queue.note = h.omitted
	h.SetFormat(f)
	return h
}

// omitted returns the line about those that were left out.
func (h *Handler) omitted(lines int, since time.Time) []byte {
	text := fmt.Sprintf("%d lines were left out of the log since %s: its reader was too slow",
		lines, Time(since))
	return h.line(slog.NewRecord(time.Now(), slog.LevelWarn, text, 0))
}

// Flush waits until all lines are written, at most for limit. It is for the end of the program.
func (h *Handler) Flush(limit time.Duration) { h.out.queue.Flush(limit) }

// showsColors reports whether w is a terminal that shows colours. NO_COLOR with any value, and the
// terminal type dumb, mean that colours are not wanted. A character device counts as a terminal.
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
	letters, color string // color is the number in a terminal's control sequence
}

// levels has the levels from the highest to the lowest, with their letters and the codes of their
// colours, as in nats-server. A level in between counts as the next lower one.
var levels = []levelName{
	{slog.LevelError, "ERR", "31"},
	{slog.LevelWarn, "WRN", "0;93"},
	{slog.LevelInfo, "INF", "32"},
	{slog.LevelDebug, "DBG", "36"},
	{math.MinInt, "TRC", "33"},
}

// Enabled implements slog.Handler. Debug and Trace are independent: either can be set alone.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool {
	f := h.out.format.Load()
	return l >= slog.LevelInfo || l >= slog.LevelDebug && f.Debug || l < slog.LevelDebug && f.Trace
}

// Handle implements slog.Handler. No text can forge a line.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	line := h.line(r)
	if h.out.waits {
		return h.out.queue.offer(line).wait(time.Hour)
	}
	h.out.queue.Put(line) // it counts the lines that it leaves out
	return nil
}

// line returns a record as a line.
func (h *Handler) line(r slog.Record) []byte {
	f := h.out.format.Load()
	// 160 bytes hold most lines, so that few are copied while they grow.
	line := make([]byte, 0, 160)
	if f.PID {
		line = fmt.Appendf(line, "[%d] ", os.Getpid())
	}
	if f.Time {
		line = r.Time.Local().AppendFormat(line, "2006/01/02 15:04:05.000000 ")
	}
	// The last level takes everything, so an index is always found.
	level := levels[slices.IndexFunc(levels, func(l levelName) bool { return r.Level >= l.least })]
	if f.Colors == ColorsAlways || f.Colors == ColorsOnTerminal && h.out.colors {
		line = fmt.Appendf(line, "[\x1b[%sm%s\x1b[0m] ", level.color, level.letters)
	} else {
		line = fmt.Appendf(line, "[%s] ", level.letters)
	}
	line = append(line, escape(r.Message)+h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		line = append(line, attr(a)...)
		return true
	})
	return append(line, '\n')
}

// WithAttrs implements slog.Handler. h itself does not change.
func (h *Handler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *h
	for _, a := range as {
		c.attrs += attr(a)
	}
	return &c
}

// WithGroup implements slog.Handler. The format has no groups.
func (h *Handler) WithGroup(string) slog.Handler { return h }

// attr returns the text of an attribute, with a blank before it.
func attr(a slog.Attr) string {
	if lines, ok := a.Value.Any().(Lines); ok {
		return string(lines)
	}
	return escape(" " + a.Key + "=" + a.Value.String())
}
