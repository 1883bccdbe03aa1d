package winsvc

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// Run runs the program, as a service if the service manager has started it, and returns its exit code.
func Run(program Program) int {
	if !isService() {
		return program(context.Background(), os.Stderr, func() {})
	}
	events, err := eventlog.Open(Source)
	if err != nil {
		return 1 // there is nowhere to say why
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
	return err == nil && is
}

// StopSignals are the signals that stop the program. To Go a user who logs off is a SIGTERM, and every service hears of that: a
// service is stopped by the service manager alone.
func StopSignals() []os.Signal {
	if isService() {
		return []os.Signal{os.Interrupt}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// service is the program as the service manager sees it.
type service struct {
	events  *eventlog.Log
	program Program
	code    int
}

// Execute implements svc.Handler.
func (s *service) Execute(_ []string, changes <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	requests, done := make(chan request), make(chan struct{})
	defer close(done)
	go translate(changes, requests, done)
	s.code = handle(requests, func(now state) { status <- statuses[now] }, func(text string) { _ = s.events.Info(1, text) }, lines{s.events}, s.program)
	return true, uint32(s.code)
}

const accepted = svc.AcceptStop | svc.AcceptShutdown

var statuses = map[state]svc.Status{
	startPending: {State: svc.StartPending},
	running:      {State: svc.Running, Accepts: accepted},
	stopPending:  {State: svc.StopPending},
}

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

// Write implements io.Writer. The log writes one line at a time.
func (l lines) Write(line []byte) (int, error) {
	how, text := event(line)
	write := map[severity]func(uint32, string) error{informative: l.events.Info, warning: l.events.Warning, failure: l.events.Error}
	return len(line), write[how](1, text)
}
