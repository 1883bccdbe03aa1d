package monitor_test

import (
	"log/slog"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/monitor"
	"nats-account-server/internal/notifier"
	"nats-account-server/internal/replica"
	"nats-account-server/internal/trust"
)

// world is a monitor of a store in memory.
type world struct {
	t        testing.TB
	op       *jwttest.Operator
	metrics  *monitor.Metrics
	store    *jwtstore.Memory
	registry *accounts.Registry
	monitor  *monitor.Monitor
}

func newWorld(t testing.TB) *world {
	op := jwttest.NewOperator(t)
	operator, err := trust.Parse([]byte(op.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, op: op, metrics: monitor.NewMetrics("1.2.3", "abc"),
		store: jwtstore.NewMemory(true)}
	log := slog.New(slog.DiscardHandler)
	n := notifier.New(notifier.Options{Outbox: w.store.Outbox(), Log: log})
	w.registry = accounts.New(accounts.Options{Store: w.store, Committer: w.store, Announcer: n,
		Trust: accounts.Trust{Operators: trust.Operators{operator}}, Log: log})
	w.monitor = monitor.New(monitor.Options{
		Metrics: w.metrics, Accounts: w.registry, Store: w.store, Notifier: n, Log: log,
		Replica:     func() (replica.State, bool) { return replica.State{}, false },
		Connections: func() int64 { return 0 },
	})
	return w
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
