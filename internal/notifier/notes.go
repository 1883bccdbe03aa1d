package notifier

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"nats-account-server/internal/logging"
)

const (
	// maxLines is how many lines of each kind are logged in a minute.
	maxLines = 100
	// maxWarned bounds how many different warnings of one session are remembered. No more are
	// logged then.
	maxWarned = 10_000
)

// notes are lines for the log. They are written after the lock is free: a log may block, and no
// push may wait for that.
//
// Any user of the system account may cause lines, so both logs are limited: that of what is new
// about a nats-server, and that of everything else.
type notes struct {
	serverLog, log *slog.Logger
	lines          []note
	warned         map[string]bool // warnings that this session has logged
}

// note is one line.
type note struct {
	log   *slog.Logger
	level slog.Level
	text  string
}

// newNotes returns notes without lines.
func newNotes(log *slog.Logger) notes {
	return notes{
		serverLog: logging.Limited(log, maxLines, time.Minute),
		log:       logging.Limited(log, maxLines, time.Minute),
		warned:    make(map[string]bool),
	}
}

// addServer adds a line about what is new about a nats-server.
func (l *notes) addServer(level slog.Level, format string, args ...any) {
	l.lines = append(l.lines, note{l.serverLog, level, fmt.Sprintf(format, args...)})
}

// add adds a line.
func (l *notes) add(level slog.Level, format string, args ...any) {
	l.lines = append(l.lines, note{l.log, level, fmt.Sprintf(format, args...)})
}

// warnOnce adds a warning, but not twice in one session.
func (l *notes) warnOnce(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if l.warned[text] || len(l.warned) > maxWarned {
		return
	}
	l.warned[text] = true
	l.lines = append(l.lines, note{l.log, slog.LevelWarn, text})
}

// unlock unlocks n.mu and writes the lines that were added while it was held.
func (n *Notifier) unlock() {
	lines := n.notes.lines
	n.notes.lines = nil
	n.mu.Unlock()
	for _, l := range lines {
		l.log.Log(context.Background(), l.level, l.text)
	}
}
