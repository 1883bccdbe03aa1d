// Package daemon wires the rooms together, starts them, stops them in order, and reloads the configuration.
//
//	config ──> anchors (operator, system account)
//	store <── registry (the gate) <── HTTP
//	  └─ outbox ──> notifier ──> NATS link
//
// It is the only package that sees every other one, and it has no rule of its own.
package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/resolver"
	"nats-account-server/internal/trust"
)

// Version is what the first line of the log and --version say.
const Version = "2.0.0"

// settleTime is what the outbox gets at a stop, enough for a nats-server that skipped an update to be told again.
const settleTime = 3500 * time.Millisecond

// Options is what a daemon starts from.
type Options struct {
	Config  config.Config
	Logging *logging.Handler
	Ready   func() // called once everything is up; may be nil
	Dump    bool   // log the configuration once everything is up
	// Hangup asks for a reload each time it gives a signal.
	Hangup <-chan os.Signal
	// Reopen asks each time it gives a signal to open the audit file anew: it was renamed. May be nil.
	Reopen <-chan os.Signal
	// Reload gives the configuration of a reload, read anew.
	Reload func() (config.Config, error)
}

// store is what the rooms need of either kind of store.
type store interface {
	accounts.Store
	accounts.Committer
	Outbox() *jwtstore.Outbox
	Close() error
}

// daemon is one running account server.
type daemon struct {
	Options
	log         *slog.Logger
	audit       *logging.Audit
	store       store
	logins      *auth.Limiter
	registry    *accounts.Registry
	activations *activations.Registry
	notifier    *notifier.Notifier
	client      *resolver.Client
	resolver    *resolver.Server
	follower    *follower       // nil unless we follow another server
	syncer      *dirsync.Syncer // nil unless another program writes what is served
	http        *task
	server      *httpserver.Server
	link        *link
	tasks       *errgroup.Group
}

// Run starts an account server and returns when ctx ends and everything is stopped and written, or with what kept
// it from running.
func Run(ctx context.Context, o Options) error {
	log := slog.New(o.Logging)
	d := &daemon{Options: o, log: log, logins: auth.NewLimiter(log)}
	d.say("starting NATS Account server, version %s", Version)
	d.say("server time is %s", time.Now().Format(time.UnixDate))
	if o.Config.File != "" {
		d.say("loading configuration from %q", o.Config.File)
	}
	d.sayPrimary(o.Config)
	folder, err := openFolder(o.Config.Store)
	if err != nil {
		return err
	}
	trust, err := loadAnchors(o.Config)
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
	if err := d.startAudit(); err != nil {
		return err
	}
	defer d.audit.Use(nil)
	trust.announce(o.Config, d.say, d.warn)
	d.warnAccess(o.Config, trust, access)
	if d.store, err = d.openStore(ctx, o.Config); err != nil {
		if ctx.Err() != nil {
			return nil // a signal came while we waited for the directory
		}
		return err
	}
	defer d.closeStore()
	if d.furnish(ctx, trust, folder); ctx.Err() != nil {
		return nil // a signal came while we read the folder
	}
	return d.live(ctx, trust, access)
}

// furnish makes what serves the store, and fills that from the folder if another program writes it.
func (d *daemon) furnish(ctx context.Context, trust anchors, folder *dirsync.Folder) {
	if folder == nil {
		d.wire(trust, d.store, nil)
		return
	}
	tokens, unsaved := activations.NewMemory(), new(dirsync.Unsaved)
	d.wire(trust, tokens, unsaved)
	d.syncer = dirsync.New(dirsync.Options{
		Folder:      folder,
		Store:       d.store,
		Accounts:    d.registry,
		Activations: d.activations,
		Tokens:      tokens,
		Unsaved:     unsaved,
		Log:         d.log,
	})
	d.syncer.Fill(ctx)
}

func (d *daemon) say(format string, args ...any)  { d.log.Info(fmt.Sprintf(format, args...)) }
func (d *daemon) warn(format string, args ...any) { d.log.Warn(fmt.Sprintf(format, args...)) }

func (d *daemon) openStore(ctx context.Context, c config.Config) (store, error) {
	announce := len(c.NATS.Servers) > 0
	if c.Store.ReadOnly {
		return d.openMirrored(ctx, c.Store, announce)
	}
	if c.Store.Dir == "" {
		d.say("creating an in-memory store")
		d.warn("the in-memory store forgets every JWT when this server stops: set store.dir to keep them")
		if jwtsHere() {
			d.warn(`there are account JWTs in the working directory, where version 1 kept them: set store { dir: "." } to serve them`)
		}
		return jwtstore.NewMemory(announce), nil
	}
	d.say("creating a store at %s", c.Store.Dir)
	return jwtstore.OpenDir(ctx, jwtstore.Options{
		Dir:      c.Store.Dir,
		Shard:    c.Store.Shard,
		Announce: announce,
		Warn:     d.warn,
	})
}

// jwtsHere says whether the working directory is a store of accounts.
func jwtsHere() bool {
	for _, pattern := range []string{"A*.jwt", "??/A*.jwt"} {
		names, _ := filepath.Glob(pattern) // the patterns are good
		for _, name := range names {
			if key, _ := strings.CutSuffix(filepath.Base(name), ".jwt"); trust.IsAccountKey(key) {
				return true
			}
		}
	}
	return false
}

// openMirrored opens the store behind a read-only configuration: it holds what of the folder can be served.
func (d *daemon) openMirrored(ctx context.Context, c config.Store, announce bool) (store, error) {
	switch {
	case c.NSC != "":
		d.say("creating a read-only store for the NSC folder at %s", c.NSC)
	case c.Dir != "":
		d.say("creating a read-only store at %s", c.Dir)
	default:
		d.say("creating a read-only, empty, in-memory store")
	}
	if c.StateDir == "" {
		return jwtstore.NewMemory(announce), nil
	}
	return jwtstore.OpenDir(ctx, jwtstore.Options{Dir: c.StateDir, Shard: true, Announce: announce, Warn: d.warn})
}

func (d *daemon) closeStore() {
	if err := d.store.Close(); err != nil {
		d.log.Error(fmt.Sprintf("error closing JWT store: %s", err))
		return
	}
	d.say("closed JWT store")
}

// wire makes the gate, which announces through the notifier. tokens is where activation tokens are kept.
func (d *daemon) wire(trust anchors, tokens activations.Store, unsaved accounts.Source) {
	d.notifier = notifier.New(notifier.Options{
		Outbox: d.store.Outbox(),
		Forget: d.Config.ForgetServer,
		Log:    d.log,
	})
	d.client = resolver.NewClient(d.log)
	d.registry = accounts.New(accounts.Options{
		Store:      d.store,
		Committer:  d.store,
		Announcer:  d.notifier,
		Observer:   auditor{d.audit},
		Unsaved:    unsaved,
		Peers:      d.client,
		Signer:     d.client,
		Trust:      trust.Trust,
		AllowOlder: d.Config.Store.AllowOlder,
		ReadOnly:   d.Config.Store.ReadOnly,
		Log:        d.log,
	})
	d.activations = activations.New(activations.Options{
		Accounts:   d.registry,
		Store:      tokens,
		Connection: d.notifier,
		Publisher:  d.client,
		Observer:   auditor{d.audit},
		AllowOlder: d.Config.Store.AllowOlder,
		ReadOnly:   d.Config.Store.ReadOnly,
		Log:        d.log,
	})
	d.resolver = resolver.New(resolver.Options{
		Accounts:    d.registry,
		Activations: d.activations,
		Client:      d.client,
		Version:     Version,
		Log:         d.log,
		AllowDelete: d.Config.Store.AllowDelete,
		ReadOnly:    d.Config.Store.ReadOnly,
	})
	d.useSigning(d.Config)
}

// useSigning leaves HTTP time to say that the signing service took too long.
func (d *daemon) useSigning(c config.Config) {
	d.client.SetSigning(c.SignSubject, min(c.SignTimeout, c.HTTP.WriteTimeout*9/10))
}

// live serves until ctx ends or a task fails.
func (d *daemon) live(ctx context.Context, trust anchors, a access) error {
	follower := d.nextFollower(d.Config)
	d.useSource(follower)
	var err error
	if d.server, err = httpserver.New(d.serverOptions(d.Config, trust, a, follower)); err != nil {
		return err
	}
	var failed context.Context
	d.tasks, failed = errgroup.WithContext(ctx)
	d.http = d.start(d.server.Run)
	d.link = d.startLink(d.Config.NATS)
	if every := d.Config.Store.CleanupInterval; every > 0 {
		d.tasks.Go(func() error { return d.cleanUp(failed, every) })
	}
	if d.syncer != nil {
		d.tasks.Go(func() error { return d.syncer.Run(failed) })
	}
	d.say("nats-account-server is running")
	d.sayResolvers(trust)
	d.follow(follower)
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
			d.reopen()
		}
	}
}

// sayResolvers says how a nats-server is to be configured, in either of two ways.
func (d *daemon) sayResolvers(trust anchors) {
	d.say("configure the nats-server with:")
	d.say("  resolver: URL(%s)", resolverURL(d.server, d.Config.HTTP))
	if len(d.Config.NATS.Servers) == 0 {
		return
	}
	system := trust.systemKey()
	d.say("it keeps no accounts then, and does not start while this server is away; one that keeps them all starts in any order and goes on alone:")
	d.say("  system_account: %s", system)
	d.say(`  resolver { type: full, dir: "jwt", allow_delete: false, interval: "2s" }`)
	d.say("  resolver_preload { %s: <JWT> }", system)
}

// resolverURL is what a nats-server's resolver is configured with.
func resolverURL(s *httpserver.Server, c config.HTTP) string {
	scheme, port := s.Address()
	host := cmp.Or(c.Host, "127.0.0.1")
	login := ""
	if c.Read != nil {
		login = "<user>:<password>@"
	}
	return scheme + "://" + login + net.JoinHostPort(host, strconv.Itoa(port)) + "/jwt/v1/accounts/"
}

// cleanUp takes out expired JWTs until ctx ends.
func (d *daemon) cleanUp(ctx context.Context, every time.Duration) error {
	said := ""
	for ctx.Err() == nil {
		if err := d.registry.Expire(ctx); err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			d.warn("expired JWTs can't be deleted: %s", said)
		}
		pause(ctx, every)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// stop ends in the order in which nothing is lost: no new requests, those in flight answered, what they changed
// announced, NATS closed. The store is closed by Run.
func (d *daemon) stop() {
	d.say("stopping account server")
	d.say("stopping http server")
	d.http.stop()
	d.say("http server stopped")
	d.follower.stop()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	d.notifier.Drain(ctx)
	d.link.stop()
	d.say("http stopped")
}
