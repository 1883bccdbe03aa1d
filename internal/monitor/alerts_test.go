package monitor_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"go.yaml.in/yaml/v3"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// expressions are what is asked of Prometheus, by what asks.
type expressions map[string]string

// rule is an alert rule.
type rule struct {
	Alert, Expr string
	Annotations map[string]string
}

// rules returns those of conf/alerts.yml.
func rules(t *testing.T) (all []rule) {
	content, err := os.ReadFile("../../conf/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// alertExpressions returns those of conf/alerts.yml.
func alertExpressions(t *testing.T) expressions {
	all := expressions{}
	for _, r := range rules(t) {
		all[r.Alert] = r.Expr
	}
	return all
}

func TestEachAlertNamesAPageOfTheManual(t *testing.T) {
	for _, r := range rules(t) {
		topic, found := strings.CutPrefix(r.Annotations["runbook"], "nats-account-server help ")
		if _, err := os.Stat("../manual/" + topic + ".md"); !found || err != nil {
			t.Errorf("%s: its runbook is %q", r.Alert, r.Annotations["runbook"])
		}
	}
}

// dashboardExpressions returns those of conf/grafana-dashboard.json.
func dashboardExpressions(t *testing.T) expressions {
	content, err := os.ReadFile("../../conf/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	all := expressions{}
	for _, p := range file.Panels {
		for _, target := range p.Targets {
			all[p.Title+": "+target.Expr] = target.Expr
		}
	}
	return all
}

var (
	seriesOf  = regexp.MustCompile(`\b(nats_account_server_\w+|process_\w+)(?:\{([^}]*)\})?`)
	matcherOf = regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`)
)

func TestEveryAlertAndPanelIsAboutSeriesThatExist(t *testing.T) {
	w := newWorld(t)
	w.push(func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(time.Hour).Unix() })
	w.store.Outbox().Register("n1", time.Now())
	text := w.scrape()
	for kind, all := range map[string]expressions{
		"alert": alertExpressions(t), "panel": dashboardExpressions(t),
	} {
		if len(all) < 15 {
			t.Errorf("only %d expressions of the kind %s", len(all), kind)
		}
		for name, expr := range all {
			for _, found := range seriesOf.FindAllStringSubmatch(expr, -1) {
				if missing := lacks(text, found[1], found[2]); missing != "" {
					t.Errorf("%s %s: there is no %s", kind, name, missing)
				}
			}
		}
	}
	if lacks(text, "nats_account_server_pushes_total", `result="lost"`) == "" ||
		lacks(text, "nats_account_server_push", "") == "" {
		t.Error("what does not exist is not noticed")
	}
}

// lacks returns the series or the label that the text of a scrape does not have, "" if it has both. The
// job comes from Prometheus.
func lacks(text, series, matchers string) string {
	lines := regexp.MustCompile(`(?m)^`+series+`[ {].*$`).FindAllString(text, -1)
	if lines == nil {
		return series
	}
	for _, m := range matcherOf.FindAllStringSubmatch(matchers, -1) {
		if m[1] == "job" {
			continue
		}
		for _, value := range strings.Split(m[3], "|") {
			if label := m[1] + `="` + value + `"`; !strings.Contains(strings.Join(lines, "\n"), label) {
				return series + "{" + label + "}"
			}
		}
	}
	return ""
}

func TestTheAlertsFireAndSayWhatIsWrong(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		jwttest.Lacks(t, "promtool", err)
	}
	out, err := exec.Command("promtool", "test", "rules", "../../testdata/alerts_test.yml").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// push stores an account.
func (w *world) push(edits ...func(*jwt.AccountClaims)) *jwttest.Account {
	w.t.Helper()
	a := jwttest.NewAccount(w.t)
	w.pushOf(a, edits...)
	return a
}

// pushOf stores a JWT of an account.
func (w *world) pushOf(a *jwttest.Account, edits ...func(*jwt.AccountClaims)) {
	w.t.Helper()
	_, err := w.registry.Put(w.t.Context(), a.ID, w.op.Account(w.t, a, edits...),
		accounts.Origin{Kind: accounts.KindHTTP, Address: "127.0.0.1:1"})
	if err != nil {
		w.t.Fatal(err)
	}
}
