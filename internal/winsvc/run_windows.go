package winsvc

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// Run runs the program and returns its exit code. It runs as a service if the service manager has
// started it.
func Run(program Program) int {
	if !isService() {
		return program(context.Background(), os.Stderr, func() {})
	}
	events, err := eventlog.Open(Source)
	if err != nil {
		return 1 // without the event log, the error can't be reported
	}
	defer events.Close()
	s := &service{events: events, program: program}
	if err := svc.Run(Name, s); err != nil {
		_ = events.Error(1, err.Error())
		return 1
	}
	return s.code
}

func isService() bool {
	is, err := svc.IsWindowsService()
	return is && err == nil
}

// StopSignals returns the signals that stop the program. A service gets SIGTERM whenever a user
// logs off, so it must ignore it: only the service manager stops a service.
func StopSignals() []os.Signal {
	if isService() {
		return []os.Signal{os.Interrupt}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// service is the program as a service.
type service struct {
	events  *eventlog.Log
	program Program
	code    int // the exit code, after Execute
}

// Execute implements svc.Handler.
func (s *service) Execute(
	_ []string, changes <-chan svc.ChangeRequest, status chan<- svc.Status,
) (specific bool, code uint32) {
	requests, done := make(chan request), make(chan struct{})
	defer close(done)
	go translate(changes, requests, done)
	m := manager{
		requests: requests,
		report:   func(now state) { status <- statuses[now] },
		debug:    func(text string) { _ = s.events.Info(1, text) },
		out:      lines{s.events},
	}
	s.code = m.run(s.program)
	return true, uint32(s.code)
}

// accepted has the requests that a running service accepts, besides those that all services accept.
const accepted = svc.AcceptStop | svc.AcceptShutdown

// statuses has the states as the service manager knows them.
var statuses = map[state]svc.Status{
	startPending: {State: svc.StartPending},
	running:      {State: svc.Running, Accepts: accepted},
	stopPending:  {State: svc.StopPending},
}

// translate passes on the requests of the service manager until done is closed.
func translate(changes <-chan svc.ChangeRequest, requests chan<- request, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case c := <-changes:
			r := other
			switch c.Cmd {
			case svc.Interrogate:
				r = interrogate
			case svc.Stop, svc.Shutdown:
				r = stop
			}
			select {
			case requests <- r:
			case <-done:
				return
			}
		}
	}
}

// lines writes each line of the log as an event.
type lines struct{ events *eventlog.Log }

// Write implements io.Writer. The log writes one line with each call.
func (l lines) Write(line []byte) (int, error) {
	kind, text := event(line)
	write := l.events.Info
	switch kind {
	case warning:
		write = l.events.Warning
	case failure:
		write = l.events.Error
	}
	return len(line), write(1, text)
}
