package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestTheShippedNATSServerFilesStart starts a nats-server from each, as it stands but for its
// addresses and directories.
func TestTheShippedNATSServerFilesStart(t *testing.T) {
	t.Chdir("../..")
	natsPort := freePort(t)
	p := start(t, ".", nil, "-c", "conf/quickstart.conf", "-hp", "127.0.0.1:0", "-dir", t.TempDir(),
		"-nats", fmt.Sprintf("nats://127.0.0.1:%d", natsPort))
	url := p.url()
	for _, kind := range []string{"url", "full", "cache"} {
		content, err := os.ReadFile("conf/nats-server-" + kind + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("127.0.0.1:4222", fmt.Sprintf("127.0.0.1:%d", natsPort),
			"http://localhost:9090", url, "run/", t.TempDir()+"/").
			Replace(string(content))
		n := natstest.Start(t, text)
		p.wait("connected to NATS for JWT syncing")
		natstest.Stop(n)
	}
	p.term()
}

// fullResolverEnv is a nats-server that keeps every account, and the program as its peer.
type fullResolverEnv struct {
	*testEnv
	t    *testing.T
	port int
	kept string // the nats-server's directory
	a    *jwttest.Account
	user []byte
}

func newFullResolverEnv(t *testing.T) *fullResolverEnv {
	v := &fullResolverEnv{t: t, port: freePort(t), kept: t.TempDir(), a: jwttest.NewAccount(t)}
	v.testEnv = newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", v.port), "")
	v.user, _ = v.a.User(t)
	return v
}

func (v *fullResolverEnv) boot() *server.Server {
	v.t.Helper()
	return natstest.Start(v.t, fmt.Sprintf(`
		operator: %s
		system_account: %s
		resolver { type: full, dir: %q, interval: "1s" }
		resolver_preload { %s: %s }
		listen: 127.0.0.1:%d
		server_name: n1
	`, v.op.Token(v.t), v.op.System.ID, v.kept, v.op.System.ID, v.op.SystemAccount(v.t), v.port))
}

func (v *fullResolverEnv) runs(n *server.Server, url string, token []byte) {
	v.t.Helper()
	natstest.Eventually(v.t, "the nats-server keeps the JWT", func() bool {
		content, err := os.ReadFile(filepath.Join(v.kept, v.a.ID+".jwt"))
		return err == nil && string(content) == string(token)
	})
	natstest.Connect(v.t, n.ClientURL(), v.user, nats.NoReconnect()).Close()
}

func (v *fullResolverEnv) pushed(url string, ago time.Duration) []byte {
	v.t.Helper()
	token := jwttest.Sign(v.t, v.op.Signing, v.a, time.Now().Add(-ago))
	mustPush(v.t, url, v.a.ID, token)
	return token
}

// TestAnyOrderOfStartsWorks with a nats-server that keeps the accounts: each serves on while the
// other restarts, and what was pushed meanwhile arrives.
func TestAnyOrderOfStartsWorks(t *testing.T) {
	t.Parallel()
	v := newFullResolverEnv(t)
	n := v.boot() // before the program starts
	p, url := v.start(t)
	p.wait("connected to NATS for JWT syncing")
	v.runs(n, url, v.pushed(url, time.Hour))

	natstest.Stop(n)
	token := v.pushed(url, time.Minute) // while it is down
	n = v.boot()
	began := time.Now()
	v.runs(n, url, token)
	t.Logf("what was pushed while it was down arrived after %s", time.Since(began))

	p.term() // without the program, its clients come and go
	v.runs(n, url, token)
	system, _ := v.op.System.User(t)
	sys := natstest.Connect(t, n.ClientURL(), system)
	newer := jwttest.Sign(t, v.op.Signing, v.a, time.Now())
	if _, err := sys.Request("$SYS.REQ.CLAIMS.UPDATE", newer, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	natstest.Stop(n)
	n = v.boot() // alone
	v.runs(n, url, newer)
	p, url = v.start(t)
	natstest.Eventually(t, "we have what was pushed to the nats-server", func() bool {
		_, body := get(t, url+"/jwt/v1/accounts/"+v.a.ID)
		return body == string(newer)
	})
	p.term()
}

// TestAURLResolverDoesNotStartWithoutUs, which is why there is another way.
func TestAURLResolverDoesNotStartWithoutUs(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "")
	path := jwttest.File(t, t.TempDir(), "n.conf",
		[]byte(natstest.URLConf(t, s.op,
			fmt.Sprintf("http://127.0.0.1:%d/jwt/v1/accounts/", freePort(t)),
			"listen: 127.0.0.1:-1\n")))
	o, err := server.ProcessConfigFile(path)
	if err == nil {
		o.NoSigs, o.NoLog = true, true
		_, err = server.NewServer(o)
	}
	if err == nil {
		t.Error("it starts")
	}
}

// It does not ask after a restart, and is told when a user connects.
func TestACacheServesItsOwnCopyUntilAUserConnects(t *testing.T) {
	t.Parallel()
	v := newFullResolverEnv(t)
	dir := t.TempDir()
	boot := func() *server.Server {
		return natstest.Start(t, natstest.DirConf(t, v.op, "cache", dir,
			fmt.Sprintf("listen: 127.0.0.1:%d\nserver_name: n1\n", v.port)))
	}
	n := boot()
	p, url := v.start(t)
	p.wait("connected to NATS for JWT syncing")
	v.pushed(url, time.Hour)
	natstest.Connect(t, n.ClientURL(), v.user, nats.NoReconnect()).Close()
	natstest.Stop(n)
	gone := jwttest.Sign(t, v.op.Signing, v.a, time.Now(), func(c *jwt.AccountClaims) {
		c.RevokeAt("*", time.Now().Add(time.Minute))
	})
	mustPush(t, url, v.a.ID, gone)
	n = boot()
	natstest.Eventually(t, "the revoked user is not let in any more", func() bool {
		path := jwttest.File(t, t.TempDir(), "u.creds", v.user)
		nc, err := nats.Connect(n.ClientURL(), nats.UserCredentials(path), nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return errors.Is(err, nats.ErrAuthorization)
	})
	p.term()
}
