// Package daemon wires the parts together, starts and stops them in order, and reloads the
// configuration.
//
//	config ──> operators, system account ──> registry <── HTTP, NATS, primary, watched directory
//	                                           │
//	                                 store ────┴──> outbox ──> notifier ──> NATS
//
// It is the only package that imports all the others. It has no rule and no mechanism of its own.
//
// # Files
//
// To be read in this order:
//
//	daemon.go     Run: the order of the start and of the stop
//	build.go      which part gets what
//	reload.go     a reload: what is made first, and what is swapped then
//	task.go       what runs until it is stopped
//	store.go      the store; bucket.go, that of several servers
//	trust.go      the operators and the system account, from files
//	access.go     HTTP: TLS, logins, routes; monitor.go, the monitor's own address
//	nats.go       the connection to NATS; creds.go, what is wrong with its user
//	primary.go    following a primary
//	audit.go      events of the registries to lines of the audit log
//	outputs.go    the log, the audit file and the pid file, when they change; log.go, lines
//	system.go     limits and systemd
//	check.go      -t
//	resolvers.go  how a nats-server is configured, in the log
//	version.go    what was built
//
// # Concurrency
//
// Run's goroutine starts, reloads and stops. Everything else is a task, which gets what it needs
// when it is made.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/auth"
	"nats-account-server/internal/config"
	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/facts"
	"nats-account-server/internal/httpserver"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/pages"
	"nats-account-server/internal/process"
	"nats-account-server/internal/resolver"
)

// drainTimeout is how long answers of nats-servers are waited for at a stop. A nats-server that
// answers later gets the change again after the next start.
const drainTimeout = 500 * time.Millisecond

// Options is what a daemon starts with. Config, Logging and Ready must be set, and Reload if Hangup is.
type Options struct {
	Config config.Config
	// Logging is where all lines go. It has the format and the target of Config. A reload changes
	// both.
	Logging *logging.Handler
	// Ready is called once everything runs.
	Ready func()
	// Dump logs the configuration once everything runs.
	Dump bool

	// Hangup asks for a reload with each value. With nil there is no reload.
	Hangup <-chan os.Signal
	// Reload reads the configuration anew, for a server that runs with another one. It is called
	// for each value of Hangup, and its error leaves the old configuration in force.
	Reload func(running config.Config) (config.Config, error)
	// Reopen says with each value that the log file or the audit file was renamed. It may be nil.
	Reopen <-chan os.Signal
	// Systemd is told when the daemon is ready, reloads, stops and lives. It may be nil.
	Systemd *process.Systemd
}

// daemon is one account server. After build, only run changes it. Its methods are called by Run's
// goroutine only, but for those of the parts.
type daemon struct {
	Options // Config is the one that is in force
	log     logger
	audit   *auditor      // its file changes with a reload
	logins  *auth.Limiter // one for all policies, so that a reload forgets no failed login
	store   store
	bucket  sharedBucket
	systemd systemd

	// The parts below live as long as the program. What a reload changes in them has a setter.
	registry    *accounts.Registry
	activations *activations.Registry
	notifier    *notifier.Notifier
	facts       *facts.Asker
	client      *resolver.Client
	resolver    *resolver.Server
	syncer      *dirsync.Syncer // nil unless another program writes what is served
	metrics     *monitor.Metrics
	monitor     *monitor.Monitor
	monitored   monitored
	pages       *pages.Site

	// The parts below are tasks. A reload replaces them, or changes server.
	tasks         *errgroup.Group // ends the program when one of them fails
	server        *httpserver.Server
	http          *task
	monitorServer monitorServer // of the monitor
	review        *task         // of what is stored, under the operators in trusted
	trusted       trusted       // is in force
	nats          connection
	follower      *task // of the bucket; nil without one
	primary       primary

	removePID func() // removes the pid file
}

// Run runs an account server. It returns nil when ctx has ended and everything is stopped and
// written, otherwise what keeps the server from running. What is opened is closed in the reverse
// order: first the store, then the audit file. Errors have no line in the log yet: the caller
// writes them.
//
// The order: what can be refused without a trace comes first, that is the folder and all files.
// Then the audit file is opened, and then the store, whose lock may be waited for. HTTP answers
// only when the store is open. A signal during a wait is no error.
func Run(ctx context.Context, o Options) error {
	log := logger{slog.New(o.Logging)}
	logStart(o.Config, log)
	logLimits(log)
	folder, err := openFolder(o.Config.Store)
	if err != nil {
		return err
	}
	// All files are read before the store is opened, so that a mistake leaves nothing behind.
	f, err := loadForStart(o.Config)
	if err != nil {
		return err
	}
	metrics := monitor.NewMetrics(Version, Build().Commit)
	audit, err := openAudit(o, metrics)
	if err != nil {
		return err
	}
	// The store reports to it until it is closed.
	defer audit.Use(nil) // closes the file
	// These lines come before the store is opened, since that may wait.
	f.trusted.log(o.Config, log)
	warnAccess(o.Config, f, log)
	store, err := openStore(ctx, o.Config, log, metrics)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // a signal came during the wait for the directory
	case err != nil:
		return err
	}
	// From here on, each return writes what is not written yet.
	defer closeStore(store, log)
	d := build(o, log, opened{f, folder, metrics, audit, store})
	if d.syncer != nil {
		// The store is filled before it is served, so that no account is missing at first.
		d.syncer.Fill(ctx)
	}
	if ctx.Err() != nil {
		return nil // a signal came while the watched directory was read
	}
	return d.run(ctx, f)
}

// logStart writes the first lines, in the original's words. They come before any file but the
// configuration is read. Scripts look for them.
func logStart(c config.Config, log logger) {
	log.infof("starting NATS Account server, version %s", FullVersion())
	log.infof("server time is %s", time.Now().Format(time.UnixDate))
	if c.File != "" {
		log.infof("loading configuration from %q", c.File)
	}
	logPrimary(c, log)
}

// run serves until ctx ends or a task fails. f is what load has read for d.Config. It is called
// once, after build.
//
// The order: the primary can be asked before HTTP answers. Then HTTP is there before NATS is
// connected, because nats-servers may fetch accounts while they start. The replica runs last, and
// the review just before it. Ready and systemd are told when all of it was started, which does not
// mean that NATS is connected.
func (d *daemon) run(ctx context.Context, f files) error {
	// The first request may already be for an account that only the primary has.
	primary := d.nextPrimary(d.Config)
	d.setSource(primary)
	if err := d.listen(f); err != nil {
		return err
	}
	defer func() { d.removePID() }()
	var failed context.Context // ends with ctx, or when a task fails
	d.tasks, failed = errgroup.WithContext(ctx)
	// A task that fails from here on ends the program.
	d.startTasks(failed)
	// This line is the original's.
	d.log.infof("nats-account-server is running")
	scheme, port := d.server.Address()
	logResolvers(d.Config, scheme, port, f.trusted, d.log)
	d.trusted = f.trusted
	d.startReview(false)
	d.follow(primary, d.Config)
	// A service manager is told only now, when everything has been started.
	d.Ready()
	d.systemd.tell(d.systemd.Ready(servesStatus))
	if d.Dump {
		d.log.Info("", "configuration", logging.Object(d.Config.Dump()))
	}
	d.takeSignals(failed)
	// A failed task and a signal end the program in the same order.
	d.systemd.tell(d.systemd.Stopping())
	d.stop()
	// Wait returns the first error of a task; nil: all ended as they were told.
	return d.tasks.Wait()
}

// listen makes the servers, which answer at once, and writes the pid file. If it fails, nothing
// listens. From here on requests are answered; Run of the servers only ends that.
func (d *daemon) listen(f files) (err error) {
	if d.server, err = httpserver.New(d.serverOptions(d.Config, f)); err != nil {
		return err
	}
	if d.monitorServer, err = d.nextMonitorServer(d.Config, f); err != nil {
		return errors.Join(err, closeServer(d.server))
	}
	d.monitored.server.Store(d.server)
	// Another server with the same file has the address, or the directory. It keeps its pid file.
	if d.removePID, err = process.WritePID(d.Config.PIDFile); err != nil {
		return errors.Join(err, closeServer(d.monitorServer.Server), closeServer(d.server))
	}
	return nil
}

// startTasks starts what lives as long as the program. stop ends HTTP and NATS one after the other.
// The other tasks end with failed. Tasks with a background context are ended by stop, in its order.
func (d *daemon) startTasks(failed context.Context) {
	d.http = d.start(context.Background(), "http", d.server.Run)
	d.startMonitorServer(d.monitorServer)
	d.startBucket()
	d.nats = d.connect(d.Config.NATS)
	// An interval of zero means that expired JWTs stay.
	if interval := d.Config.Store.CleanupInterval; interval > 0 {
		d.start(failed, "cleanup", func(ctx context.Context) error {
			d.registry.ExpireEvery(ctx, interval)
			return nil
		})
	}
	d.start(failed, "sweep", func(ctx context.Context) error {
		d.registry.Sweep(ctx)
		return nil
	})
	if d.syncer != nil {
		d.start(failed, "directory", d.syncer.Run)
	}
}

// takeSignals does what signals ask for, one after the other, until ctx ends. It tells systemd that
// the program lives. Further hangups within hangupDelay belong to the same reload. A signal that
// comes during a reload waits in its channel.
func (d *daemon) takeSignals(ctx context.Context) {
	alive := time.Tick(d.systemd.WatchdogInterval()) // nil if systemd does not watch
	var reload <-chan time.Time                      // nil unless a reload is asked for
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Hangup:
			if reload == nil {
				reload = time.After(hangupDelay)
			}
		case <-reload:
			reload = nil
			d.reload()
		case <-d.Reopen:
			d.reopen()
		case <-alive:
			d.systemd.proveAlive(d.server.Answers)
		}
	}
}

// startReview begins to look for stored JWTs that are not good any more, and for files that were
// changed by hand if rescan is set. It does not wait. One that still runs is stopped first, since
// it looks with the old operators.
func (d *daemon) startReview(rescan bool) {
	d.review.stop()
	t := d.trusted
	d.review = d.start(context.Background(), "review", func(ctx context.Context) error {
		d.registry.Review(ctx, rescan)
		t.warnMissing(ctx, d.registry, d.log)
		return nil
	})
}

// stop ends the tasks in the order in which nothing is lost: no new requests, those in flight
// answered, what they changed announced, NATS closed. Run closes the store. Each step waits for its
// task to end before the next one begins.
//
// HTTP is bounded by its own limits, and the outbox by drainTimeout. A crash in between loses
// nothing that was answered with 200: the journal has the change and what is pending.
func (d *daemon) stop() {
	d.log.infof("stopping account server")
	d.log.infof("stopping http server")
	// A client that waits for nats-servers is answered now, and no page waits for what is new.
	d.notifier.EndWaits()
	d.pages.Close()
	// HTTP returns once the requests in flight are answered, or have taken too long.
	d.http.stop()
	d.monitorServer.stop()
	d.log.infof("http server stopped")
	d.primary.stop()
	d.review.stop()
	// No change comes from HTTP or the primary any more. The outbox gets a moment to announce them.
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	d.notifier.Drain(ctx)
	// What is still in the outbox is announced after the next start, if the store is a directory.
	d.nats.stop()
	// Nothing is committed any more.
	d.follower.stop()
	d.log.infof("http stopped")
}
