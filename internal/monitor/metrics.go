package monitor

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"nats-account-server/internal/accounts"
)

// prefix is how the name of each metric of this program begins.
const prefix = "nats_account_server_"

// A Way is a way in or out of JWTs. Metrics have it in the label "door". The label has its name
// from the first version, and dashboards have it.
type Way int

// The Ways. Those over which accounts are read come first, since reads has a row for each.
const (
	HTTP Way = iota
	NATS
	pack
	primary
	files
	kv
)

// readWays is how many Ways accounts are read over.
const readWays = 2

// ways are the labels of the Ways. Dashboards have them: they never change.
var ways = [...]string{"http", "nats", "pack", "primary", "files", "kv"}

// A pushResult is what became of a JWT that was offered. The labels never change, as those of the
// Ways.
type pushResult int

// The results of pushes, in the order of their labels.
const (
	stored pushResult = iota
	unchanged
	older
	untrusted
	invalid
	tooLarge
	unauthorized
	dryRun
	failed
)

// pushResults are the labels of the pushResults.
var pushResults = [...]string{"stored", "unchanged", "older", "untrusted", "invalid", "too_large",
	"unauthorized", "dry_run", "error"}

// A ReadResult is what became of a request for an account. Each is an HTTP status: 200, 304, 404,
// 503 and 500.
type ReadResult int

// The results of reads.
const (
	Found ReadResult = iota
	NotModified
	NotFound
	Unavailable // it can't be known now
	ReadFailed
)

// readResults are the labels of the ReadResults.
var readResults = [...]string{"found", "not_modified", "not_found", "unavailable", "error"}

// A Route is what a request over HTTP is for, as the labels name it. They are fewer than the paths,
// so that the number of series stays small.
type Route int

// The routes.
const (
	RouteAccount Route = iota
	RouteAccounts
	RouteOperator
	RoutePack
	RouteActivation
	RoutePage
	RouteOther
)

// routes are the labels of the Routes.
var routes = [...]string{"account", "accounts", "operator", "pack", "activation", "page", "other"}

// A cause is why a change is announced.
type cause int

// The causes.
const (
	causePush   cause = iota // it was committed
	causeRepeat              // its JWT was pushed again, or was announced before and is pending
	causeNotify              // GET with notify=true
	causeLookup              // nats-servers may run another JWT than the stored one
)

// causes are the labels of the causes. A new one is added at the end.
var causes = [...]string{"push", "repeat", "notify", "lookup"}

// warnings are the labels for what a push is warned of. The package accounts has the words.
var warnings = [...]string{"dangling_import", "private_import_without_token", "activation_expired",
	"breaks_importer", "above_use", "incomplete"}

// factRequests and factResults are the labels for what nats-servers are asked about accounts, and
// for what became of it. The package facts has them.
var (
	// The first result is an answer, and the only one whose time is observed.
	factRequests = [...]string{"info", "connz", "jsz"}
	factResults  = [...]string{"answered", "refused", "silent"}
)

// Metrics counts what happens, and remembers the last changes and refusals. Its methods may be
// called from any goroutine. They cost a few atomic operations, and Decided and Served a lock
// besides. It is made before all else, since all packages that count have its methods as functions.
// All series are made by NewMetrics: a counter that appears with its first event would hide that
// event from rate() in PromQL.
type Metrics struct {
	registry      *prometheus.Registry
	pushes        [len(ways)][len(pushResults)]prometheus.Counter
	reads         [readWays][len(readResults)]prometheus.Counter
	requests      [len(routes)][2]prometheus.Observer // GET and POST
	announcements [len(causes)]prometheus.Counter
	warnings      *prometheus.CounterVec
	facts         *prometheus.CounterVec
	factsTime     *prometheus.HistogramVec
	commitTime    prometheus.Histogram
	commitPushes  prometheus.Histogram
	deliveryTime  prometheus.Histogram
	reloaded      prometheus.Gauge // the last reload was successful
	reloadedAt    prometheus.Gauge
	loadedAt      atomic.Int64 // the same, in Unix nanoseconds
	expired       expiredUse
	history       history
}

// NewMetrics returns metrics in a registry of their own. Every series with a closed set of labels
// is there. The registry is not the global one, so that tests can have many. Names begin with
// prefix, are in base units (seconds, bytes), and counters end in _total, as Prometheus recommends.
func NewMetrics(version, commit string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauge("build_info", "Always 1. The labels say what was built, and with what.",
		prometheus.Labels{
			"version": version, "commit": commit, "goversion": runtime.Version(),
		}).Set(1)
	m.countPushes()
	m.countRequests()
	m.countFacts()
	// The buckets go from a memory file system to a disk that is failing.
	m.commitTime = m.histogram("commit_duration_seconds",
		"Time of a commit, which has one sync for all changes that share it.",
		[]float64{.0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 5})
	m.commitPushes = m.histogram("commit_pushes", "Changes that have shared a commit.",
		[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256})
	m.deliveryTime = m.histogram("delivery_duration_seconds",
		"Time from the commit of a change, or from the start of the process if that was later, "+
			"to the acknowledgement of a nats-server.",
		[]float64{.001, .005, .025, .1, .5, 2, 10, 60, 600, 3600})
	m.reloaded = m.gauge("config_last_reload_successful",
		"Whether the last reload of the configuration was successful, or there was none.", nil)
	m.reloadedAt = m.gauge("config_last_reload_success_timestamp_seconds",
		"When the configuration that is in force was loaded.", nil)
	m.Reloaded(true)
	return m
}

// countPushes makes the counters of JWTs that come in or go out. It makes all pairs of the labels.
func (m *Metrics) countPushes() {
	pushes := m.counters("pushes_total", "Account JWTs that were offered, by the way in and what "+
		"became of them. What another server passes on and is known already is not counted.",
		"door", "result")
	for d, way := range ways {
		for r, result := range pushResults {
			m.pushes[d][r] = pushes.WithLabelValues(way, result)
		}
	}
	reads := m.counters("reads_total", "Requests for the JWT of an account, by the way and what "+
		"became of them. Lookups over NATS are left to other servers if the account is not "+
		"stored here.", "door", "result")
	for d, way := range ways[:readWays] {
		for r, result := range readResults {
			m.reads[d][r] = reads.WithLabelValues(way, result)
		}
	}
	announcements := m.counters("announcements_total",
		"Announcements of changes to nats-servers, by cause.", "cause")
	for c, cause := range causes {
		m.announcements[c] = announcements.WithLabelValues(cause)
	}
}

// countRequests makes the histograms of HTTP requests.
func (m *Metrics) countRequests() {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "http_request_duration_seconds",
		Help:    "Time from the header of a request to its answer.",
		Buckets: []float64{.0005, .001, .005, .025, .1, .5, 1, 5},
	}, []string{"route", "method"})
	m.registry.MustRegister(requests)
	for r, route := range routes {
		for i, method := range [...]string{"GET", "POST"} {
			m.requests[r][i] = requests.WithLabelValues(route, method)
		}
	}
}

// countFacts makes the metrics of what is asked about accounts, and of the warnings that follow.
func (m *Metrics) countFacts() {
	m.warnings = m.counters("push_warnings_total", "What was stored with a warning, by kind.",
		"kind")
	for _, kind := range warnings {
		m.warnings.WithLabelValues(kind)
	}
	m.facts = m.counters("facts_requests_total", "What nats-servers were asked about accounts, "+
		"by what became of it. A request to several is counted for each.", "what", "result")
	m.factsTime = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "facts_duration_seconds",
		Help:    "Time until a nats-server has answered what it was asked about an account.",
		Buckets: []float64{.001, .005, .025, .1, .5},
	}, []string{"what"})
	m.registry.MustRegister(m.factsTime)
	for _, what := range factRequests {
		m.factsTime.WithLabelValues(what)
		for _, result := range factResults {
			m.facts.WithLabelValues(what, result)
		}
	}
}

// gauge registers a gauge. A metric that is registered twice panics: it is a mistake in this
// program.
func (m *Metrics) gauge(name, help string, labels prometheus.Labels) prometheus.Gauge {
	g := prometheus.NewGauge(
		prometheus.GaugeOpts{Name: prefix + name, Help: help, ConstLabels: labels})
	m.registry.MustRegister(g)
	return g
}

// histogram registers a histogram. buckets are upper bounds, ascending.
func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(
		prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

// counters registers counters with labels. Each series must still be made, with WithLabelValues.
func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

// Read counts a request for an account. d must be HTTP or NATS.
func (m *Metrics) Read(d Way, r ReadResult) { m.reads[d][r].Inc() }

// LookedUp counts a lookup over NATS. a is the account that was found if err is nil. An account
// that is not stored here counts as not found, also if another server answers.
func (m *Metrics) LookedUp(a *accounts.Account, err error) {
	switch {
	case err == nil:
		m.Served(a.Key, a.Expires)
		m.Read(NATS, Found)
	case errors.Is(err, accounts.ErrNotFound):
		m.Read(NATS, NotFound)
	default:
		m.Read(NATS, ReadFailed)
	}
}

// Requested records how long a request over HTTP took. All methods but POST count as GET.
func (m *Metrics) Requested(r Route, isPost bool, took time.Duration) {
	of := m.requests[r][0]
	if isPost {
		of = m.requests[r][1]
	}
	of.Observe(took.Seconds())
}

// Committed records a commit of the journal, with how many changes it had.
func (m *Metrics) Committed(changes int, took time.Duration) {
	m.commitTime.Observe(took.Seconds())
	m.commitPushes.Observe(float64(changes))
}

// Warned counts a warning of a push. A kind that is not among those of the metric is not counted.
func (m *Metrics) Warned(kind string) {
	if slices.Contains(warnings[:], kind) {
		m.warnings.WithLabelValues(kind).Inc()
	}
}

// Asked counts what has become of a request to a nats-server about an account, and how long that
// took. A word that is not among the labels is not counted, so that no answer can make a series.
func (m *Metrics) Asked(what, result string, took time.Duration) {
	if !slices.Contains(factRequests[:], what) || !slices.Contains(factResults[:], result) {
		return
	}
	m.facts.WithLabelValues(what, result).Inc()
	if result == factResults[0] {
		m.factsTime.WithLabelValues(what).Observe(took.Seconds())
	}
}

// Delivered records how long a nats-server took to acknowledge a change.
func (m *Metrics) Delivered(took time.Duration) { m.deliveryTime.Observe(took.Seconds()) }

// Reloaded records a reload of the configuration, or that it was refused. The start counts as a
// successful one.
func (m *Metrics) Reloaded(successful bool) {
	if !successful {
		m.reloaded.Set(0)
		return
	}
	m.reloaded.Set(1)
	m.reloadedAt.SetToCurrentTime()
	m.loadedAt.Store(time.Now().UnixNano())
}

// Decided counts what was decided about a JWT that was offered, and remembers the last ones.
// Deletions, and what concerns activation tokens, are in no counter.
func (m *Metrics) Decided(v accounts.Event) {
	m.history.remember(v)
	d, isPush := waysOf[v.Kind]
	r, isResult := resultOf(v)
	if isPush && isResult {
		m.pushes[d][r].Inc()
	}
}

// DryRun counts a dry run of a push.
func (m *Metrics) DryRun() { m.pushes[HTTP][dryRun].Inc() }

// waysOf are the ways in by the Kind of an Origin. Other Kinds, such as a notification, announce
// what is stored, and bring nothing in.
var waysOf = map[string]Way{
	accounts.KindHTTP: HTTP, accounts.KindNATS: NATS, accounts.KindPack: pack,
	accounts.KindPrimary: primary, accounts.KindFile: files, accounts.KindKV: kv,
}

// resultOf returns what became of a JWT. What the signing service has is not decided yet. Deleted
// is a result too, and none of a JWT.
func resultOf(v accounts.Event) (r pushResult, ok bool) {
	switch v.Result {
	case accounts.Accepted:
		return stored, true
	case accounts.Unchanged:
		return unchanged, true
	case accounts.Refused:
		return refusals(v.Reason), true
	}
	return 0, false
}

// refusals returns the label for the audit's word of a refusal. The words are those of accounts:
// see the reasons in its audit events. One that is not here says what is wrong with the claims.
func refusals(reason string) pushResult {
	switch reason {
	case "older", "changed", "deleted", "newer", "replayed":
		return older
	case "untrusted", "bad-issuer", "identity-key", "self-signed":
		return untrusted
	case "too-large":
		return tooLarge
	case "unauthorized", "forbidden":
		return unauthorized
	case "save-failed", "signing-failed", "refused": // the last one is an error without a word
		return failed
	}
	return invalid
}

// Repeated counts that a change is announced once more.
func (m *Metrics) Repeated() { m.announcements[causeRepeat].Inc() }

// pushed returns how many JWTs were offered. It sums all Ways and results, also refusals. A dry run
// offers none.
func (m *Metrics) pushed() (n int) {
	for d := range m.pushes {
		n += sum(m.pushes[d][:dryRun]) + sum(m.pushes[d][dryRun+1:])
	}
	return n
}

// read returns how many requests there were for JWTs of accounts.
func (m *Metrics) read() (n int) {
	for d := range m.reads {
		n += sum(m.reads[d][:])
	}
	return n
}

// sum adds counters. A prometheus.Counter can only be read as it is exported.
func sum(counters []prometheus.Counter) (n int) {
	for _, c := range counters {
		var value dto.Metric
		if c.Write(&value) == nil {
			n += int(value.GetCounter().GetValue())
		}
	}
	return n
}
