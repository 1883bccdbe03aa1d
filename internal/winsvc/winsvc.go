// Package winsvc lets the program be a Windows service. Everywhere else, and where Windows runs it in a console, it is an
// ordinary program.
package winsvc

import (
	"context"
	"io"
	"regexp"
	"strings"
	"time"
)

// Name is the service, Source where its lines are in the event log.
const (
	Name   = "nats-account-server"
	Source = "NatsAccountServer"
)

// Program is what runs: it writes its log to out, calls ready once it serves, stops in order when ctx ends, and returns
// its exit code.
type Program func(ctx context.Context, out io.Writer, ready func()) int

// request is what the service manager asks for.
type request int

const (
	interrogate request = iota
	stop                // also at a shutdown of the system
	other
)

// state is what it is told.
type state int

const (
	startPending state = iota
	running
	stopPending
)

// startWithin is how long the program has to serve.
const startWithin = 10 * time.Second

// handle runs the program for the service manager and returns its exit code: 1 if it did not come to serve in time.
func handle(requests <-chan request, report func(state), debug func(string), out io.Writer, program Program) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan int, 1)
	go func() { ended <- program(ctx, out, func() { close(ready) }) }()
	now, serving := startPending, (<-chan struct{})(ready)
	late := time.NewTimer(startWithin)
	defer late.Stop()
	report(now)
	for {
		select {
		case code := <-ended:
			return code
		case <-serving:
			serving = nil
			late.Stop()
			if now == startPending {
				now = running
				report(now)
			}
		case <-late.C:
			cancel()
			<-ended
			return 1
		case r := <-requests:
			switch r {
			case interrogate:
				report(now)
			case stop:
				late.Stop()
				now = stopPending
				report(now)
				cancel()
			default:
				debug("the service manager asks for something that this service does not know")
			}
		}
	}
}

// severity is what the event log makes of a line.
type severity int

const (
	informative severity = iota
	warning
	failure
)

// colour is what a terminal makes of it, and the event log does not.
var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// event is a line of the log as the event log has it.
func event(line []byte) (severity, string) {
	text := strings.TrimSpace(colour.ReplaceAllString(string(line), ""))
	switch {
	case strings.Contains(text, "[ERR] "):
		return failure, text
	case strings.Contains(text, "[WRN] "):
		return warning, text
	default:
		return informative, text
	}
}
