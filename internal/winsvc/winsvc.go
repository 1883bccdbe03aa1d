// Package winsvc runs the program as a Windows service. On other systems, and in a Windows console,
// it runs as an ordinary program.
package winsvc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

const (
	Name   = "nats-account-server" // of the service
	Source = "NatsAccountServer"   // of its events in the event log
)

// Program is the main function. It writes its log to out, calls ready once when it serves, stops
// when ctx ends, and returns the exit code.
type Program func(ctx context.Context, out io.Writer, ready func()) int

// request is a request of the service manager.
type request int

const (
	interrogate request = iota // report the state again
	stop                       // also sent when the system shuts down
	other                      // none of these; it is logged and changes nothing
)

// state is the state of the service, as reported to the service manager.
type state int

const (
	startPending state = iota // the program does not serve yet
	running                   // the program serves
	stopPending               // the program has been told to stop
)

// startTimeout is how long the program may take until it serves. The original gives it as long.
const startTimeout = 10 * time.Second

// unknownRequest has the form of the log's lines, but no time: it goes into the event log.
const unknownRequest = "[DBG] the service manager sent a request that this service does not know"

// manager is the side of the service manager. R is its type of a request; the package that has the
// type is there on Windows only.
type manager[R any] struct {
	requests <-chan R        // never closed
	kind     func(R) request // what a request wants
	report   func(state)     // tells the service manager the state
	out      io.Writer       // for the log of the program
}

// run runs the program and returns its exit code, or 1 if it does not serve within startTimeout. It
// returns only when the program has ended.
func (m *manager[R]) run(program Program) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// Both have room, so that the program never waits for this function.
	ready, ended := make(chan struct{}, 1), make(chan int, 1)
	go func() { ended <- program(ctx, m.out, func() { ready <- struct{}{} }) }()
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	now := startPending
	m.report(now)
	// Until the program has ended, requests are answered.
	for {
		select {
		// The caller reports that the service has stopped.
		case code := <-ended:
			return code
		case <-ready:
			late.Stop()
			// A program that is told to stop while it starts may still become ready.
			if now == startPending {
				now = running
				m.report(now)
			}
		case <-late.C:
			cancel()
			<-ended // its own exit code does not matter: it was too late
			return 1
		case r := <-m.requests:
			switch m.kind(r) {
			case interrogate:
				m.report(now)
			case stop:
				late.Stop() // from here on, the service manager limits the time
				now = stopPending
				m.report(now)
				cancel()
			default:
				fmt.Fprintln(m.out, unknownRequest)
			}
		}
	}
}

// colour matches the control sequences that colour text in a terminal.
var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// event returns a line of the log as an event of LevelInfo, LevelWarn or LevelError. A line without
// a level, such as the usage, is information. The blanks around it and its colours are left out.
func event(line []byte) (slog.Level, string) {
	text := strings.TrimSpace(colour.ReplaceAllString(string(line), ""))
	switch {
	// The level may stand behind a process ID and a time, as the format is configured.
	case strings.Contains(text, "[ERR] "), strings.Contains(text, `"level":"ERROR"`):
		return slog.LevelError, text
	case strings.Contains(text, "[WRN] "), strings.Contains(text, `"level":"WARN"`):
		return slog.LevelWarn, text
	default:
		return slog.LevelInfo, text
	}
}
