// Package natstest runs real nats-servers inside tests, configured from text as a user would, and relays that cut
// the connections to them.
package natstest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
)

// Start runs a nats-server on the configuration text until the test ends.
func Start(t testing.TB, conf string) *server.Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats-server.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { Stop(s) })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("nats-server does not get ready")
	}
	return s
}

// Stop returns when the nats-server has ended.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// MemoryConf is the configuration of a nats-server of the operator that knows its accounts by heart: the system
// account and those given. extra is appended and says where it
// listens.
func MemoryConf(t testing.TB, o *jwttest.Operator, extra string, accounts ...*jwttest.Account) string {
	t.Helper()
	preload := fmt.Sprintf("%s: %s\n", o.System.ID, o.SystemAccount(t))
	for _, a := range accounts {
		preload += fmt.Sprintf("%s: %s\n", a.ID, o.Account(t, a))
	}
	return conf(t, o, "resolver: MEMORY\nresolver_preload {\n"+preload+"}\n"+extra)
}

// AnyPort lets a nats-server listen on any free port.
const AnyPort = "listen: 127.0.0.1:-1\n"

// URLConf is the configuration of a nats-server of the operator that asks an account server for its accounts.
func URLConf(t testing.TB, o *jwttest.Operator, url, extra string) string {
	t.Helper()
	return conf(t, o, fmt.Sprintf("resolver: URL(%s)\n%s", url, extra))
}

func conf(t testing.TB, o *jwttest.Operator, rest string) string {
	t.Helper()
	return fmt.Sprintf("operator: %s\nsystem_account: %s\n%s", o.Token(t), o.System.ID, rest)
}

// Cluster runs n nats-servers named n1, n2, … in one cluster.
func Cluster(t testing.TB, n int, conf func(extra string) string) []*server.Server {
	t.Helper()
	var servers []*server.Server
	for i := range n {
		routes := ""
		if i > 0 {
			routes = fmt.Sprintf("routes: [nats-route://127.0.0.1:%d]", servers[0].ClusterAddr().Port)
		}
		servers = append(servers, Start(t, conf(fmt.Sprintf(
			AnyPort+"server_name: n%d\ncluster { name: c, listen: \"127.0.0.1:-1\", pool_size: -1, %s }\n", i+1, routes))))
	}
	Eventually(t, "the cluster is formed", func() bool {
		for _, s := range servers {
			if s.NumRoutes() < n-1 {
				return false
			}
		}
		return true
	})
	return servers
}

// Connect connects with a user's creds until the test ends.
func Connect(t testing.TB, url string, creds []byte, options ...nats.Option) *nats.Conn {
	t.Helper()
	path := jwttest.File(t, t.TempDir(), "user.creds", creds)
	nc, err := nats.Connect(url, append([]nats.Option{nats.UserCredentials(path)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Eventually fails the test if a condition does not come true within half a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// FreePort is a port that nobody listens on at this moment.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
