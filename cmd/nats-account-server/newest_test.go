package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
)

// TestAnOlderJWTNeverReplacesANewerOne, whatever happens to keys, files and the process in between.
func TestAnOlderJWTNeverReplacesANewerOne(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	p, url := s.start(t)
	now := time.Now()
	a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
	v1 := jwttest.Sign(t, s.op.Key, a, now.Add(-time.Hour))
	v2 := jwttest.Sign(t, s.op.Signing, a, now)
	first := jwttest.Sign(t, s.op.Key, b, now)
	second := jwttest.Sign(t, s.op.Key, b, now, func(c *jwt.AccountClaims) { c.Name = "revoked" })
	old := jwttest.Sign(t, s.op.Key, c, now.Add(-time.Minute))
	pushes := func(account *jwttest.Account, token []byte, want int) {
		t.Helper()
		status, body := post(http.DefaultClient, url+"/jwt/v1/accounts/"+account.ID, token)
		if status != want {
			t.Errorf("%d %s", status, body)
		}
	}
	serves := func(account *jwttest.Account, want []byte) {
		t.Helper()
		if status, body := get(t, url+"/jwt/v1/accounts/"+account.ID); body != string(want) {
			t.Errorf("it serves %d %s", status, body)
		}
	}
	pushes(a, v1, 200)
	pushes(a, v2, 200)
	pushes(b, first, 200)
	pushes(b, second, 200)
	pushes(b, first, 409) // it was replaced within its second
	pushes(c, old, 200)
	// The account of a crash that its file is not written yet, and a newer file comes from
	// elsewhere.
	p.kill()
	newer := jwttest.Sign(t, s.op.Key, c, now)
	file := filepath.Join(s.dir, "store", c.ID[len(c.ID)-2:], c.ID+".jwt")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	p, url = s.start(t)
	serves(c, newer)
	pushes(c, old, 409)
	pushes(b, first, 409)
	// The key that signed v2 is taken out.
	s.op.Claims.SigningKeys = nil
	jwttest.File(t, s.dir, "op.jwt", []byte(s.op.Token(t)))
	jwttest.File(t, s.dir, "sys.jwt", jwttest.Sign(t, s.op.Key, s.op.System, time.Now()))
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	pushes(a, v1, 409)
	p.term()
	// The index is lost: it is made anew, and the log says so.
	index := filepath.Join(s.dir, "store", ".journal", "index")
	if err := os.WriteFile(index, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, url = s.start(t)
	pushes(a, v1, 409)
	serves(b, second)
	serves(c, newer)
	if !strings.Contains(p.log.String(), "the index is made anew") {
		t.Errorf("the log does not say that the index was lost:\n%s", p.log.String())
	}
	p.term()
}
