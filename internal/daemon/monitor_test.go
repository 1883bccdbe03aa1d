package daemon_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"nats-account-server/internal/config"
	"nats-account-server/internal/natstest"
)

// statuses returns what two ports answer to a path; 0: nothing listens.
func (e *env) statuses(path string, ports ...int) string {
	e.t.Helper()
	text := ""
	for _, port := range ports {
		status := 0
		if r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path)); err == nil {
			status = r.StatusCode
			r.Body.Close()
		}
		text += fmt.Sprint(status, " ")
	}
	return strings.TrimSpace(text)
}

func TestAReloadMovesTheMonitorToAnotherPortAndBack(t *testing.T) {
	write := []config.Login{{User: "u", Hash: "$2a$04$............................................."}}
	e := newEnv(t, func(c *config.Config) { c.HTTP.Write, c.HTTP.Read = write, write })
	main, own, next := e.config.HTTP.Port, natstest.FreePort(t), natstest.FreePort(t)
	for _, step := range []struct {
		port                           int
		varz, readyz, healthz, account string
	}{
		{0, "401 0 0", "200 0 0", "200 0 0", "401 0 0"},
		{own, "404 200 0", "200 200 0", "200 200 0", "401 404 0"},
		{next, "404 0 200", "200 0 200", "200 0 200", "401 0 404"},
		{0, "401 0 0", "200 0 0", "200 0 0", "401 0 0"},
	} {
		wantText(t, e.reload(func(c *config.Config) { c.Monitor.Port = step.port }), reloaded)
		for path, want := range map[string]string{
			"/varz": step.varz, "/readyz": step.readyz, "/healthz": step.healthz,
			"/jwt/v1/accounts/": step.account,
		} {
			if path == "/readyz" {
				natstest.Eventually(t, path, func() bool { return e.statuses(path, main, own, next) == want })
			} else if got := e.statuses(path, main, own, next); got != want {
				t.Errorf("port %d: %s is %s, want %s", step.port, path, got, want)
			}
		}
	}
	// One that can't be listened on leaves everything as it was.
	log := e.reload(func(c *config.Config) { c.Monitor.Port = main })
	wantText(t, log, "monitor: ")
	if got := e.statuses("/varz", main); got != "401" {
		t.Errorf("varz is %s", got)
	}
}
