// Package daemon wires the parts together, starts and stops them in order, and reloads the
// configuration.
//
//	config ──> trust (operator, system account) ──> registry <── HTTP, NATS, primary, watched directory
//	                                                  │
//	                                        store ────┴──> outbox ──> notifier ──> NATS
//
// It is the only package that imports all the others. It has no rule and no mechanism of its own.
package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/resolver"
)

// Version is what the first line of the log and --version say.
const Version = "2.0.0"

// drainTimeout is how long the outbox may take at a stop. It is enough for a nats-server that
// skipped an update to be told again.
const drainTimeout = 3500 * time.Millisecond

// Options is what a daemon starts with.
type Options struct {
	Config  config.Config
	Logging *logging.Handler
	Ready   func() // is called once everything runs; may be nil
	Dump    bool   // log the configuration once everything runs

	Hangup <-chan os.Signal              // each value asks for a reload
	Reopen <-chan os.Signal              // each value says that the audit file was renamed; may be nil
	Reload func() (config.Config, error) // reads the configuration anew
}

// daemon is one account server. After build, only run changes it.
type daemon struct {
	Options // Config is the one that is in force
	log     logger
	audit   *logging.Audit
	logins  *auth.Limiter
	store   store

	registry    *accounts.Registry
	activations *activations.Registry
	notifier    *notifier.Notifier
	client      *resolver.Client
	resolver    *resolver.Server
	syncer      *dirsync.Syncer // nil unless another program writes what is served

	tasks   *errgroup.Group
	server  *httpserver.Server
	http    *task
	nats    *connection // nil if NATS is not configured
	primary *primary    // nil if there is none
}

// Run runs an account server. It returns nil when ctx has ended and everything is stopped and
// written, otherwise what keeps the server from running.
func Run(ctx context.Context, o Options) error {
	log := logger{slog.New(o.Logging)}
	log.infof("starting NATS Account server, version %s", Version)
	log.infof("server time is %s", time.Now().Format(time.UnixDate))
	if o.Config.File != "" {
		log.infof("loading configuration from %q", o.Config.File)
	}
	logPrimary(o.Config, log)
	folder, err := openFolder(o.Config.Store)
	if err != nil {
		return err
	}
	trust, err := loadTrust(o.Config)
	if err != nil {
		return err
	}
	access, err := loadAccess(o.Config.HTTP)
	if err != nil {
		return err
	}
	if _, err := loadNATSTLS(o.Config.NATS.TLS); err != nil {
		return err
	}
	file, err := logging.OpenAudit(o.Config.Logging.Audit)
	if err != nil {
		return err
	}
	audit := logging.NewAudit(log.Logger, file)
	defer audit.Use(nil)
	trust.log(o.Config, log)
	warnAccess(o.Config, trust, access, log)
	store, err := openStore(ctx, o.Config, log)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // a signal came during the wait for the directory
	case err != nil:
		return err
	}
	defer closeStore(store, log)
	d := build(o, log, audit, store, trust, folder)
	if d.syncer != nil {
		d.syncer.Fill(ctx)
	}
	if ctx.Err() != nil {
		return nil // a signal came while the folder was read
	}
	return d.run(ctx, trust, access)
}

// build makes the parts that live as long as the program. folder is nil unless another program
// writes what is served.
func build(o Options, log logger, audit *logging.Audit, store store, trust trusted,
	folder *dirsync.Folder) *daemon {
	d := &daemon{Options: o, log: log, audit: audit, logins: auth.NewLimiter(log.Logger), store: store}
	var tokens activations.Store = store
	var fromFolder accounts.Source
	memory, unsaved := activations.NewMemory(), new(dirsync.Unsaved)
	if folder != nil {
		tokens, fromFolder = memory, unsaved
	}
	d.notifier = notifier.New(notifier.Options{Outbox: store.Outbox(), Forget: o.Config.ForgetServer,
		Log: log.Logger})
	d.client = resolver.NewClient(log.Logger)
	d.registry = accounts.New(accounts.Options{
		Store:      store,
		Committer:  store,
		Announcer:  d.notifier,
		Observer:   auditor{audit},
		Unsaved:    fromFolder,
		Peers:      d.client,
		Signer:     d.client,
		Trust:      trust.Trust,
		AllowOlder: o.Config.Store.AllowOlder,
		ReadOnly:   o.Config.Store.ReadOnly,
		Log:        log.Logger,
	})
	d.activations = activations.New(activations.Options{
		Accounts:   d.registry,
		Store:      tokens,
		Connection: d.notifier,
		Publisher:  d.client,
		Observer:   auditor{audit},
		AllowOlder: o.Config.Store.AllowOlder,
		ReadOnly:   o.Config.Store.ReadOnly,
		Log:        log.Logger,
	})
	d.resolver = resolver.New(resolver.Options{
		Accounts:    d.registry,
		Activations: d.activations,
		Client:      d.client,
		Version:     Version,
		Log:         log.Logger,
		AllowDelete: o.Config.Store.AllowDelete,
		ReadOnly:    o.Config.Store.ReadOnly,
	})
	d.setSigning(o.Config)
	if folder != nil {
		d.syncer = dirsync.New(dirsync.Options{
			Folder:      folder,
			Store:       store,
			Accounts:    d.registry,
			Activations: d.activations,
			Tokens:      memory,
			Unsaved:     unsaved,
			Log:         log.Logger,
		})
	}
	return d
}

// setSigning leaves HTTP enough time to answer that the signing service took too long.
func (d *daemon) setSigning(c config.Config) {
	d.client.SetSigning(c.SignSubject, min(c.SignTimeout, c.HTTP.WriteTimeout*9/10))
}

// run serves until ctx ends or a task fails.
func (d *daemon) run(ctx context.Context, trust trusted, access access) error {
	primary := d.nextPrimary(d.Config)
	d.setSource(primary)
	var err error
	if d.server, err = httpserver.New(d.serverOptions(d.Config, trust, access, primary)); err != nil {
		return err
	}
	var failed context.Context
	d.tasks, failed = errgroup.WithContext(ctx)
	// stop ends HTTP, NATS and the primary one after the other. The others end at once.
	d.http = d.start(context.Background(), "http", d.server.Run)
	d.nats = d.connect(d.Config.NATS)
	if interval := d.Config.Store.CleanupInterval; interval > 0 {
		d.start(failed, "cleanup", func(ctx context.Context) error {
			d.cleanUp(ctx, interval)
			return nil
		})
	}
	if d.syncer != nil {
		d.start(failed, "directory", d.syncer.Run)
	}
	d.log.infof("nats-account-server is running")
	d.logResolvers(trust)
	d.follow(primary)
	if d.Ready != nil {
		d.Ready()
	}
	if d.Dump {
		d.log.Info("", "configuration", logging.Lines(d.Config.Dump()))
	}
	for {
		select {
		case <-failed.Done():
			d.stop()
			return d.tasks.Wait()
		case <-d.Hangup:
			d.reload()
		case <-d.Reopen:
			d.reopenAudit()
		}
	}
}

// stop ends the tasks in the order in which nothing is lost: no new requests, those in flight
// answered, what they changed announced, NATS closed. Run closes the store.
func (d *daemon) stop() {
	d.log.infof("stopping account server")
	d.log.infof("stopping http server")
	d.http.stop()
	d.log.infof("http server stopped")
	d.primary.stop()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	d.notifier.Drain(ctx)
	d.nats.stop()
	d.log.infof("http stopped")
}

// logResolvers says how a nats-server is to be configured, in either of two ways.
func (d *daemon) logResolvers(trust trusted) {
	d.log.infof("configure the nats-server with:")
	d.log.infof("  resolver: URL(%s)", d.resolverURL())
	if len(d.Config.NATS.Servers) == 0 {
		return
	}
	system := trust.systemKey()
	d.log.infof("it keeps no accounts then, and does not start while this server is away; " +
		"one that keeps them all starts in any order and goes on alone:")
	d.log.infof("  system_account: %s", system)
	d.log.infof(`  resolver { type: full, dir: "jwt", allow_delete: false, interval: "2s" }`)
	d.log.infof("  resolver_preload { %s: <JWT> }", system)
}

// resolverURL is what the resolver of a nats-server is configured with.
func (d *daemon) resolverURL() string {
	scheme, port := d.server.Address()
	host, login := d.Config.HTTP.Host, ""
	if host == "" {
		host = "127.0.0.1"
	}
	if d.Config.HTTP.Read != nil {
		login = "<user>:<password>@"
	}
	return fmt.Sprintf("%s://%s%s/jwt/v1/accounts/", scheme, login,
		net.JoinHostPort(host, strconv.Itoa(port)))
}

// cleanUp deletes expired JWTs at an interval until ctx ends. The same error is logged once.
func (d *daemon) cleanUp(ctx context.Context, interval time.Duration) {
	logged := ""
	for ok := true; ok; ok = pause.For(ctx, interval) {
		if err := d.registry.Expire(ctx); err != nil && ctx.Err() == nil && err.Error() != logged {
			logged = err.Error()
			d.log.warnf("expired JWTs can't be deleted: %s", logged)
		}
	}
}
