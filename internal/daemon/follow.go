package daemon

import (
	"context"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/config"
	"nats-account-server/internal/replica"
)

// following is the gate as HTTP sees it while we follow a primary: what is not stored here is asked for there.
type following struct {
	*accounts.Registry
	replica *replica.Replica
}

// Find implements httpapi.Gate.
func (f following) Find(ctx context.Context, key string) (*accounts.Account, error) {
	return f.replica.Find(ctx, key)
}

// Raw implements httpapi.Gate.
func (f following) Raw(ctx context.Context, key string) ([]byte, error) {
	if _, err := f.replica.Find(ctx, key); err != nil && accounts.Absent(err) {
		return nil, err
	}
	return f.Registry.Raw(ctx, key)
}

// LookupActivation implements httpapi.Gate.
func (f following) LookupActivation(ctx context.Context, hash string) (*accounts.Activation, error) {
	return f.replica.LookupActivation(ctx, hash)
}

// follow makes the replica of the configured primary; nil if there is none.
func (d *daemon) follow() *replica.Replica {
	c := d.Config
	if c.Primary == "" {
		return nil
	}
	d.say("starting in replicated mode, with primary at %s", config.Blanked(c.Primary))
	if len(c.NATS.Servers) == 0 {
		d.say("running in replicated mode without NATS notifications can result in delayed updates")
	}
	return replica.New(replica.Options{Primary: c.Primary, Timeout: c.ReplicationTimeout, MaxPack: c.MaxPack, Gate: d.registry, Log: d.log})
}
