package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/config"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natsconn"
)

// How the nats-servers of the bucket are connected to. A push may wait for that.
const (
	// Pushes wait for store.kv.timeout at most, which is longer than one try.
	bucketConnectTimeout = 2 * time.Second
	bucketReconnectWait  = 250 * time.Millisecond
)

// heardSpread is in how much time servers that share a bucket look whether nats-servers have heard
// of a change that another one of them has taken. It is 0 without a bucket: one server alone has
// nothing to spread. Several would ask all nats-servers at the same moment.
func heardSpread(c config.KV) time.Duration {
	if len(c.Servers) == 0 {
		return 0
	}
	return 2 * time.Second
}

// bucketOptions returns what the store of a server with a bucket is made of. dir belongs to the
// store of the bucket from now on, which closes it.
func bucketOptions(dir *jwtstore.Dir, c config.Store, log logger) bucket.Options {
	return bucket.Options{
		Dir:      dir,
		Path:     c.Dir,
		Bucket:   c.KV.Bucket,
		Replicas: c.KV.Replicas,
		History:  c.KV.History,
		Timeout:  c.KV.Timeout,
		Sync: map[config.KVSync]bucket.Sync{
			config.KVSyncRequire: bucket.SyncRequire,
			config.KVSyncWarn:    bucket.SyncWarn,
			config.KVSyncOff:     bucket.SyncOff,
		}[c.KV.Sync],
		Log: log.Logger,
	}
}

// leaveBucket forgets how far a server that has no bucket any more has read it. If it has one
// again, what came meanwhile must not count as older than what the bucket has. With an error the
// store is closed.
func leaveBucket(dir *jwtstore.Dir, path string, log logger) error {
	left, err := bucket.Leave(path)
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	if left {
		log.infof("this server has left its bucket: what is pushed here goes to no other server")
	}
	return nil
}

// sharedBucket is the store, if several servers share it. Without a bucket each method says what
// holds for a server of its own. It is copied freely: all copies have the same store.
type sharedBucket struct {
	store  *bucket.Store // nil: there is no bucket
	config config.KV
	log    logger
}

// startBucket follows the bucket until stop ends it; it does nothing without one. It has a
// connection of its own, with the user of store.kv, which need not be of the system account.
func (d *daemon) startBucket() {
	if d.bucket.store == nil {
		return
	}
	d.follower = d.start(context.Background(), "bucket", func(ctx context.Context) error {
		natsconn.Run(ctx, d.bucket.connection(), func(ctx context.Context, nc *nats.Conn) {
			d.bucket.store.Serve(ctx, nc, d.registry, d.activations)
		})
		return nil
	})
}

// connection returns how the nats-servers of the bucket are connected to.
func (b sharedBucket) connection() natsconn.Options {
	o := natsconn.Options{
		Servers:        b.config.Servers,
		Credentials:    b.config.Credentials,
		HandshakeFirst: b.config.TLS.HandshakeFirst,
		ConnectTimeout: bucketConnectTimeout,
		ReconnectWait:  bucketReconnectWait,
		Log:            b.log.Logger,
		Bucket:         true,
	}
	if b.config.TLS != (config.NATSTLS{}) {
		o.TLS = tlsFiles("store.kv", b.config.TLS).Reload(b.log.Logger)
	}
	return o
}

// await returns when the bucket has been read, or ctx has ended. Until then this server may have
// old JWTs, which nats-servers would take for new ones.
func (b sharedBucket) await(ctx context.Context) {
	select {
	case <-b.store.CaughtUp():
	case <-ctx.Done():
	}
}

// offer brings what was changed by hand in the directory to the other servers. It waits for up to
// store.kv.timeout. An error is logged only.
func (b sharedBucket) offer(key string) {
	if b.store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.config.Timeout)
	defer cancel()
	if err := b.store.Offer(ctx, key); err != nil {
		b.log.warnf("%s - was changed by hand, and could not be put into the bucket: %s; "+
			"the next start tries again", logging.ShortKey(key), err)
	}
}

// trustIsNew lets JWTs of the bucket be taken that no operator of before has signed. A reload calls
// it after the registry has the new operators.
func (b sharedBucket) trustIsNew() {
	if b.store != nil {
		b.store.TrustIsNew()
	}
}

// isIncomplete reports whether this server has no account, and does not know yet what the bucket
// has. Such a server answers 503 for an account that it does not have, instead of 404.
func (b sharedBucket) isIncomplete() bool { return b.store != nil && b.store.IsIncomplete() }

// commitTimeout is how long a push may take before it is stored; 0: no longer than a disk takes.
func (b sharedBucket) commitTimeout() time.Duration {
	if b.store == nil {
		return 0
	}
	return b.config.Timeout
}

// state returns how far this server is with its bucket; false: it has none.
func (b sharedBucket) state() (bucket.State, bool) {
	if b.store == nil {
		return bucket.State{}, false
	}
	return b.store.Progress(), true
}

// revisions returns what reads the history of an account; nil without a bucket. The history is what
// JetStream keeps of each key: store.kv.history.
func (b sharedBucket) revisions() func(context.Context, string) ([]accounts.Revision, error) {
	if b.store == nil {
		return nil
	}
	return b.store.Revisions
}
