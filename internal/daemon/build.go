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
// It changes nothing, so that a reload and -t can call it too. The files of NATS and of the bucket
// are only checked here.
func load(c config.Config) (files, error) {
	// All are loaded, also after an error, so that one run shows every mistake.
	trusted, inTrust := loadTrust(c)
	access, inAccess := loadAccess(c.HTTP)
	_, inNATS := tlsFiles("nats", c.NATS.TLS).Load() // each connection reads them again
	_, inBucket := tlsFiles("store.kv", c.Store.KV.TLS).Load()
	return files{trusted, access}, errors.Join(inTrust, inAccess, inNATS, inBucket)
}

// build makes the parts that live as long as the program. Each gets all that it needs, so there is
// no part that is only half made. If another program writes what is served, folder is where;
// otherwise it is nil. It starts nothing and can't fail. The order follows from who needs whom;
// closures are for the few parts that need each other.
//
// store and audit are open already, and Run closes them. f is what load has read for o.Config.
// After build an early return of Run has only these two to close.
func build(
	o Options, log logger, audit *auditor, metrics *monitor.Metrics, store store,
	folder *dirsync.Folder, f files,
) *daemon {
	// The limiter, the client and the notifier outlive every reload.
	d := &daemon{
		Options: o,
		log:     log,
		audit:   audit,
		logins:  auth.NewLimiter(log.Logger),
		store:   store,
		bucket:  sharedBucket{config: o.Config.Store.KV, log: log},
		client:  resolver.NewClient(log.Logger),
		metrics: metrics,
		systemd: systemd{Systemd: o.Systemd, log: log},
	}
	d.facts = facts.New(facts.Options{
		// The notifier is made below. No question is asked before a task runs.
		Servers: func() []facts.Server { return d.notifier.Present() },
		Observe: func(what facts.Request, result facts.Result, took time.Duration) {
			metrics.Asked(string(what), string(result), took)
		},
	})
	d.notifier = notifier.New(notifier.Options{
		// Servers of one bucket hear a change at the same time. Each waits for another time before
		// it asks whether nats-servers have heard it too.
		HeardSpread: heardSpread(o.Config.Store.KV),
		Outbox:      store.Outbox(),
		Forget:      o.Config.ForgetServer,
		Log:         log.Logger,
		Delivered:   metrics.Delivered,
		Repeated:    metrics.Repeated,
		Facts:       d.facts,
		Index:       store.Index(),
	})
	// The registry may announce the system account when it is made. connect sets it again: this one
	// is only for what happens before.
	d.notifier.SetConfigured(len(o.Config.NATS.Servers) > 0)
	d.client.SetSigning(o.Config.SignSubject, o.Config.SigningTimeout())
	// With a bucket there is no folder: config refuses both together.
	if shared, ok := store.(*bucket.Store); ok {
		// What the bucket has is not known before it was read.
		d.bucket.store = shared
		d.buildRegistries(f.trusted, store, shared)
		return d
	}
	if folder == nil {
		// Without a folder, the store has everything that is served.
		d.buildRegistries(f.trusted, store, nil)
		return d
	}
	// Activation tokens are read from the folder into memory. Accounts for which the store has no
	// room are served from the folder. Nothing is written for a token, since the folder has it. So
	// a start reads all of them again.
	tokens := jwtstore.NewMemory(false)
	d.buildRegistries(f.trusted, tokens, folder)
	d.syncer = dirsync.New(dirsync.Options{
		Folder:      folder,
		Store:       store,
		Accounts:    d.registry,
		Activations: d.activations,
		Tokens:      tokens,
		Log:         log.Logger,
	})
	return d
}

// buildRegistries makes the registries and what answers NATS requests about them. tokens stores
// activation tokens. unsaved has accounts that are not in the store; nil: there are none. It is
// called once by build.
//
// The order follows from who needs whom. Both registries come first, because the resolver and the
// monitor answer from them. The pages come last, because they show what the monitor knows. A reload
// makes none of them anew: SetTrust and SetPrimary change what can change. The metrics stand
// between registry and store, and count what is to be announced.
func (d *daemon) buildRegistries(t trusted, tokens activations.Store, unsaved accounts.Source) {
	c := d.Config.Store
	// The registry of accounts comes first: the other parts need it.
	d.registry = accounts.New(accounts.Options{
		Store:      d.store,
		Committer:  d.metrics.Committer(d.store, d.notifier.IsConfigured),
		Announcer:  d.notifier,
		Observer:   d.audit,
		Unsaved:    unsaved,
		Edited:     d.bucket.offer,
		Peers:      d.client,
		Signer:     d.client,
		Trust:      t.Trust,
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
	d.resolver = resolver.New(resolver.Options{
		Accounts:    d.registry,
		Activations: d.activations,
		Client:      d.client,
		Version:     Version,
		Log:         d.log.Logger,
		ReadOnly:    c.ReadOnly,
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
		ReadOnly:    c.ReadOnly,
		Build:       monitor.Build{Version: Version, Commit: shortCommit(), Date: buildDate()},
		Log:         d.log.Logger,
	})
	d.pages = pages.New(d.monitor, d.facts)
}
