package daemon

import (
	"context"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/replica"
)

// follower is a replica at work with one configuration; nil follows nobody.
type follower struct {
	*replica.Replica
	of     leader
	cancel context.CancelFunc
	done   chan struct{}
}

// leader is what a follower goes by.
type leader struct {
	url     string
	timeout time.Duration
	maxPack int
}

// nextFollower makes the replica of the configured primary, or gives the present one if nothing about it changes.
func (d *daemon) nextFollower(c config.Config) *follower {
	of := leader{c.Primary, c.ReplicationTimeout, c.MaxPack}
	switch {
	case of.url == "":
		return nil
	case d.follower != nil && d.follower.of == of:
		return d.follower
	}
	o := replica.Options{Primary: of.url, Timeout: of.timeout, MaxPack: of.maxPack,
		Accounts: d.registry, Activations: d.activations, Log: d.log}
	return &follower{Replica: replica.New(o), of: of, done: make(chan struct{})}
}

// follow lets next, which is another one, follow in the place of the present one.
func (d *daemon) follow(next *follower) {
	d.useSource(next)
	d.follower.stop()
	d.follower = next
	if next == nil {
		return
	}
	if next.of.maxPack != 0 {
		d.say("grabbing initial JWT pack from primary %s", config.Blanked(next.of.url))
	}
	var ctx context.Context
	ctx, next.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(next.done)
		next.Run(ctx)
	}()
}

// useSource has f asked for what is not stored.
func (d *daemon) useSource(f *follower) {
	if f == nil {
		d.registry.SetPrimary(nil)
		d.activations.SetSource(nil)
		return
	}
	d.registry.SetPrimary(f.Replica)
	d.activations.SetSource(f.Replica)
}

// stop returns when nothing is asked of the primary any more.
func (f *follower) stop() {
	if f != nil {
		f.cancel()
		<-f.done
	}
}

// sayPrimary writes the lines about whom this server follows.
func (d *daemon) sayPrimary(c config.Config) {
	if c.Primary == "" {
		return
	}
	d.say("starting in replicated mode, with primary at %s", config.Blanked(c.Primary))
	if len(c.NATS.Servers) == 0 {
		d.say("running in replicated mode without NATS notifications can result in delayed updates")
	}
}
