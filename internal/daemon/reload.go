package daemon

import (
	"errors"
	"fmt"

	"nats-account-server/internal/config"
	"nats-account-server/internal/logging"
)

// reload builds what the new configuration asks for and swaps it in, or logs why it can't and changes nothing.
func (d *daemon) reload() {
	c, err := d.Reload()
	if err != nil {
		d.refuse(err)
		return
	}
	if c.Store != d.Config.Store {
		d.log.Error("the store section can't change while the server runs: the old one goes on, restart to use the new one")
		c.Store = d.Config.Store
	}
	if c.Primary != "" && c.Store.ReadOnly {
		d.refuse(errors.New("replica mode cannot be used in read-only mode"))
		return
	}
	if err := d.renew(c); err != nil {
		d.refuse(err)
		return
	}
	d.say("configuration reloaded")
}

// renew makes the new parts first, so that nothing has changed when one of them can't be made.
func (d *daemon) renew(c config.Config) error {
	trust, err := loadAnchors(c)
	if err != nil {
		return err
	}
	if !d.link.fits(c.NATS) {
		if err := checkNATS(c.NATS); err != nil {
			return err
		}
	}
	access, err := loadAccess(c.HTTP)
	if err != nil {
		return err
	}
	audit, err := logging.OpenAudit(c.Logging.Audit)
	if err != nil {
		return err
	}
	follower := d.nextFollower(c)
	if err := d.server.Reload(d.serverOptions(c, trust, access, follower)); err != nil {
		_ = audit.Close() // a nil file says so
		return err
	}
	d.audit.Use(audit)
	d.swap(c, trust, follower)
	d.warnAccess(c, trust, access)
	return nil
}

func (d *daemon) refuse(err error) {
	d.log.Error(fmt.Sprintf("the new configuration is refused, the old one goes on: %s", err))
}

// swap makes the new configuration the one that counts. From here nothing can fail.
func (d *daemon) swap(c config.Config, trust anchors, follower *follower) {
	d.Logging.SetFormat(LogFormat(c.Logging))
	trust.announce(c, d.say, d.warn)
	d.registry.SetTrust(trust.Trust)
	if d.syncer != nil {
		d.syncer.Rejudge()
	}
	d.notifier.SetForget(c.ForgetServer)
	d.useSigning(c)
	if follower != d.follower {
		d.sayPrimary(c)
		d.follow(follower)
	}
	if !d.link.fits(c.NATS) {
		d.link.stop()
		d.link = d.startLink(c.NATS)
	}
	d.Config = c
}
