package winsvc

import (
	"context"
	"log/slog"
	"os"
	"syscall"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// Run runs the program and returns its exit code. It runs as a service if the service manager has
// started it. Otherwise its log goes to standard error, and its context never ends by itself.
func Run(program Program) int {
	if !isService() {
		return program(context.Background(), os.Stderr, func() {})
	}
	// A service has no standard error. What it writes there is lost.
	events, err := eventlog.Open(Source)
	if err != nil {
		return 1 // without the event log, the error can't be reported
	}
	defer events.Close()
	s := &service{events: events, program: program}
	// svc.Run returns when the service has stopped.
	if err := svc.Run(Name, s); err != nil {
		_ = events.Error(1, err.Error())
		return 1
	}
	return s.code
}

// isService reports whether the service manager has started the program. If Windows can't tell, the
// program is an ordinary one.
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
	events  *eventlog.Log // not nil
	program Program
	code    int // exit code of the program, after Execute
}

// Execute implements svc.Handler. It returns when the program ends. An exit code other than 0 is
// reported as one of the program's own, not of Windows. svc.Run calls it once. The arguments of the
// service are not used.
func (s *service) Execute(
	_ []string, changes <-chan svc.ChangeRequest, status chan<- svc.Status,
) (specific bool, code uint32) {
	m := manager[svc.ChangeRequest]{
		requests: changes,
		kind:     kind,
		report:   func(now state) { status <- statuses[now] },
		out:      lines{s.events},
	}
	s.code = m.run(s.program)
	// svc.Run reports the stopped state after this.
	return true, uint32(s.code)
}

// accepted has the requests that a running service accepts, besides those that all services accept.
const accepted = svc.AcceptStop | svc.AcceptShutdown

// statuses has the states as the service manager knows them. Only a running service can be told to
// stop through the service manager's tools.
var statuses = map[state]svc.Status{
	startPending: {State: svc.StartPending},
	running:      {State: svc.Running, Accepts: accepted},
	stopPending:  {State: svc.StopPending},
}

// kind returns what the service manager wants. Only Stop and Shutdown end the program.
func kind(c svc.ChangeRequest) request {
	switch c.Cmd {
	case svc.Interrogate:
		return interrogate
	case svc.Stop, svc.Shutdown:
		return stop
	default:
		return other
	}
}

// lines writes each line of the log as an event.
type lines struct{ events *eventlog.Log }

// Write implements io.Writer. The log writes one line with each call, and its level is that of the
// event. All events have the id 1.
func (l lines) Write(line []byte) (int, error) {
	write := l.events.Info
	level, text := event(line)
	switch level {
	case slog.LevelWarn:
		write = l.events.Warning
	case slog.LevelError:
		write = l.events.Error
	}
	return len(line), write(1, text)
}
