package daemon

import (
	"os"

	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/process"
)

// outputs are the files that a configuration names to be written.
type outputs struct {
	log       *logging.Sink // nil: the writer of the start
	audit     *os.File      // nil: the log
	removePID func()        // nil: the pid file does not change
}

// openOutputs opens the files of a configuration. was is the one in force. The log and the audit
// file are opened also if their names are the same: they may have been renamed.
func openOutputs(c, was config.Config) (o outputs, err error) {
	if o.audit, err = logging.OpenAudit(c.Logging.Audit); err != nil {
		return o, err
	}
	if o.log, err = c.Logging.Target.Open(); err == nil && c.PIDFile != was.PIDFile {
		o.removePID, err = process.WritePID(c.PIDFile)
	}
	if err != nil {
		o.discard()
	}
	return o, err
}

// discard closes the files, which are not used then.
func (o outputs) discard() {
	_ = o.log.Close()
	_ = o.audit.Close() // a nil file says so
	if o.removePID != nil {
		o.removePID()
	}
}

// use writes to these files from now on, and closes those before. It can't fail. Lines that are
// being written are finished first.
func (d *daemon) use(o outputs) {
	d.Logging.Use(o.log)
	d.audit.Use(o.audit)
	if o.removePID != nil {
		d.removePID()
		d.removePID = o.removePID
	}
}
