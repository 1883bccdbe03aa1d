package main_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// testEnv is an operator's files in a directory, and the program's configuration beside them.
type testEnv struct {
	op   *jwttest.Operator
	dir  string
	conf string
}

// newEnv configures the program with NATS at url, or without NATS.
func newEnv(t testing.TB, url, extra string) *testEnv {
	t.Helper()
	return newEnvOf(t, jwttest.NewOperator(t), url, extra)
}

// newEnvOf is newEnv for an operator.
func newEnvOf(t testing.TB, op *jwttest.Operator, url, extra string) *testEnv {
	t.Helper()
	s, _ := filesOf(t, op)
	if url != "" {
		extra += fmt.Sprintf("\nnats { servers: [%q], usercredentials: sys.creds, "+
			"reconnectwait: 100, connecttimeout: 3000 }", url)
	}
	s.conf = conf(t, s.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0 }
		store { dir: store, shard: true }
		%s`, extra)
	return s
}

// filesOf has the operator's files and the creds of a system user, and no configuration yet.
func filesOf(t testing.TB, op *jwttest.Operator) (s *testEnv, creds []byte) {
	t.Helper()
	s = &testEnv{op: op, dir: t.TempDir()}
	creds, _ = op.System.User(t)
	jwttest.File(t, s.dir, "op.jwt", []byte(op.Token(t)))
	jwttest.File(t, s.dir, "sys.jwt", op.SystemAccount(t))
	jwttest.File(t, s.dir, "sys.creds", creds)
	return s, creds
}

func (s *testEnv) start(t testing.TB, flags ...string) (*process, string) {
	t.Helper()
	p := start(t, s.dir, nil, append([]string{"-c", s.conf}, flags...)...)
	return p, p.url()
}

// withNATS starts a nats-server and the program, which asks each other for accounts and announce to
// each other.
func withNATS(t testing.TB, flags ...string) (*testEnv, *process, string, *server.Server) {
	t.Helper()
	port := freePort(t)
	s := newEnv(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "")
	p, url := s.start(t, flags...)
	n := natstest.Start(t, natstest.URLConf(t, s.op, url+"/jwt/v1/accounts/",
		fmt.Sprintf("listen: 127.0.0.1:%d\n", port)))
	p.wait("connected to NATS for JWT syncing") // it announces, and hears what is asked
	return s, p, url, n
}

// raw sends bytes and returns the status line of the answer.
func raw(t testing.TB, url, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
