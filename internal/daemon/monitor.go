package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"nats-account-server/internal/config"
	"nats-account-server/internal/httpapi"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/replica"
)

// monitored is what the monitor looks at of what is not there yet when it is made, or is replaced.
// Its methods may be called from any goroutine.
type monitored struct {
	server  atomic.Pointer[httpserver.Server] // nil: it does not listen yet
	replica atomic.Pointer[replica.Replica]   // nil: this server follows no primary
}

// connections returns how many HTTP connections are open.
func (m *monitored) connections() int64 {
	if s := m.server.Load(); s != nil {
		return s.Connections()
	}
	return 0
}

// replicaState returns how far this server is behind its primary; false: it follows none.
func (m *monitored) replicaState() (replica.State, bool) {
	if r := m.replica.Load(); r != nil {
		return r.State(), true
	}
	return replica.State{}, false
}

// monitorServer serves what the monitor says on an address of its own. The zero value is none.
// options are those it runs with, for the case that a reload is undone.
type monitorServer struct {
	*httpserver.Server
	*task   // nil until it is started
	options httpserver.Options
}

// nextMonitorServer returns the server that a configuration asks for: none, or a new one, which
// listens already. d is not changed.
func (d *daemon) nextMonitorServer(c config.Config, f files) (monitorServer, error) {
	if c.Monitor.Port == 0 {
		return monitorServer{}, nil
	}
	s := monitorServer{options: d.monitorOptions(c, f)}
	var err error
	if s.Server, err = httpserver.New(s.options); err != nil {
		return monitorServer{}, fmt.Errorf("monitor: %w", err)
	}
	return s, nil
}

// monitorOptions returns what the server of the monitor is made of. It needs no login: who may
// reach the address decides. Port -1 stands for a free one.
func (d *daemon) monitorOptions(c config.Config, f files) httpserver.Options {
	o := d.apiOptions(c, f)
	o.Authorizer, o.Only = nil, httpapi.MonitorRoutes
	return httpserver.Options{
		Host:         cmp.Or(c.Monitor.Host, c.HTTP.Host),
		Port:         max(c.Monitor.Port, 0),
		ReadTimeout:  c.HTTP.ReadTimeout,
		WriteTimeout: c.HTTP.WriteTimeout,
		Handler:      httpapi.New(o),
		Log:          d.log.Logger,
	}
}

// startMonitorServer makes s the server of the monitor. The one before must be stopped.
func (d *daemon) startMonitorServer(s monitorServer) {
	if s.Server != nil {
		_, port := s.Address()
		d.log.infof("metrics and what is running are served on port %d", port)
		s.task = d.start(context.Background(), "monitor", s.Run)
	}
	d.monitorServer = s
}

// reloadMonitorServer changes the server of the monitor to what c asks for. undo takes that back,
// and commit ends a server that is not asked for any more. Exactly one of undo and commit must be
// called, unless there is an error.
func (d *daemon) reloadMonitorServer(c config.Config, f files) (undo, commit func(), err error) {
	old := d.monitorServer
	if old.Server != nil && c.Monitor.Port != 0 {
		next := old
		next.options = d.monitorOptions(c, f)
		if err := old.Reload(next.options); err != nil {
			return nil, nil, fmt.Errorf("monitor: %w", err)
		}
		return func() { _ = old.Reload(old.options) }, func() { d.monitorServer = next }, nil
	}
	next, err := d.nextMonitorServer(c, f)
	if err != nil {
		return nil, nil, err
	}
	undo = func() { _ = closeServer(next.Server) }
	commit = func() {
		old.stop()
		d.startMonitorServer(next)
	}
	return undo, commit, nil
}

// directoryStore is the store of a server that only reads a directory: that must be there as well.
type directoryStore struct {
	monitor.Store
	dir string
}

// Check implements monitor.Store.
func (s directoryStore) Check() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := dir.Readdirnames(1); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", s.dir, err)
	}
	return s.Store.Check()
}

// monitoredStore returns what the monitor looks at. The directory of jwtstore.Dir is watched by
// itself.
func (d *daemon) monitoredStore() monitor.Store {
	if c := d.Config.Store; c.ReadOnly && c.Dir+c.NSC != "" {
		return directoryStore{d.store, c.Dir + c.NSC} // one of them is empty
	}
	return d.store
}
