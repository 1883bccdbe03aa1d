package daemon

import (
	"context"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/replica"
)

// primary is the following of one primary server. The zero value is none.
type primary struct {
	*task   // nil until it follows
	replica *replica.Replica
}

// nextPrimary makes a replica of the configured primary. It returns the present one if nothing
// about it changes. The replica that it makes does not run yet: follow starts it. The result is
// compared with d.primary: the same value means that nothing changes.
func (d *daemon) nextPrimary(c config.Config) primary {
	if c.Primary == "" {
		return primary{}
	}
	now := d.Config
	// What the replica was made of decides. A new one would fetch the whole pack again.
	if d.primary.replica != nil && now.Primary == c.Primary && now.MaxPack == c.MaxPack &&
		now.ReplicationTimeout == c.ReplicationTimeout {
		return d.primary
	}
	return primary{replica: replica.New(replica.Options{
		Primary:     c.Primary,
		Timeout:     c.ReplicationTimeout,
		MaxPack:     c.MaxPack,
		Accounts:    d.registry,
		Activations: d.activations,
		Log:         d.log.Logger,
	})}
}

// follow replaces the present primary by next, which c configures. The start and a reload call it.
// If next is zero, the server follows no primary from now on. It can wait for the requests of the
// former replica, which end with its context.
func (d *daemon) follow(next primary, c config.Config) {
	d.setSource(next) // first, so that no request waits for the former primary
	// stop waits, so that two replicas never write at the same time.
	d.primary.stop()
	if next.replica != nil {
		// A limit of zero means that there is no pack to fetch.
		if c.MaxPack != 0 {
			d.log.infof("grabbing initial JWT pack from primary %s", config.RedactURL(c.Primary))
		}
		next.task = d.start(context.Background(), "replica", func(ctx context.Context) error {
			next.replica.Run(ctx)
			return nil
		})
	}
	d.primary = next
}

// setSource lets p be asked for what is not stored. Both registries ask the same primary. A zero p
// takes the primary away from them.
func (d *daemon) setSource(p primary) {
	d.monitored.replica.Store(p.replica)
	var source accounts.Primary // a nil replica in it would not be nil
	if p.replica != nil {
		source = p.replica
	}
	// A request that already asks the former primary gets its answer.
	d.registry.SetPrimary(source)
	d.activations.SetPrimary(source)
}

// logPrimary writes the lines about the primary server, if there is one. The start and a reload
// call it before the replica runs.
func logPrimary(c config.Config, log logger) {
	if c.Primary == "" {
		return
	}
	log.infof("starting in replicated mode, with primary at %s", config.RedactURL(c.Primary))
	if len(c.NATS.Servers) == 0 {
		log.infof("running in replicated mode without NATS notifications " +
			"can result in delayed updates")
	}
}
