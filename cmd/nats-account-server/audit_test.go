//go:build unix

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

// audited is an audit line.
type audited struct {
	Result, Reason, Address, Door, Account, Issuer string
	Old, New                                       *struct{ SHA256 string }
}

func readAudit(t *testing.T, path string) (all []audited) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var a audited
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		all = append(all, a)
	}
	return all
}

// It is renamed between pushes, once before SIGUSR1 and once before SIGHUP.
func TestTheAuditFileLosesNoLineWhileItIsRenamed(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "logging { audit: audit.log }")
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	path := filepath.Join(s.dir, "audit.log")
	accepted := 0
	push := func(n int) {
		t.Helper()
		for range n {
			token := s.op.Account(t, a, func(c *jwt.AccountClaims) {
				c.Name = fmt.Sprint("name ", accepted)
			})
			mustPush(t, url, a.ID, token)
			accepted++
		}
	}
	push(5)
	for i, sig := range []os.Signal{syscall.SIGUSR1, syscall.SIGHUP} {
		if err := os.Rename(path, fmt.Sprint(path, i)); err != nil {
			t.Fatal(err)
		}
		push(5) // into the renamed file
		p.signal(sig)
		p.wait("audit file reopened|configuration reloaded")
		push(5)
	}
	for _, bad := range []string{"junk", a.ID} {
		post(http.DefaultClient, url+"/jwt/v1/accounts/"+bad, []byte("x.y"))
	}
	post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, make([]byte, 2<<20))
	p.term()
	var all []audited
	for _, name := range []string{path + "0", path + "1", path} {
		all = append(all, readAudit(t, name)...)
	}
	if len(all) != accepted+3 {
		t.Fatalf("%d lines for %d pushes and three refusals", len(all), accepted)
	}
	for i, line := range all[:accepted] {
		if line.Result != "accepted" || line.Door != "http" || line.Account != a.ID ||
			!strings.HasPrefix(line.Address, "127.0.0.1:") || line.Issuer == "" {
			t.Errorf("%+v", line)
		}
		if i > 0 && (line.Old == nil || line.Old.SHA256 != all[i-1].New.SHA256) {
			t.Errorf("line %d does not follow from the one before", i)
		}
	}
	for i, reason := range []string{"bad-jwt", "bad-jwt", "too-large"} {
		if line := all[accepted+i]; line.Result != "refused" || line.Reason != reason {
			t.Errorf("%+v", line)
		}
	}
	if strings.Contains(p.log.String(), "audit {") {
		t.Error("audit lines are in the log as well")
	}
}

func TestWithoutAFileTheAuditIsInTheLog(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID, s.op.Account(t, a))
	p.wait(`audit \{"time":"[^"]+","result":"accepted","address":"127`)
	p.term()
}

func TestAnAuditFileThatCanNotBeOpenedIsAnError(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "logging { audit: nowhere/audit.log }")
	for _, flags := range [][]string{{"-c", s.conf}, {"-t", "-c", s.conf}} {
		p := start(t, s.dir, nil, flags...)
		if code := p.exited(); code != 1 ||
			!strings.Contains(p.log.String(), "nowhere/audit.log: no such file or directory") {
			t.Errorf("exit code %d\n%s", code, p.log)
		}
	}
	good := newEnv(t, "", "")
	p, url := good.start(t)
	_ = os.WriteFile(good.conf, fmt.Appendf(nil,
		"operatorjwtpath: op.jwt, store { dir: store, shard: true }, http { host: 127.0.0.1, "+
			"port: 0 }\nlogging { audit: nowhere/audit.log }"), 0o600)
	p.signal(syscall.SIGHUP)
	p.wait("the new configuration is refused, the old one goes on: error opening the audit file: " +
		".*nowhere/audit.log")
	if status, _ := get(t, url+"/jwt/v1/operator"); status != http.StatusOK {
		t.Error(status)
	}
	p.term()
}
