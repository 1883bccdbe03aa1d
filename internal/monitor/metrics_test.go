package monitor_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/bucket"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/replica"
	"nats-account-server/internal/trust"
)

// world is a monitor of a store in a directory.
type world struct {
	t        testing.TB
	op       *jwttest.Operator
	metrics  *monitor.Metrics
	store    *jwtstore.Dir
	registry *accounts.Registry
	monitor  *monitor.Monitor
}

func newWorld(t testing.TB) *world {
	op := jwttest.NewOperator(t)
	operator, err := trust.Parse([]byte(op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, op: op, metrics: monitor.NewMetrics("1.2.3", "abc")}
	w.store, err = jwtstore.OpenDir(t.Context(),
		jwtstore.Options{Dir: t.TempDir(), Committed: w.metrics.Committed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	log := slog.New(slog.DiscardHandler)
	n := notifier.New(notifier.Options{Outbox: w.store.Outbox(), Log: log})
	w.registry = accounts.New(accounts.Options{Store: w.store, Committer: w.store, Announcer: n,
		Observer: observer{w.metrics},
		Trust:    accounts.Trust{Operators: trust.Operators{operator}}, Log: log})
	w.monitor = monitor.New(monitor.Options{
		Metrics: w.metrics, Accounts: w.registry, Store: w.store, Index: w.store.Index(),
		Outbox: w.store.Outbox(), Notifier: n, Log: log,
		Replica:     func() (replica.State, bool) { return replica.State{}, false },
		Bucket:      func() (bucket.State, bool) { return bucket.State{}, false },
		Connections: func() int64 { return 0 },
	})
	return w
}

// observer counts decisions.
type observer struct{ *monitor.Metrics }

func (o observer) Observe(v accounts.Event) error {
	o.Decided(v)
	return nil
}

// value returns the value of a series, as its line begins.
func (w *world) value(series string) string {
	w.t.Helper()
	for line := range strings.Lines(w.scrape()) {
		if rest, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(rest)
		}
	}
	w.t.Errorf("there is no %s", series)
	return ""
}

// want compares the values of series. Those that need a look at all accounts may be half a second old.
func (w *world) want(values map[string]string) {
	w.t.Helper()
	for series, want := range values {
		natstest.Eventually(w.t, series+" "+want, func() bool { return w.value(series) == want })
	}
}

// scrape returns the metrics as text.
func (w *world) scrape() string {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.monitor.ServeMetrics(recorder, httptest.NewRequest("GET", "/metrics", nil))
	if recorder.Code != 200 {
		w.t.Fatal(recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

func TestTheMetricsFollowTheRulesOfPrometheus(t *testing.T) {
	text := newWorld(t).scrape()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if _, err := exec.LookPath("promtool"); err != nil {
		jwttest.Lacks(t, "promtool", err)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// The number of series depends neither on the accounts nor, beyond 500, on the nats-servers.
func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	count := func(accounts, servers int) int {
		w := newWorld(t)
		for i := range accounts {
			w.push(func(c *jwt.AccountClaims) {
				c.Expires = time.Now().Add(time.Hour).Unix()
				c.Name = strings.Repeat("\u00fc", 100+i)
			})
		}
		for i := range servers {
			w.store.Outbox().Register(fmt.Sprintf("n%d", i), time.Now())
		}
		n := 0
		for line := range strings.Lines(w.scrape()) {
			if !strings.HasPrefix(line, "#") {
				n++
			}
		}
		return n
	}
	few, many := count(12, 3), count(150, 600)
	// 88 more accounts and 498 more nats-servers have two series each.
	if few > 420 || many > few+2*88+2*498 {
		t.Errorf("%d series for 12 accounts, %d for 150 accounts and 600 nats-servers", few, many)
	}
}

func TestTheMetricsCountAccounts(t *testing.T) {
	w := newWorld(t)
	in := func(d time.Duration) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(d).Unix() }
	}
	exporter := w.push(in(time.Hour), func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: "open.>", Type: jwt.Stream},
			&jwt.Export{Subject: "closed.>", Type: jwt.Stream, TokenReq: true})
	})
	w.push(in(3*24*time.Hour), func(c *jwt.AccountClaims) {
		for _, subject := range []jwt.Subject{"open.a", "closed.a", "other.a"} {
			c.Imports.Add(&jwt.Import{Account: exporter.ID, Subject: subject, Type: jwt.Stream})
		}
	})
	w.push(func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Account: jwttest.AccountKey(w.t), Subject: "gone", Type: jwt.Stream})
	})
	w.metrics.Served(exporter.ID, 1)
	const p = "nats_account_server_"
	w.want(map[string]string{
		p + `accounts{expiry="1d"}`:                              "1",
		p + `accounts{expiry="7d"}`:                              "1",
		p + `accounts{expiry="never"}`:                           "1",
		p + `accounts{expiry="expired"}`:                         "0",
		p + `dangling_imports`:                                   "3",
		p + `accounts_expired_in_use`:                            "0", // it has been renewed
		p + `pushes_total{door="http",result="stored"}`:          "3",
		p + `commit_pushes_count`:                                "3",
		p + `accounts_untrusted`:                                 "0",
		p + `accounts_by_issuer{issuer="other",trusted="false"}`: "0",
	})
}

func TestWhatIsAskedAndWarnedOfIsCounted(t *testing.T) {
	w := newWorld(t)
	const p = "nats_account_server_"
	w.want(map[string]string{
		p + `push_warnings_total{kind="breaks_importer"}`:      "0",
		p + `facts_requests_total{result="silent",what="jsz"}`: "0",
		p + `facts_duration_seconds_count{what="connz"}`:       "0",
		p + `pushes_total{door="http",result="dry_run"}`:       "0",
	})
	w.metrics.Warned("breaks_importer")
	w.metrics.Warned("what is this")
	w.metrics.Asked("info", "answered", time.Millisecond)
	w.metrics.Asked("info", "silent", time.Second)
	w.metrics.Asked("info", "what is this", time.Second)
	w.want(map[string]string{
		p + `push_warnings_total{kind="breaks_importer"}`:         "1",
		p + `facts_requests_total{result="answered",what="info"}`: "1",
		p + `facts_requests_total{result="silent",what="info"}`:   "1",
		p + `facts_duration_seconds_count{what="info"}`:           "1",
	})
}

func TestAccountzSaysWhyAnImportDoesNothing(t *testing.T) {
	w := newWorld(t)
	a := w.push(func(c *jwt.AccountClaims) {
		c.Name = "Orders"
		c.Imports.Add(&jwt.Import{Account: jwttest.AccountKey(w.t), Subject: "gone", Type: jwt.Stream})
	})
	w.push(func(c *jwt.AccountClaims) { c.Name = "billing" })
	z := w.monitor.Accountz(monitor.AccountQuery{Prefix: "ord", Limit: 10})
	if len(z.Accounts) != 1 || z.Accounts[0].Key != a.ID || z.Accounts[0].State != "incomplete" ||
		!strings.Contains(z.Accounts[0].Reason, "the account is not stored") {
		t.Errorf("%+v", z)
	}
	first := w.monitor.Accountz(monitor.AccountQuery{Limit: 1})
	rest := w.monitor.Accountz(monitor.AccountQuery{Limit: 1, After: first.After})
	if len(first.Accounts) != 1 || len(rest.Accounts) != 1 || rest.After != "" ||
		first.Accounts[0].Key >= rest.Accounts[0].Key {
		t.Errorf("%+v, %+v", first, rest)
	}
}
