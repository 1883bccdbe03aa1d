package daemon

import (
	"context"
	"sync/atomic"
	"time"

	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/process"
)

const (
	// servesStatus is what systemd shows of a server that runs.
	servesStatus = "serving account JWTs"
	// aliveTimeout is how long an answer to the daemon's own request may take.
	aliveTimeout = 5 * time.Second
)

// logLimits applies the limits that a container or a unit sets, and warns if one is too low. An
// open-files limit counts sockets: each connection is one.
func logLimits(log logger) {
	if text := process.LimitMemory(); text != "" {
		log.infof("%s", text)
	}
	if now, limit := httpserver.ConnLimit(); now < limit {
		log.warnf("at most %d connections are served at once instead of %d, because the process "+
			"may not open more files: raise its limit, with LimitNOFILE= in "+
			"systemd or ulimit -n in a shell",
			now, limit)
	}
}

// systemd is the service manager that has started the program. Without one nothing is told. Its
// methods work with a nil Systemd.
type systemd struct {
	*process.Systemd
	log     logger
	probing atomic.Bool // a request to the daemon itself has no answer yet, see proveAlive
}

// tell logs that systemd could not be told something. It may end a program that it knows nothing
// of.
func (s *systemd) tell(err error) {
	if err != nil {
		s.log.warnf("%s", err)
	}
}

// proveAlive tells systemd that the program lives, if HTTP answers. It does not wait for that. The
// daemon takes signals in the same goroutine, so one that hangs proves nothing either.
func (s *systemd) proveAlive(answers func(within time.Duration) error) {
	if !s.probing.CompareAndSwap(false, true) {
		return // the last request has no answer yet
	}
	go func() {
		defer s.probing.Store(false)
		if err := answers(aliveTimeout); err != nil {
			s.log.warnf("HTTP does not answer, so systemd is not told that the server lives: %s",
				err)
			return
		}
		s.tell(s.Alive())
	}()
}

// closeServer ends a server whose task has not been started. nil is none.
func closeServer(s *httpserver.Server) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Run(ctx)
}
