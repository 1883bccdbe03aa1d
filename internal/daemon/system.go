package daemon

import (
	"context"
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

// logLimits applies the limits that a container or a unit sets, and warns if one is too low.
func logLimits(log logger) {
	if text := process.LimitMemory(); text != "" {
		log.infof("%s", text)
	}
	if now, most := httpserver.ConnLimit(); now < most {
		log.warnf("at most %d connections are served at once instead of %d, because the process "+
			"may not open more files: raise its limit, with LimitNOFILE= in "+
			"systemd or ulimit -n in a shell",
			now, most)
	}
}

// tellSystemd logs that systemd could not be told something. It may end a program that it knows
// nothing of.
func (d *daemon) tellSystemd(err error) {
	if err != nil {
		d.log.warnf("%s", err)
	}
}

// every returns a channel with a value per interval, which stop ends. Without an interval there is
// never a value.
func every(interval time.Duration) (ticks <-chan time.Time, stop func()) {
	if interval <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(interval)
	return t.C, t.Stop
}

// proveAlive tells systemd that the program lives, if HTTP answers. It does not wait for that. The daemon
// takes signals in the same goroutine, so one that hangs proves nothing either.
func (d *daemon) proveAlive() {
	if !d.probing.CompareAndSwap(false, true) {
		return // the last request has no answer yet
	}
	go func() {
		defer d.probing.Store(false)
		if err := d.server.Answers(aliveTimeout); err != nil {
			d.log.warnf("HTTP does not answer, so systemd is not told that the server lives: %s",
				err)
			return
		}
		d.tellSystemd(d.Systemd.Alive())
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
