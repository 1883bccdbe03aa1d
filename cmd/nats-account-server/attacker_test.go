package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// The tests in this file are "What an attacker can do" in the manual, position by position.

// target is a running program with one account whose JWT was changed: its first JWT has leaked.
type target struct {
	*testEnv
	p      *process
	url    string
	a      *jwttest.Account
	old    []byte // operator-signed, an hour older than what is stored
	stored []byte
}

func newTarget(t *testing.T, natsURL string) *target {
	s := newEnv(t, natsURL, "")
	p, url := s.start(t)
	x := &target{testEnv: s, p: p, url: url, a: jwttest.NewAccount(t)}
	x.old = jwttest.Sign(t, s.op.Signing, x.a, time.Now().Add(-time.Hour))
	x.stored = s.op.Account(t, x.a, func(c *jwt.AccountClaims) { c.Name = "changed" })
	for _, token := range [][]byte{x.old, x.stored} {
		if status, body := post(http.DefaultClient, x.path(x.a), token); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	return x
}

func (x *target) path(a *jwttest.Account) string { return x.url + "/jwt/v1/accounts/" + a.ID }

// unharmed sees that the account's JWT is the stored one, and that nothing else lies in the store.
func (x *target) unharmed(t *testing.T) {
	t.Helper()
	if status, body := get(t, x.path(x.a)); status != http.StatusOK || body != string(x.stored) {
		t.Errorf("the stored JWT is now %d %s", status, body)
	}
	_ = filepath.WalkDir(filepath.Join(x.dir, "store"),
		func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".jwt") &&
				filepath.Base(path) != x.a.ID+".jwt" {
				t.Errorf("%s was stored", path)
			}
			return nil
		})
}

func TestAnAttackerOnTheNetwork(t *testing.T) {
	t.Parallel()
	x := newTarget(t, "")
	stranger := jwttest.NewOperator(t)
	another := jwttest.NewAccount(t)
	for _, c := range []struct {
		name  string
		to    *jwttest.Account
		token []byte
	}{
		{"signed by another operator", x.a, stranger.Account(t, x.a)},
		{"signed by the account itself", x.a, jwttest.Sign(t, x.a.Key, x.a, time.Now())},
		{"signed by another account", x.a, jwttest.Sign(t, another.Key, x.a, time.Now())},
		{"with another signature", x.a, jwttest.Flip(x.stored)},
		{"with another payload", x.a, tampered(x.stored, x.old)},
		{"with a line break in the signature", x.a,
			append(x.stored[:len(x.stored)-3:len(x.stored)-3],
				append([]byte("\n"), x.stored[len(x.stored)-3:]...)...)},
		{"of another account", another, x.stored},
		{"that is none", x.a, []byte("AAAA|BBBB")},
		{"that is older", x.a, x.old},
		{"that is empty", another, nil},
	} {
		if status, body := post(http.DefaultClient, x.path(c.to), c.token); status < 400 ||
			status >= 500 {
			t.Errorf("a JWT %s: %d %s", c.name, status, body)
		}
	}
	if status, _ := get(t, x.url+"/jwt/v1/accounts/"); status != http.StatusOK {
		t.Error("the probe does not answer")
	} else if _, body := get(t, x.url+"/jwt/v1/accounts/"); body != "" {
		t.Errorf("accounts are listed: %s", body)
	}
	for _, path := range []string{"/jwt/v1/accounts/..%2f..%2fop.jwt", "/../op.jwt",
		"/jwt/v1/accounts/%0a2026/01/01%20[INF]%20forged"} {
		got := raw(t, x.url, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if !strings.Contains(got, "404") && !strings.Contains(got, "301") {
			t.Errorf("%s: %s", path, got)
		}
	}
	x.unharmed(t)
	x.p.term()
	if strings.Contains(x.p.log.String(), "\n2026/01/01") {
		t.Error("a log line was forged")
	}
}

// tampered puts the payload of one JWT between header and signature of another.
func tampered(outside, inside []byte) []byte {
	o, i := strings.Split(string(outside), "."), strings.Split(string(inside), ".")
	return []byte(o[0] + "." + i[1] + "." + o[2])
}

func TestAnAttackerWithAnOldJWT(t *testing.T) {
	t.Parallel()
	x := newTarget(t, "")
	status, body := post(http.DefaultClient, x.path(x.a), x.old)
	if status != http.StatusConflict || !strings.Contains(body, "a newer JWT is stored") {
		t.Errorf("%d %s", status, body)
	}
	x.unharmed(t)
	x.p.term()
	p, url := x.start(t) // nor after a restart
	x.p, x.url = p, url
	if status, _ := post(http.DefaultClient, x.path(x.a), x.old); status != http.StatusConflict {
		t.Error(status)
	}
	x.unharmed(t)
	x.p.term()
}

func TestAnAttackerInTheSystemAccount(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	x := newTarget(t, fmt.Sprintf("nats://127.0.0.1:%d", port))
	n := natstest.Start(t, natstest.URLConf(t, x.op, x.url+"/jwt/v1/accounts/",
		fmt.Sprintf("server_name: n1\nlisten: 127.0.0.1:%d\n", port)))
	x.p.wait("connected to NATS")
	user, _ := x.a.User(t)
	natstest.Connect(t, n.ClientURL(), user, nats.MaxReconnects(0))
	system, _ := x.op.System.User(t)
	nc := natstest.Connect(t, n.ClientURL(), system)
	for name, token := range map[string][]byte{
		"an older JWT": x.old, "a foreign one": jwttest.NewOperator(t).Account(t, x.a),
		"garbage": []byte("x"), "nothing": nil,
	} {
		for _, subject := range []string{"$SYS.ACCOUNT." + x.a.ID, "$SYS.REQ.ACCOUNT." + x.a.ID} {
			if err := nc.Publish(subject+".CLAIMS.UPDATE", token); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for _, subject := range []string{"$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE",
		"$SYS.REQ.CLAIMS.PACK"} {
		_ = nc.Publish(subject, x.old)
	}
	_ = nc.Flush()
	x.p.wait("the stored one is announced again")
	natstest.Eventually(t, "n1 runs the stored JWT", func() bool {
		return running(t, x.url, x.a.ID) == "connected [] true"
	})
	x.unharmed(t)
	// What it can do is lie about what nats-servers have acknowledged.
	if _, err := nc.Subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"server":{"name":"ghost","id":"NG","ver":"2.15.2"},` +
			`"data":{"message":"jwt updated"}}`))
	}); err != nil {
		t.Fatal(err)
	}
	_ = nc.Flush()
	natstest.Eventually(t, "the ghost is believed", func() bool {
		// The same JWT is announced every five seconds at most, so one push may not be enough.
		if status, body := post(http.DefaultClient, x.path(x.a), x.stored); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
		for _, to := range delivery(t, x.url, x.a.ID).Acknowledged {
			if to.Server == "ghost" {
				return to.Runs.State == "no answer" // but it can't show what it runs
			}
		}
		return false
	})
	x.p.term()
}

func TestAnAttackerWithASigningKey(t *testing.T) {
	t.Parallel()
	x := newTarget(t, "")
	mine := jwttest.NewAccount(t)
	future := jwttest.Sign(t, x.op.Signing, x.a, time.Now().Add(time.Hour))
	if status, body := post(http.DefaultClient, x.path(x.a), future); status != http.StatusBadRequest {
		t.Errorf("from the future: %d %s", status, body)
	}
	status, body := post(http.DefaultClient, x.path(mine),
		jwttest.Sign(t, x.op.Signing, mine, time.Now()))
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	healthy := jwttest.NewAccount(t)
	status, body = post(http.DefaultClient, x.path(healthy),
		jwttest.Sign(t, x.op.Key, healthy, time.Now()))
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	// The operator takes the key out of its JWT.
	x.op.Claims.SigningKeys = nil
	jwttest.File(t, x.dir, "op.jwt", []byte(x.op.Token(t)))
	jwttest.File(t, x.dir, "sys.jwt", jwttest.Sign(t, x.op.Key, x.op.System, time.Now()))
	x.p.signal(syscall.SIGHUP)
	x.p.wait("configuration reloaded")
	status, _ = post(http.DefaultClient, x.path(mine),
		jwttest.Sign(t, x.op.Signing, mine, time.Now().Add(time.Second)))
	if status != http.StatusBadRequest {
		t.Errorf("the key is still accepted: %d", status)
	}
	if status, _ := get(t, x.path(mine)); status != http.StatusInternalServerError {
		t.Errorf("what it signed is still served: %d", status)
	}
	if status, _ := get(t, x.path(healthy)); status != http.StatusOK {
		t.Errorf("what the operator signed is not served: %d", status)
	}
	status, _ = post(http.DefaultClient, x.path(mine), jwttest.Sign(t, x.op.Key, mine, time.Now()))
	if status != http.StatusOK {
		t.Errorf("the operator can't repair it: %d", status)
	}
	x.p.term()
}

func TestAnAttackerWithTheReadPassword(t *testing.T) {
	t.Parallel()
	login := func(user string) string {
		hash, err := bcrypt.GenerateFromPassword([]byte("secret of "+user), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("{ user: %s, password: %q }", user, hash)
	}
	s := newEnv(t, "", fmt.Sprintf("http { authorization { write: %s, read: %s } }", login("ops"),
		login("nats")))
	p, url := s.start(t)
	as := func(user string) string {
		return strings.Replace(url, "http://",
			"http://"+user+":"+strings.ReplaceAll("secret of "+user, " ", "%20")+"@", 1)
	}
	x := &target{testEnv: s, p: p, url: as("ops"), a: jwttest.NewAccount(t)}
	x.stored = s.op.Account(t, x.a)
	if status, body := post(http.DefaultClient, x.path(x.a), x.stored); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	newer := jwttest.Sign(t, s.op.Key, x.a, time.Now().Add(time.Second))
	for _, c := range []struct {
		url        string
		push, read int
	}{
		{as("nats"), http.StatusForbidden, http.StatusOK},
		{url, http.StatusUnauthorized, http.StatusUnauthorized},
		{strings.Replace(url, "http://", "http://nats:guess@", 1), http.StatusUnauthorized,
			http.StatusUnauthorized},
	} {
		path := c.url + "/jwt/v1/accounts/" + x.a.ID
		if status, body := post(http.DefaultClient, path, newer); status != c.push {
			t.Errorf("push: %d %s", status, body)
		}
		if status, _ := get(t, path); status != c.read {
			t.Errorf("read: %d", status)
		}
	}
	x.unharmed(t)
	x.p.term()
	if strings.Contains(x.p.log.String(), "secret") {
		t.Error("a password is in the log")
	}
}
