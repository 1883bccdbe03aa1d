package daemon_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// scrape returns the metrics.
func (e *env) scrape() string {
	e.t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", e.config.HTTP.Port))
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		e.t.Fatal(r.Status, err)
	}
	return string(text)
}

// until returns the first scrape that has a line.
func (e *env) until(line string) (text string) {
	e.t.Helper()
	natstest.Eventually(e.t, line, func() bool {
		text = e.scrape()
		return strings.Contains(text, "nats_account_server_"+line+"\n")
	})
	return text
}

// wantAlert has Prometheus evaluate conf/alerts.yml with two scrapes: the first one for an hour, and then
// the second one, until the alert is to fire.
func wantAlert(t *testing.T, alert string, after time.Duration, before, now string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		jwttest.Lacks(t, "promtool", err)
	}
	rules, err := filepath.Abs("../../conf/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("rule_files: [%q]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n"+
		"    input_series:\n", rules)
	former := series(before)
	for name, value := range series(now) {
		first := "_"
		if had, found := former[name]; found {
			first = had
		}
		text += fmt.Sprintf("      - { series: '%s', values: '%sx59 %sx120' }\n", name, first, value)
	}
	text += "    promql_expr_test:\n"
	for at, want := range map[time.Duration]int{59 * time.Minute: 0, time.Hour + after: 1} {
		text += fmt.Sprintf("      - { expr: 'count(ALERTS{alertname=%q,alertstate=\"firing\"}) > bool 0 "+
			"or vector(0)', eval_time: %s, exp_samples: [ { labels: '{}', value: %d } ] }\n",
			alert, strings.TrimSuffix(at.String(), "0s"), want)
	}
	file := jwttest.File(t, t.TempDir(), "test.yml", []byte(text))
	if out, err := exec.Command("promtool", "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", alert, err, out)
	}
}

var sample = regexp.MustCompile(`(?m)^(nats_account_server_\w+)(?:\{(.*)\})? ([\w.+-]+)$`)

// series returns the values of a scrape. In the tests of Prometheus, time begins at 0: the scrape is an
// hour later.
func series(scrape string) map[string]string {
	all := map[string]string{}
	for _, m := range sample.FindAllStringSubmatch(scrape, -1) {
		if strings.HasSuffix(m[1], "_bucket") {
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			continue
		}
		if strings.HasSuffix(m[1], "_timestamp_seconds") && value > 0 {
			value += 3600 - float64(time.Now().Unix())
		}
		labels := strings.TrimPrefix(m[2]+`,job="nats-account-server",instance="a"`, ",")
		all[m[1]+"{"+labels+"}"] = strconv.FormatFloat(value, 'f', -1, 64)
	}
	return all
}

func TestAlertsFireForWhatGoesWrongWithDelivery(t *testing.T) {
	e := newEnv(t, func(c *config.Config) {
		c.Store.Dir, c.ClaimChecks = t.TempDir(), config.ChecksWarn
	})
	s := natstest.Start(t, natstest.DirConf(t, e.op, "full", t.TempDir(),
		"server_name: n1\n"+natstest.AnyPort))
	creds, _ := e.op.System.User(t)
	e.reload(func(c *config.Config) {
		c.NATS = config.NATS{Servers: []string{s.ClientURL()}, ConnectTimeout: time.Second,
			ReconnectWait: 100 * time.Millisecond,
			Credentials:   jwttest.File(t, t.TempDir(), "sys.creds", creds)}
	})
	well := e.until(`nats_servers{state="in_step"} 1`)
	e.wantPush(e.op, http.StatusOK, func(c *jwt.AccountClaims) {
		same := jwt.WeightedMapping{Subject: "b", Weight: 50}
		c.Mappings = jwt.Mapping{"a": {same, same}}
	})
	refused := e.until("delivery_refused 1")
	wantAlert(t, "NatsAccountServerUpdateRefused", 3*time.Minute, well, refused)
	natstest.Stop(s)
	e.until("nats_connected 0")
	e.wantPush(e.op, http.StatusOK)
	cut := e.until("delivery_pending 2")
	wantAlert(t, "NatsAccountServerNatsDisconnected", 7*time.Minute, well, cut)
	wantAlert(t, "NatsAccountServerDeliveryOverdue", 8*time.Minute, well, cut)
}

func TestAnAlertFiresForWhatIsAcknowledgedAndNotInEffect(t *testing.T) {
	e := newEnv(t)
	s := natstest.Start(t, natstest.DirConf(t, e.op, "full", t.TempDir(),
		"server_name: n1\n"+natstest.AnyPort+fmt.Sprintf(
			"jetstream { store_dir: %q, max_memory_store: 1000, max_file_store: 1000 }\n", t.TempDir())))
	creds, _ := e.op.System.User(t)
	e.reload(func(c *config.Config) {
		c.NATS = config.NATS{Servers: []string{s.ClientURL()}, ConnectTimeout: time.Second,
			ReconnectWait: 100 * time.Millisecond,
			Credentials:   jwttest.File(t, t.TempDir(), "sys.creds", creds)}
	})
	well := e.until(`nats_servers{state="in_step"} 1`)
	a := jwttest.NewAccount(t)
	push := func(disk int64) string {
		token := e.op.Account(t, a, func(c *jwt.AccountClaims) {
			c.Limits.JetStreamLimits.DiskStorage = disk
		})
		url := fmt.Sprintf("http://127.0.0.1:%d/jwt/v1/accounts/%s?wait=10s", e.config.HTTP.Port, a.ID)
		r, err := http.Post(url, "application/jwt", strings.NewReader(string(token)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		return string(text)
	}
	push(0)
	user, _ := a.User(t)
	natstest.Connect(t, s.ClientURL(), user)
	const want = "stored; acknowledged by 1 of 1 nats-server; " +
		"not wholly in effect on n1: JetStream limits\n" +
		"warning: JetStream limits: nats-server n1 acknowledges them and leaves them out"
	if got := push(1 << 30); !strings.HasPrefix(got, want) {
		t.Errorf("%swant %s…", got, want)
	}
	lacking := e.until("accounts_incomplete 1")
	wantAlert(t, "NatsAccountsIncomplete", 12*time.Minute, well, lacking)
	push(500)
	e.until("accounts_incomplete 0")
}

func TestAlertsFireForWhatGoesWrongHere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	e := newEnv(t, func(c *config.Config) { c.Store.Dir = dir })
	well := e.until(`ready{part="compared"} 1`)
	now := time.Now()
	a := jwttest.NewAccount(t)
	token := jwttest.Sign(t, e.op.Key, a, now.Add(-90*24*time.Hour), func(c *jwt.AccountClaims) {
		c.Expires = now.Add(12 * time.Hour).Unix()
	})
	r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/jwt/v1/accounts/%s", e.config.HTTP.Port, a.ID),
		"application/jwt", strings.NewReader(string(token)))
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err)
	}
	r.Body.Close()
	wantAlert(t, "NatsAccountExpiresTomorrow", 15*time.Minute, well, e.until(`accounts{expiry="1d"} 1`))
	e.broken = errors.New("not now")
	e.reload(func(*config.Config) {})
	wantAlert(t, "NatsAccountServerReloadFailed", 3*time.Minute, well,
		e.until("config_last_reload_successful 0"))
	e.until("files_behind 0")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	e.wantPush(e.op, http.StatusInternalServerError)
	gone := e.until(`ready{part="store"} 0`)
	wantAlert(t, "NatsAccountServerNotReady", 7*time.Minute, well, gone)
	wantAlert(t, "NatsAccountServerPushesFail", 4*time.Minute, well, gone)
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	e.until(`ready{part="store"} 1`)
}

func TestAnAlertFiresForAReplicaThatIsBehind(t *testing.T) {
	primary := newEnv(t)
	replica := newEnv(t, func(c *config.Config) {
		c.Operators, c.MaxPack, c.ReplicationTimeout = primary.config.Operators, 10, time.Second
		c.Primary = fmt.Sprintf("http://127.0.0.1:%d", primary.config.HTTP.Port)
	})
	replica.until(`ready{part="replica"} 1`)
	well := replica.scrape()
	primary.stop()
	primary.stop = func() {}
	// Nothing comes from the primary any more, so the instant stays.
	wantAlert(t, "NatsAccountServerReplicaBehind", 12*time.Minute, well, replica.scrape())
}
