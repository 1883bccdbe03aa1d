package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"nats-account-server/internal/natstest"
)

// accountServer is the path of the built account server.
var accountServer string

func TestMain(m *testing.M) { os.Exit(withAccountServer(m.Run)) }

// withAccountServer builds the account server and removes it after the tests.
func withAccountServer(tests func() int) int {
	dir, err := os.MkdirTemp("", "demo-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	accountServer = filepath.Join(dir, "nats-account-server")
	build := exec.Command("go", "build", "-o", accountServer, "nats-account-server/cmd/nats-account-server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as `make build` has it
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s", out)
		return 1
	}
	return tests()
}

func TestTheStoryCanBePlayedTwice(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for range 2 {
		var out strings.Builder
		if err := story(t.Context(), &out, accountServer); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		for _, want := range []string{"not in use on the only nats-server", "one pizza",
			"acknowledged by 1 of 1 nats-server", "thrown out: nats: authentication revoked",
			"refused: nats: Authorization Violation", "409 Conflict: a newer JWT is stored"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, &out)
			}
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTheStoryEndsWhenItIsStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := story(ctx, &strings.Builder{}, accountServer); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// together returns what `demo run` starts, on free ports.
func together(t *testing.T) (q quick, natsAddress string) {
	t.Helper()
	http := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	nats := fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	dir := t.TempDir()
	s := &scene{out: &strings.Builder{}, dir: dir}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	conf, err := write(dir, "nats-server.conf", fmt.Appendf(nil,
		"listen: %q\nserver_name: n1\noperator: %q\nresolver: URL(http://%s/jwt/v1/accounts/)\n", nats,
		filepath.Join(dir, "op.jwt"), http))
	if err != nil {
		t.Fatal(err)
	}
	account := exec.Command(accountServer, "-operator", "op.jwt", "-dir", "store", "-hp", http, "-nats",
		"nats://"+nats, "-creds", "sys.creds")
	account.Dir = dir
	return quick{account: account, url: "http://" + http, natsConf: conf,
		natsLog: filepath.Join(dir, "nats-server.log"), hint: "HINT"}, nats
}

// stopMyself sends SIGTERM to this process, which run catches.
func stopMyself(t *testing.T) {
	t.Helper()
	me, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := me.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestBothServersRunUntilASignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	q, nats := together(t)
	// The account server pushes a system account to itself: nats-server needs one to start.
	system := filepath.Join(q.account.Dir, "sys.jwt")
	conf, err := write(q.account.Dir, "server.conf", fmt.Appendf(nil, "systemaccountjwtpath: %q", system))
	if err != nil {
		t.Fatal(err)
	}
	q.account.Args = append(q.account.Args, "-c", conf)
	var out natstest.Log
	ended := make(chan error, 1)
	go func() { ended <- run(q, &out) }()
	natstest.Eventually(t, "the nats-server is found", func() bool { return out.Count("HINT") > 0 })
	stopMyself(t)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if answers(nats) || answers(strings.TrimPrefix(q.url, "http://")) {
		t.Error("a server still listens")
	}
}

func TestANatsServerThatIsThereIsUsed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	q, nats := together(t)
	there, err := net.Listen("tcp", nats)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	var out natstest.Log
	ended := make(chan error, 1)
	go func() { ended <- run(q, &out) }()
	natstest.Eventually(t, "that is said", func() bool {
		return out.Count("so no nats-server is started here") > 0
	})
	stopMyself(t)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheNatsServerEndsWithTheAccountServer(t *testing.T) {
	q, nats := together(t)
	q.account.Args = append(q.account.Args, "-c", "none.conf")
	err := run(q, &natstest.Log{})
	if err == nil || !strings.Contains(err.Error(), "the account server has ended: exit status 1") {
		t.Error(err)
	}
	if answers(nats) {
		t.Error("the nats-server still listens")
	}
}
