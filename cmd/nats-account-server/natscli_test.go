package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

const natscli = "v0.5.1"

// cli is natscli with a home of its own.
type cli struct {
	t          *testing.T
	path, home string
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	if os.Getenv("NATSCLI") == "" {
		jwttest.Lacks(t, "natscli", "make natscli builds it and runs the test")
	}
	path, err := build("nats", "github.com/nats-io/natscli/nats@"+natscli, natscli,
		func(path string) bool {
			out, err := exec.Command(path, "--version").CombinedOutput()
			return err == nil && strings.Contains(string(out), natscli)
		})
	if err != nil {
		jwttest.Lacks(t, "natscli", err)
	}
	return &cli{t: t, path: path, home: t.TempDir()}
}

// run fails the test if the command does.
func (c *cli) run(args ...string) string {
	c.t.Helper()
	run := exec.Command(c.path, args...)
	run.Env = append(os.Environ(), "HOME="+c.home, "XDG_DATA_HOME="+c.home,
		"XDG_CONFIG_HOME="+c.home)
	out, err := run.CombinedOutput()
	if err != nil {
		c.t.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// kept is a file of natscli's own store.
func (c *cli) kept(path string) []byte {
	c.t.Helper()
	content, err := os.ReadFile(filepath.Join(c.home, "nats/nsc/stores/OP", path))
	if err != nil {
		c.t.Fatal(err)
	}
	return content
}

// TestNatscliPushesAndPulls with the operator and the accounts that it has made, over NATS only.
// The nats-server asks the program, so only the program can store what is pushed. To build natscli
// takes two minutes of a processor, so only `make natscli` does; what natscli asks on the same
// subjects is in TestNSCPushesPullsAndDeletesOverNATS, which always runs.
func TestNatscliPushesAndPulls(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.run("auth", "operator", "add", "OP")
	c.run("auth", "account", "add", "ACC", "--defaults")
	c.run("auth", "user", "add", "sys", "SYSTEM", "--defaults")
	creds := filepath.Join(c.home, "sys.creds")
	c.run("auth", "user", "credential", creds, "sys", "SYSTEM")
	dir, port := t.TempDir(), freePort(t)
	operator := jwttest.File(t, dir, "op.jwt", c.kept("OP.jwt"))
	p := start(t, dir, nil, "-c", conf(t, dir, `
		operatorjwtpath: %q, systemaccountjwtpath: %q
		http { host: 127.0.0.1, port: 0 }
		store { dir: store }
		nats { servers: ["nats://127.0.0.1:%d"], usercredentials: %q, reconnectwait: 100 }`,
		operator, jwttest.File(t, dir, "sys.jwt",
			c.kept("accounts/SYSTEM/SYSTEM.jwt")), port, creds))
	url := p.url()
	natstest.Start(t, fmt.Sprintf("operator: %q\nresolver: URL(%s/jwt/v1/accounts/)\nlisten: "+
		"127.0.0.1:%d\nserver_name: n1\n", operator, url, port))
	p.wait("connected to NATS for JWT syncing")

	token := strings.TrimSpace(string(c.kept("accounts/ACC/ACC.jwt")))
	server := fmt.Sprintf("nats://127.0.0.1:%d", port)
	out := c.run("auth", "account", "push", "ACC", "--server", server, "--creds", creds)
	if !strings.Contains(out, "Failed 0") {
		t.Errorf("it says:\n%s", out)
	}
	var pack string // natscli waits for the nats-server only
	natstest.Eventually(t, "we have it too", func() bool {
		_, pack = get(t, url+"/jwt/v1/pack")
		return strings.HasSuffix(pack, "|"+token)
	})
	key, _, _ := strings.Cut(pack, "|")
	out = c.run("auth", "account", "query", key, "--server", server, "--creds", creds)
	if !strings.Contains(out, key) {
		t.Errorf("it says:\n%s", out)
	}
	p.term()
}
