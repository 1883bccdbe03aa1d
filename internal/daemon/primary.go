package daemon

import (
	"context"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/replica"
)

// primary is a replica of one primary server.
type primary struct {
	*replica.Replica
	*task   // nil until it follows
	options primaryOptions
}

// primaryOptions is the part of the configuration that a replica is made from.
type primaryOptions struct {
	url     string
	timeout time.Duration
	maxPack int
}

// nextPrimary makes a replica of the configured primary. It returns the present one if nothing
// about it changes, and nil if no primary is configured.
func (d *daemon) nextPrimary(c config.Config) *primary {
	o := primaryOptions{c.Primary, c.ReplicationTimeout, c.MaxPack}
	switch {
	case o.url == "":
		return nil
	case d.primary != nil && d.primary.options == o:
		return d.primary
	}
	return &primary{options: o, Replica: replica.New(replica.Options{
		Primary:     o.url,
		Timeout:     o.timeout,
		MaxPack:     o.maxPack,
		Accounts:    d.registry,
		Activations: d.activations,
		Log:         d.log.Logger,
	})}
}

// follow replaces the present primary by next, which may be nil.
func (d *daemon) follow(next *primary) {
	// First, so that no request waits for the former primary.
	d.setSource(next)
	d.primary.stop()
	d.primary = next
	if next == nil {
		return
	}
	if next.options.maxPack != 0 {
		d.log.infof("grabbing initial JWT pack from primary %s", config.RedactURL(next.options.url))
	}
	next.task = d.start(context.Background(), "replica", func(ctx context.Context) error {
		next.Run(ctx)
		return nil
	})
}

// setSource lets p be asked for what is not stored.
func (d *daemon) setSource(p *primary) {
	if p == nil {
		d.registry.SetPrimary(nil)
		d.activations.SetPrimary(nil)
		return
	}
	d.registry.SetPrimary(p.Replica)
	d.activations.SetPrimary(p.Replica)
}

// stop returns when the primary is asked nothing more. A nil primary is none.
func (p *primary) stop() {
	if p != nil {
		p.task.stop()
	}
}

// logPrimary writes the lines about the primary server, if there is one.
func logPrimary(c config.Config, log logger) {
	if c.Primary == "" {
		return
	}
	log.infof("starting in replicated mode, with primary at %s", config.RedactURL(c.Primary))
	if len(c.NATS.Servers) == 0 {
		log.infof("running in replicated mode without NATS notifications can result in delayed updates")
	}
}
