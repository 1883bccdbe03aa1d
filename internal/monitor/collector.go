package monitor

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nats-account-server/internal/notifier"
)

const (
	// maxServers bounds the nats-servers that have series of their own. A cluster that renames its
	// servers at each start would have more and more.
	maxServers = 500
	// maxLabel is the length of a label that has a name in it, in runes.
	maxLabel = 64
	// other is the label of what has no series of its own.
	other = "other"
)

// answers are the labels for what nats-servers answer to announcements. not_loaded is that a
// nats-server does not have the account in memory, so it takes the new JWT when a client needs it;
// late is an answer to the announcement of a change that was replaced meanwhile.
var answers = [...]string{"acknowledged", "refused", "not_loaded", "late"}

// collector makes the metrics that are looked up when they are asked for. It has no state but the
// descriptions, and can be used from any goroutine.
type collector struct {
	m     *Monitor
	descs map[string]*prometheus.Desc // by name, without the prefix
}

// newCollector returns a collector for m.
func newCollector(m *Monitor) *collector {
	c := &collector{m, make(map[string]*prometheus.Desc)}
	for _, d := range descriptions {
		c.descs[d.name] = prometheus.NewDesc(prefix+d.name, d.help, strings.Fields(d.labels), nil)
	}
	return c
}

// descriptions are the metrics of a collector. A metric that is new has a row here, a call of gauge
// or counter with the same name and as many labels, and a row in the manual. labels are names with
// blanks between them; "" is none. help is what /metrics shows.
var descriptions = []struct{ name, labels, help string }{
	{"ready", "part", "Whether a part of the server is ready, as /readyz says."},
	{"http_connections", "", "Open HTTP connections."},

	{"files_behind", "",
		"Accounts whose files are not written yet. Their JWTs are in the journal."},
	{"journal_bytes", "", "Size of the journal's file."},
	{"store_bytes", "", "Size of the account JWTs in the files of the store."},
	{"store_free_bytes", "", "What the file system of the store still takes."},
	{"store_digest", "", "The first 48 bits of the digest of the accounts that are served. " +
		"Servers that hold the same accounts have the same."},

	{"accounts", "expiry", "Stored accounts by the time until they expire. Each is counted once."},
	{"account_expiration_timestamp_seconds", "account account_name",
		"When an account expires: the next ones, and those that have in the last 7 days."},
	{"account_issued_timestamp_seconds", "account account_name",
		"When the JWT of such an account was issued."},
	{"accounts_expired_in_use", "",
		"Stored accounts that have expired and were asked for in the last ten minutes."},
	{"accounts_untrusted", "",
		"Stored accounts that are not served, since no key of the operator has signed them."},
	{"accounts_incomplete", "", "Stored accounts that some nats-server has acknowledged, and " +
		"that are not wholly in effect there: imports or JetStream limits are left out."},
	{"dangling_imports", "",
		"Imports that do nothing, since the other account does not export that to it."},
	{"accounts_by_issuer", "issuer trusted", "Stored accounts by the key that has signed them."},
	{"operator_expiration_timestamp_seconds", "operator operator_name",
		"When the JWT of an operator expires; 0: never."},

	{"nats_connected", "", "Whether there is a connection to NATS."},
	{"nats_reconnects_total", "", "Connections to NATS after the first one."},
	{"delivery_answers_total", "result", "Answers of nats-servers to announcements."},
	{"delivery_pending", "", "Changes that some nats-server has not acknowledged."},
	{"delivery_refused", "", "Stored accounts that a nats-server refuses."},
	{"delivery_oldest_pending_timestamp_seconds", "",
		"Since when the oldest change waits for the answer of a nats-server that is there, " +
			"or of any without a connection to NATS; 0: none does."},
	{"nats_server_pending", "server_name cluster",
		"Changes that a nats-server has not acknowledged."},
	{"nats_server_last_seen_timestamp_seconds", "server_name cluster",
		"When a nats-server was last seen."},
	{"nats_servers", "state", "Known nats-servers by how they stand to the changes."},

	{"replica_last_success_timestamp_seconds", "",
		"When the primary last answered as it should, or all that the bucket has was known to " +
			"be here; 0: never, or there is neither."},
	{"replica_behind", "", "Revisions of the bucket that are not here yet; with a primary, " +
		"whether its initial pack is still to come."},
	{"bucket_refusing", "", "Whether every push is refused, since the bucket is away, has no leader or " +
		"another fault, or does not sync each change: /readyz says which."},
}

// Describe implements prometheus.Collector. All metrics are known before any is collected.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Prometheus may call it several times at once. It reads
// no JWT and no file: what needs those is cached. The overview and the survey are fetched once, so
// all series of a collection are of the same moment.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	o := output{c, ch}
	ready, v, s := c.m.Ready(), c.m.Overview(), c.m.surveyed.get()
	for _, part := range readyParts {
		o.gauge("ready", flag(ready.Parts[part].Ready), part)
	}
	o.gauge("http_connections", float64(c.m.Connections()))
	o.store(s)
	o.accounts(s)
	o.delivery(v)
	o.servers(v.Servers)
	o.replica()
}

// output takes the values of one collection.
type output struct {
	*collector
	ch chan<- prometheus.Metric
}

// gauge sends the value of a gauge. name is without the prefix. A name that is not in descriptions
// panics, as do too few labels.
func (o output) gauge(name string, value float64, labels ...string) {
	o.ch <- prometheus.MustNewConstMetric(o.descs[name], prometheus.GaugeValue, value, labels...)
}

// counter sends the value of a counter.
func (o output) counter(name string, value int, labels ...string) {
	o.ch <- prometheus.MustNewConstMetric(o.descs[name], prometheus.CounterValue, float64(value),
		labels...)
}

// replica sends how far this server is behind its primary or its bucket. A server follows a primary
// or shares a bucket, or does neither; never both.
func (o output) replica() {
	replica, follows := o.m.Replica()
	success, behind := replica.Success, flag(follows && !replica.Packed)
	refusing := flag(false)
	if shared, shares := o.m.Bucket(); shares {
		success, behind = shared.Success, float64(shared.Behind)
		refusing = flag(shared.TakesNoPush())
	}
	o.gauge("replica_last_success_timestamp_seconds", seconds(success))
	o.gauge("replica_behind", behind)
	o.gauge("bucket_refusing", refusing)
}

// store sends what is known about the store. Free is negative where the system does not tell it.
func (o output) store(s survey) {
	state, digest := o.m.Store.State(), o.m.Accounts.Digest()
	o.gauge("files_behind", float64(state.Behind))
	o.gauge("journal_bytes", float64(state.Journal))
	o.gauge("store_bytes", float64(s.bytes))
	if state.Free >= 0 {
		o.gauge("store_free_bytes", float64(state.Free))
	}
	// A float64 has no more bits.
	o.gauge("store_digest", float64(binary.BigEndian.Uint64(digest[:])>>16))
}

// accounts sends what is known about the accounts and the operators. Names are those of the JWTs,
// which tenants choose: see label.
func (o output) accounts(s survey) {
	for i, l := range lifetimes {
		o.gauge("accounts", float64(s.byExpiry[i]), l.label)
	}
	for _, a := range s.Soon {
		name := label(a.Name)
		o.gauge("account_expiration_timestamp_seconds", float64(a.Expires.Unix()), a.Key, name)
		o.gauge("account_issued_timestamp_seconds", float64(a.Issued.Unix()), a.Key, name)
	}
	for _, i := range s.issuers {
		trusted := "false"
		if i.trusted {
			trusted = "true"
		}
		o.gauge("accounts_by_issuer", float64(i.count), i.key, trusted)
	}
	o.gauge("accounts_untrusted", float64(s.Untrusted))
	o.gauge("dangling_imports", float64(o.m.imports.get().Imports))
	inUse := o.m.Metrics.expired.inUse(o.m.Index, time.Now())
	o.gauge("accounts_expired_in_use", float64(inUse))
	// The same operator may be configured twice, as one that is renewed; a series may come only
	// once.
	seen := make(map[string]bool)
	for _, operator := range o.m.Accounts.Operators() {
		if !seen[operator.Key] {
			o.gauge("operator_expiration_timestamp_seconds", seconds(operator.Expires),
				operator.Key, label(operator.Name))
		}
		seen[operator.Key] = true
	}
}

// delivery sends how far changes have got. The order of the numbers is that of answers.
func (o output) delivery(v notifier.Overview) {
	o.gauge("nats_connected", flag(v.Connected))
	o.counter("nats_reconnects_total", max(v.Sessions-1, 0))
	for i, n := range [len(answers)]int{v.Acknowledged, v.Counts.Refused, v.NotLoaded, v.Late} {
		o.counter("delivery_answers_total", n, answers[i])
	}
	o.gauge("delivery_pending", float64(v.Pending))
	o.gauge("delivery_refused", float64(v.Refused))
	o.gauge("accounts_incomplete", float64(v.Incomplete))
	o.gauge("delivery_oldest_pending_timestamp_seconds", seconds(v.Oldest))
}

// servers sends what is known about the nats-servers. Those above maxServers are one series: the
// sum of their pending changes, and the latest time. all is sorted by name, so that the same
// servers have series each time.
func (o output) servers(all []notifier.ServerOverview) {
	states := [len(notifier.Standings)]int{}
	pending, seen, isMore := 0, time.Time{}, false
	names := make(map[[2]string]bool)
	for _, s := range all {
		states[s.State]++
		labels := [2]string{label(s.Name), label(s.Cluster)}
		if len(names) == maxServers || names[labels] { // two long names may begin alike
			pending, isMore = pending+s.Pending, true
			if s.Seen.After(seen) {
				seen = s.Seen
			}
			continue
		}
		names[labels] = true
		o.gauge("nats_server_pending", float64(s.Pending), labels[:]...)
		o.gauge("nats_server_last_seen_timestamp_seconds", seconds(s.Seen), labels[:]...)
	}
	if isMore && !names[[2]string{other, ""}] {
		o.gauge("nats_server_pending", float64(pending), other, "")
		o.gauge("nats_server_last_seen_timestamp_seconds", seconds(seen), other, "")
	}
	for i, n := range states {
		o.gauge("nats_servers", float64(n), notifier.Standings[i])
	}
}

// label returns a text that may stand in a label: valid UTF-8, and not too long. What is cut off is
// not marked: two long names may become the same label.
func label(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	runes := 0
	for at := range text {
		if runes == maxLabel {
			return text[:at]
		}
		runes++
	}
	return text
}

// seconds returns an instant in Unix seconds, 0 for the zero time. Milliseconds are kept.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// flag returns 1 or 0.
func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
