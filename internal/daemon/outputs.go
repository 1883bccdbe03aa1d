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

// reopen opens the log file and the audit file of the configured names anew, after they have been
// renamed. If one can't be opened, the server goes on writing to the renamed one. logrotate sends
// SIGUSR1 for it. What is written in between goes to the renamed file.
func (d *daemon) reopen() {
	c := d.Config.Logging
	if c.File != "" {
		sink, err := c.Target.Open()
		if err == nil {
			d.Logging.Use(sink) // closes the old one
		}
		d.log.reopened("log", err)
	}
	if c.Audit != "" {
		file, err := logging.OpenAudit(c.Audit)
		if err == nil {
			d.audit.Use(file) // closes the old one
		}
		d.log.reopened("audit", err)
	}
}

// reopened says whether a file could be opened anew.
func (l logger) reopened(what string, err error) {
	if err != nil {
		l.errorf("%s: the old one goes on", err)
		return
	}
	l.infof("%s file reopened", what)
}
