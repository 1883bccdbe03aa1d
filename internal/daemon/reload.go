package daemon

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"nats-account-server/internal/config"
)

// hangupDelay is how long a reload waits for further requests, which it answers too. From version
// 253 on, systemd sends SIGHUP itself and runs ExecReload, which older ones need: that is one
// reload.
const hangupDelay = 100 * time.Millisecond

// reload applies the new configuration, or logs why that is not possible and changes nothing. The
// reload is logged either way, because a signal has no other answer. Files that were changed by
// hand are looked for in the background. It runs in Run's goroutine, so no signal is taken
// meanwhile, and systemd gets no sign of life: its time must be longer than a reload.
func (d *daemon) reload() {
	defer d.startReview(true) // its lines come last
	d.systemd.tell(d.systemd.Reloading())
	status := servesStatus
	defer func() { d.systemd.tell(d.systemd.Ready(status)) }()
	// Each step can refuse. The first refusal is what the log has.
	c, err := d.Reload(d.Config)
	if err == nil {
		c, err = d.reloadable(c)
	}
	if err == nil {
		err = d.apply(c)
	}
	d.metrics.Reloaded(err == nil)
	if err != nil {
		status = fmt.Sprintf("the new configuration is refused, the old one goes on: %s", err)
		d.log.errorf("%s", status)
		return
	}
	d.log.infof("configuration reloaded")
}

// reloadable returns what of a configuration can be applied while the server runs: all but the
// store. A changed store section is no error, as other changes may be urgent.
func (d *daemon) reloadable(c config.Config) (config.Config, error) {
	// Parts of the store are in use everywhere, so the section stays as it was at the start.
	if !reflect.DeepEqual(c.Store, d.Config.Store) {
		d.log.errorf("the store section can't change while the server runs: " +
			"the old one goes on, restart to use the new one")
		c.Store = d.Config.Store
	}
	// The check of package config has not seen the store section that goes on.
	if c.Primary != "" && c.Store.ReadOnly {
		return c, errors.New("replica mode cannot be used in read-only mode")
	}
	return c, nil
}

// apply makes the new parts first. If one of them can't be made, nothing has changed. The files are
// read again, also if the configuration is the same: their content may have changed. With an error
// everything is as it was, but for files that were made.
//
// The order: steps that only read come first, then those that open something, and each later
// failure closes what the earlier ones have opened. From commit on nothing can fail. A crash in
// between leaves nothing of a reload but files that were made, since all else is in memory.
func (d *daemon) apply(c config.Config) error {
	f, err := load(c)
	if err != nil {
		return err
	}
	// A connection that goes on does not read its credentials again before it is lost.
	if !d.nats.matches(c.NATS) {
		if _, err := readCreds(c.NATS.Credentials); err != nil {
			return err
		}
	}
	// The files are opened before anything is changed, since that can fail.
	out, err := openOutputs(c, d.Config)
	if err != nil {
		return err
	}
	undo, commit, err := d.reloadMonitorServer(c, f)
	if err != nil {
		out.discard()
		return err
	}
	// The server comes last, because it serves the new configuration as soon as it has it.
	if err := d.server.Reload(d.serverOptions(c, f)); err != nil {
		undo()
		out.discard()
		return err
	}
	commit()
	d.use(out)
	d.swap(c, f)
	return nil
}

// swap puts the new parts in the place of the old ones. It can't fail. d.Config is set last: the
// steps before compare it with c to find what changes. The log and the audit come first, so that
// the lines of the later steps are already as c wants them. The trust comes before the primary and
// NATS, which bring JWTs that are judged by it.
func (d *daemon) swap(c config.Config, f files) {
	d.Logging.SetFormat(c.Logging.Format)
	d.audit.require(c)
	f.trusted.log(c, d.log)
	isTrustNew := !slices.Equal(d.trusted.Operators.Signers(), f.trusted.Operators.Signers())
	d.trusted = f.trusted
	d.registry.SetTrust(f.trusted.Trust)
	if isTrustNew {
		d.bucket.trustIsNew()
	}
	// Files that were refused before may be accepted now.
	if d.syncer != nil {
		d.syncer.Rejudge()
	}
	d.notifier.SetForget(c.ForgetServer)
	d.client.SetSigning(c.SignSubject, c.SigningTimeout())
	// A primary that has not changed is the same value, and its replica goes on.
	if next := d.nextPrimary(c); next != d.primary {
		logPrimary(c, d.log)
		d.follow(next, c)
	}
	// A connection that has the same options goes on.
	if !d.nats.matches(c.NATS) {
		// The old connection ends first, so that two never announce the same change.
		d.nats.stop()
		d.nats = d.connect(c.NATS)
	}
	// The browsers that follow what happens come back, and are asked for credentials as all others.
	d.pages.EndStreams()
	warnAccess(c, f, d.log)
	d.Config = c
}
