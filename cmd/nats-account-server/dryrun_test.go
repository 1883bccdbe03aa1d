package main_test

import (
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// filesBelow returns the content of every file in a directory, but for the notes of its lock.
func filesBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".lock") {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Journal, index, directory, outbox and audit are what they were, whatever a dry run says.
func TestADryRunChangesNothingOnDisk(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "nats://127.0.0.1:1", "logging { audit: audit.log }")
	p, url := s.start(t)
	a, b, stranger := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewOperator(t)
	first := s.op.Account(t, a)
	mustPush(t, url, a.ID, first)
	later := time.Now().Add(time.Second)
	p.term()
	dryRuns := func(url string) {
		for _, c := range []struct {
			key    string
			token  []byte
			status int
			says   string
		}{
			{a.ID, first, 200, "is stored already"},
			{a.ID, jwttest.Sign(t, s.op.Signing, a, later, func(c *jwt.AccountClaims) { c.Name = "b" }),
				200, "would be stored"},
			{b.ID, s.op.Account(t, b), 200, "would be stored"},
			{a.ID, jwttest.Sign(t, s.op.Signing, a, later.Add(-time.Hour)), 409, "older: "},
			{a.ID, jwttest.Sign(t, stranger.Key, a, later), 400, "untrusted: "},
			{b.ID, first, 400, "mismatch: "},
			{"nonsense", first, 400, "mismatch: "},
			{a.ID, nil, 400, "bad-jwt: "},
		} {
			status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+c.key+"/dry-run", c.token)
			if status != c.status || !strings.Contains(body, c.says) {
				t.Errorf("want %d and %q: %d %s", c.status, c.says, status, body)
			}
		}
	}
	store, auditFile := filepath.Join(s.dir, "store"), filepath.Join(s.dir, "audit.log")
	audit := filesBelow(t, s.dir)[auditFile]
	// A start that comes two seconds after the last change may record the directory. The next one finds
	// nothing to record.
	natstest.Eventually(t, "a process that makes dry runs changes no file", func() bool {
		p, url := s.start(t) // all files are written, and the change is pending for nats-servers
		before := filesBelow(t, store)
		dryRuns(url)
		p.kill()
		if strings.Contains(p.log.String(), "updated JWT") {
			t.Errorf("the log has %s", p.log)
		}
		return maps.Equal(before, filesBelow(t, store))
	})
	if now := filesBelow(t, s.dir)[auditFile]; now != audit {
		t.Errorf("the audit has %q", now)
	}
	_, url = s.start(t)
	wantJWT(t, url, a.ID, first)
	if status, body := get(t, url+"/jwt/v1/accounts/"+b.ID); status != http.StatusNotFound {
		t.Errorf("%d %s", status, body)
	}
}
