package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	"nats-account-server/internal/config"
	"nats-account-server/internal/httpapi"
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
	door, err := loadDoor(c.HTTP)
	if err != nil {
		return err
	}
	audit, err := logging.OpenAudit(c.Logging.Audit)
	if err != nil {
		return err
	}
	follower := d.nextFollower(c)
	api := d.newAPI(c, trust, door, follower)
	next, err := d.nextFront(c.HTTP, api, door.secure)
	if err != nil {
		_ = audit.Close() // a nil file says so
		return err
	}
	d.audit.Use(audit)
	next.use(api, door.secure)
	d.swap(c, trust, next, follower)
	d.announceDoor(c, trust, door)
	return nil
}

func (d *daemon) refuse(err error) {
	d.log.Error(fmt.Sprintf("the new configuration is refused, the old one goes on: %s", err))
}

// nextFront gives the front of the new configuration: the old one when nothing about it changes but who may
// come in and with which certificates.
func (d *daemon) nextFront(c config.HTTP, api *httpapi.API, secure *tls.Config) (*front, error) {
	if d.front.fits(c) {
		return d.front, nil
	}
	l, err := listen(c, d.front)
	if errors.Is(err, syscall.EADDRINUSE) && c.Port == d.front.config.Port {
		l, err = d.takeOver(c)
	}
	if err != nil {
		return nil, err
	}
	return newFront(c, l, api, secure, d.warn), nil
}

// takeOver binds an address that only our own old one keeps from being bound: the same port on every interface, say,
// instead of on one. The old one is let go first, and bound again if that was not the cause.
func (d *daemon) takeOver(c config.HTTP) (net.Listener, error) {
	old := d.front
	old.silence()
	l, err := listen(c, nil)
	if err == nil {
		return l, nil
	}
	again, lost := listen(old.config, nil)
	if lost != nil {
		return nil, errors.Join(err, lost)
	}
	d.replaceFront(newFront(old.config, again, old.api.Load(), old.secure.Load(), d.warn))
	return nil, err
}

// replaceFront lets next serve, and the old front finish its requests in flight.
func (d *daemon) replaceFront(next *front) {
	old := d.front
	d.raise(next)
	d.tasks.Go(func() error {
		if err := old.stop(); err != nil {
			d.warn("error closing http server: %s", err)
		}
		return nil
	})
}

// swap makes the new configuration the one that counts. From here nothing can fail.
func (d *daemon) swap(c config.Config, trust anchors, next *front, follower *follower) {
	d.Logging.SetFormat(LogFormat(c.Logging))
	trust.announce(c, d.say, d.warn)
	d.registry.SetTrust(trust.Trust)
	if d.mirror != nil {
		d.mirror.Again()
	}
	d.notifier.SetForget(c.ForgetServer)
	d.useSigning(c)
	if follower != d.follower {
		d.sayPrimary(c)
		d.follow(follower)
	}
	if next != d.front {
		d.replaceFront(next)
	}
	if !d.link.fits(c.NATS) {
		d.link.stop()
		d.link = d.startLink(c.NATS)
	}
	d.Config = c
}
