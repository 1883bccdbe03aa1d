// Package monitor says how the server is doing: metrics, readiness, and what is running. It has no
// rule of its own, and changes nothing. Its values go to httpapi as JSON, to Prometheus, and to
// package pages, which makes sentences of them. Metrics are told what happens; a Monitor looks up
// the rest in the index, the outbox, the notifier and the stored JWTs when it is asked.
//
//	metrics.go     what is counted as it happens
//	collector.go   what is looked up when /metrics is asked for
//	ready.go       /readyz
//	varz.go        /varz and /serverz
//	accountz.go    /accountz
//	listing.go     the list of accounts, for people
//	finder.go      finds the accounts of both
//	detail.go      one account, for people
//	importers.go   which accounts import from one
//	dangling.go    imports that do nothing
//	glance.go      what the pages for people show besides
//	survey.go      what the index says about all accounts together
//	cached.go      how seldom that is looked at
//	expired.go     expired accounts that are asked for still
//	history.go     the last changes and refusals
//	warnings.go    what a push is warned of
//	committer.go   counts announcements where they are committed
//
// Nothing here walks a directory, and no request looks at all accounts: what takes time to find out
// is remembered for twenty times as long.
//
// # Labels
//
// The number of series does not depend on the number of accounts, and no tenant and no client can
// make another one. A label has either a closed set of values, which are all there from the start,
// or a bounded number of them, and "other" for the rest. Ages are not exported, but instants, since
// an age stands still when the process hangs.
package monitor

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/replica"
)

// Store is what is watched of a store. *jwtstore.Dir and *jwtstore.Memory meet it. Its methods may
// be called from any goroutine.
type Store interface {
	// Load returns the bytes of an account. With a known stamp that is still the file's, jwt is
	// nil.
	Load(key string, known jwtstore.Stamp) (jwt []byte, now jwtstore.Stamp, err error)
	// State returns how the store is doing.
	State() jwtstore.State
	// Check returns why the store can't take changes now; nil: it can.
	Check() error
}

// Options is what a Monitor looks at. All fields must be set.
type Options struct {
	Metrics  *Metrics
	Accounts *accounts.Registry
	Store    Store
	Index    *jwtstore.Index  // of the Store: the newest version of each account
	Outbox   *jwtstore.Outbox // of the Store: the changes that are pending
	Notifier *notifier.Notifier
	// Replica returns how far this server is behind its primary; false: it follows none.
	Replica func() (replica.State, bool)
	// Bucket returns how far this server is with the bucket that it shares with others; false: it
	// shares none.
	Bucket func() (bucket.State, bool)
	// Connections returns how many HTTP connections are open. It is not counted here but by
	// httpserver.
	Connections func() int64
	ReadOnly    bool // no JWT can be pushed
	Build       Build
	// Log gets why the store is not ready, and errors while /metrics is written.
	Log *slog.Logger
}

// Monitor says how the server is doing. Its methods may be called from any goroutine.
type Monitor struct {
	Options
	handler http.Handler // of /metrics
	start   time.Time    // when New was called

	surveyed   cached[survey]            // what the index says of all accounts
	imports    cached[Dangling]          // which of all imports do nothing
	versions   cached[string]            // see Version
	overviewed cached[notifier.Overview] // how far changes have got

	firstImporters firstLook // whether it is known which accounts import from which
	checks         readyChecks
}

// New returns a Monitor. There is one for each Metrics, whose registry gets its collector. It
// starts nothing.
func New(o Options) *Monitor {
	m := &Monitor{Options: o, start: time.Now()}
	m.checks.Options, m.checks.start = o, m.start
	m.surveyed.find = (&surveyor{o.Index, o.Accounts}).find
	m.surveyed.version = o.Index.Changes
	m.imports.find, m.imports.version = m.dangling, o.Index.Changes
	m.overviewed.find, m.versions.find = o.Notifier.Overview, m.version
	o.Metrics.registry.MustRegister(newCollector(m))
	// There is no Timeout: its handler would replace the Vary header of the answer instead of
	// adding to it.
	m.handler = promhttp.HandlerFor(o.Metrics.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelError),
	})
	return m
}

// ServeMetrics answers a request for /metrics. The answer is in the text format of Prometheus,
// compressed if the client takes that.
func (m *Monitor) ServeMetrics(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// Overview returns what is known about the delivery of changes, as it was a moment ago. It looks at
// up to 10,000 pending changes, which is why it is cached.
func (m *Monitor) Overview() notifier.Overview { return m.overviewed.get() }
