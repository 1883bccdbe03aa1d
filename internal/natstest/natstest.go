// Package natstest runs real nats-servers in tests, each with a configuration text, and relays that
// can interrupt the connections to them.
package natstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	o, err := ProcessConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	if o.AuthTimeout == 0 { // for which a client must have sent its credentials
		o.AuthTimeout = 30
	}
	if o.TLSConfig != nil {
		o.TLSTimeout = 30
	}
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

// ProcessConfig reads a configuration file of nats-server, which waits for its URL resolver for two seconds.
// A busy machine may need more.
func ProcessConfig(path string) (*server.Options, error) {
	o, err := server.ProcessConfigFile(path)
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end) &&
		strings.Contains(err.Error(), "Client.Timeout exceeded"); {
		o, err = server.ProcessConfigFile(path)
	}
	return o, err
}

// Stop returns when the nats-server has ended.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// MemoryConf returns the configuration of a nats-server with a MEMORY resolver. It has the
// operator's system account and the given accounts. extra is appended and must have the address to
// listen on.
func MemoryConf(
	t testing.TB, o *jwttest.Operator, extra string, accounts ...*jwttest.Account,
) string {
	t.Helper()
	preload := fmt.Sprintf("%s: %s\n", o.System.ID, o.SystemAccount(t))
	for _, a := range accounts {
		preload += fmt.Sprintf("%s: %s\n", a.ID, o.Account(t, a))
	}
	return conf(t, o, "resolver: MEMORY\nresolver_preload {\n"+preload+"}\n"+extra)
}

// AnyPort lets a nats-server listen on any free port.
const AnyPort = "listen: 127.0.0.1:-1\n"

// URLConf returns the configuration of a nats-server with a URL resolver. extra is appended and
// must have the address to listen on.
func URLConf(t testing.TB, o *jwttest.Operator, url, extra string) string {
	t.Helper()
	return conf(t, o, fmt.Sprintf("resolver: URL(%s)\n%s", url, extra))
}

func conf(t testing.TB, o *jwttest.Operator, rest string) string {
	t.Helper()
	return fmt.Sprintf("operator: %s\nsystem_account: %s\n%s", o.Token(t), o.System.ID, rest)
}

// Cluster runs n nats-servers, named n1, n2, …, in one cluster. conf returns the configuration of
// one, with extra appended.
func Cluster(t testing.TB, n int, conf func(extra string) string) []*server.Server {
	t.Helper()
	var servers []*server.Server
	for i := range n {
		routes := ""
		if i > 0 {
			routes = fmt.Sprintf("routes: [nats-route://127.0.0.1:%d]",
				servers[0].ClusterAddr().Port)
		}
		const cluster = `cluster { name: c, listen: "127.0.0.1:-1", pool_size: -1, %s }`
		extra := fmt.Sprintf(AnyPort+"server_name: n%d\n"+cluster+"\n", i+1, routes)
		servers = append(servers, Start(t, conf(extra)))
	}
	waitFormed(t, servers)
	return servers
}

// waitFormed returns when each nats-server is connected to each other.
func waitFormed(t testing.TB, servers []*server.Server) {
	t.Helper()
	Eventually(t, "the cluster is formed", func() bool {
		return !slices.ContainsFunc(servers, func(s *server.Server) bool {
			return s.NumRoutes() < len(servers)-1
		})
	})
}

// Connect connects with a user's creds until the test ends.
func Connect(t testing.TB, url string, creds []byte, options ...nats.Option) *nats.Conn {
	t.Helper()
	path := jwttest.File(t, t.TempDir(), "user.creds", creds)
	return Dial(t, url, append([]nats.Option{nats.UserCredentials(path)}, options...)...)
}

// Dial connects until the test ends. On a busy machine that may fail at first: a nats-server waits less than
// two seconds for the account's JWT from a URL, and sends a PING meanwhile, which nats.go does not expect.
func Dial(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	all := append([]nats.Option{nats.Timeout(20 * time.Second)}, options...)
	nc, err := nats.Connect(url, all...)
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		nc, err = nats.Connect(url, all...)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// WantRefused fails the test unless a nats-server refuses a user. Another error may be that of a busy
// machine.
func WantRefused(t testing.TB, url string, creds []byte) {
	t.Helper()
	Eventually(t, "the user is refused", func() bool {
		nc, err := nats.Connect(url, nats.UserCredentialBytes(creds), nats.Timeout(20*time.Second))
		if err == nil {
			nc.Close()
			t.Error("the user is not refused")
		}
		return err == nil || errors.Is(err, nats.ErrAuthorization)
	})
}

// Eventually fails the test if a condition does not come true within half a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, 30*time.Second, what, ok)
}

// Within fails the test if a condition does not come true within some time. It asks less often the
// longer it waits, since many tests wait at once and to ask takes time of a processor.
func Within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); {
		waited := time.Since(began)
		if waited > limit {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(min(max(waited/10, 5*time.Millisecond), 50*time.Millisecond))
	}
}
