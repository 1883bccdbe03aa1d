package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/replica"
)

// watched is what the monitor looks at of what is not there yet when it is made, or is replaced.
type watched struct {
	server  atomic.Pointer[httpserver.Server] // nil: it does not listen yet
	replica atomic.Pointer[replica.Replica]   // nil: this server follows no primary
}

// connections returns how many HTTP connections are open.
func (w *watched) connections() int64 {
	if s := w.server.Load(); s != nil {
		return s.Connections()
	}
	return 0
}

// replicaState returns how far this server is behind its primary; false: it follows none.
func (w *watched) replicaState() (replica.State, bool) {
	if r := w.replica.Load(); r != nil {
		return r.State(), true
	}
	return replica.State{}, false
}

// watchedStore is the store of a server that only reads a directory: that must be there as well.
type watchedStore struct {
	monitor.Store
	dir string
}

// Check implements monitor.Store.
func (s watchedStore) Check() error {
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

// storeToWatch returns what the monitor looks at.
func (d *daemon) storeToWatch() monitor.Store {
	if c := d.Config.Store; c.ReadOnly && c.Dir+c.NSC != "" {
		return watchedStore{d.store, c.Dir + c.NSC} // one of them is empty
	}
	return d.store
}
