package daemon

import (
	"errors"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/pages"
	"nats-account-server/internal/resolver"
)

// files is what is read and checked of the files that a configuration names. A reload reads them
// anew. It is a value: what is in it is not changed, and a reload replaces all of it.
type files struct {
	// The operators and the system account.
	trusted trusted
	// TLS and the logins of HTTP.
	access access
}

// load reads the files of a configuration. Its error has a line for each kind that can't be used.
// It changes nothing. The files of NATS and of the bucket are only checked here.
func load(c config.Config) (files, error) {
	// All are loaded, also after an error, so that one run shows every mistake.
	trusted, inTrust := loadTrust(c)
	access, inAccess := loadAccess(c.HTTP)
	_, inNATS := tlsFiles("nats", c.NATS.TLS).Load() // each connection reads them again
	_, inBucket := tlsFiles("store.kv", c.Store.KV.TLS).Load()
	return files{trusted, access}, errors.Join(inTrust, inAccess, inNATS, inBucket)
}

// loadForStart is load for a start and for -t. A server that runs needs less: it has a store.
func loadForStart(c config.Config) (files, error) {
	f, err := load(c)
	if err != nil {
		return f, err
	}
	return f, f.trusted.startable(c)
}

// opened is what a start has read and opened before it makes the parts.
type opened struct {
	files   files           // of the configuration
	folder  *dirsync.Folder // nil unless another program writes what is served
	metrics *monitor.Metrics
	audit   *auditor // Run closes it, and the store
	store   store
}

// build makes the parts that live as long as the program. Each gets all that it needs, so there is
// no part that is only half made. It starts nothing and can't fail. The order follows from which
// part needs which. What comes later, or is replaced, the monitor reads from monitored.
func build(o Options, log logger, in opened) *daemon {
	d := &daemon{
		Options: o,
		log:     log,
		audit:   in.audit,
		logins:  auth.NewLimiter(log.Logger),
		store:   in.store,
		bucket:  sharedBucket{config: o.Config.Store.KV, log: log},
		client:  resolver.NewClient(log.Logger),
		metrics: in.metrics,
		systemd: systemd{Systemd: o.Systemd, log: log},
	}
	d.client.SetSigning(o.Config.SignSubject, o.Config.SigningTimeout())
	d.buildNotifier()
	// The store has everything that is served, with two exceptions. config refuses both together.
	tokens, unsaved := activations.Store(in.store), accounts.Source(nil)
	inFolder := jwtstore.NewMemory(false) // tokens that are in the folder
	switch shared, isShared := in.store.(*bucket.Store); {
	case isShared:
		// What the bucket has is not known before it was read.
		d.bucket.store, unsaved = shared, shared
	case in.folder != nil:
		// Activation tokens are read from the folder into memory, by each start. Accounts for which
		// the store has no room are served from the folder.
		tokens, unsaved = inFolder, in.folder
	}
	d.buildRegistries(in.files.trusted.Trust, tokens, unsaved)
	if in.folder != nil {
		d.syncer = dirsync.New(dirsync.Options{
			Folder:      in.folder,
			Store:       in.store,
			Accounts:    d.registry,
			Activations: d.activations,
			Tokens:      inFolder,
			Log:         log.Logger,
		})
	}
	d.buildViews()
	return d
}

// buildNotifier makes what announces changes and asks nats-servers.
func (d *daemon) buildNotifier() {
	d.notifier = notifier.New(notifier.Options{
		// Servers of one bucket hear a change at the same time. Each waits for another time before
		// it asks whether nats-servers have heard it too.
		HeardSpread: heardSpread(d.Config.Store.KV),
		Outbox:      d.store.Outbox(),
		Forget:      d.Config.ForgetServer,
		Log:         d.log.Logger,
		Delivered:   d.metrics.Delivered,
		Repeated:    d.metrics.Repeated,
		Index:       d.store.Index(),
		// The registry may announce the system account when it is made.
		Configured: len(d.Config.NATS.Servers) > 0,
	})
	d.facts = facts.New(facts.Options{
		Servers: d.notifier.Present,
		Observe: func(what facts.Request, result facts.Result, took time.Duration) {
			d.metrics.Asked(string(what), string(result), took)
		},
	})
}

// buildRegistries makes the registries. tokens stores activation tokens. unsaved has accounts that
// are not in the store; nil: there are none. A reload makes neither anew: SetTrust and SetPrimary
// change what can change.
func (d *daemon) buildRegistries(
	t accounts.Trust, tokens activations.Store, unsaved accounts.Source,
) {
	c := d.Config.Store
	d.registry = accounts.New(accounts.Options{
		Store: d.store,
		// The metrics stand between registry and store, and count what is to be announced.
		Committer:  d.metrics.Committer(d.store, d.notifier.IsConfigured),
		Announcer:  d.notifier,
		Observer:   d.audit,
		Unsaved:    unsaved,
		Edited:     d.bucket.offer,
		Peers:      d.client,
		Signer:     d.client,
		Trust:      t,
		CacheBytes: c.CacheSize,
		AllowOlder: c.AllowOlder,
		ReadOnly:   c.ReadOnly,
		Log:        d.log.Logger,

		AllowDelete: c.AllowDelete,
	})
	// Both registries report to the same audit.
	d.activations = activations.New(activations.Options{
		Accounts:   d.registry,
		Store:      tokens,
		Connection: d.notifier,
		Publisher:  d.client,
		Observer:   d.audit,
		AllowOlder: c.AllowOlder,
		ReadOnly:   c.ReadOnly,
		Log:        d.log.Logger,
	})
}

// buildViews makes what answers from the registries: over NATS, to monitoring and to people.
func (d *daemon) buildViews() {
	isReadOnly := d.Config.Store.ReadOnly
	d.resolver = resolver.New(resolver.Options{
		Accounts:    d.registry,
		Activations: d.activations,
		Client:      d.client,
		Version:     Version,
		Log:         d.log.Logger,
		ReadOnly:    isReadOnly,
		LookedUp:    d.metrics.LookedUp,
	})
	d.monitor = monitor.New(monitor.Options{
		Metrics:     d.metrics,
		Accounts:    d.registry,
		Store:       d.monitoredStore(),
		Index:       d.store.Index(),
		Outbox:      d.store.Outbox(),
		Notifier:    d.notifier,
		Replica:     d.monitored.replicaState,
		Bucket:      d.bucket.state,
		Connections: d.monitored.connections,
		ReadOnly:    isReadOnly,
		Build:       Build(),
		Log:         d.log.Logger,
	})
	d.pages = pages.New(d.monitor, d.facts)
}
