//go:build unix

package main_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// bucketCluster is three account servers with one bucket, which three nats-servers keep. All six are
// processes, and every line between them can be cut. Each account server also has a nats-server of
// its own in this process, so that it is known which of them told NATS what.
//
//	machine 0   account server ──links──> kv1, kv2, kv3     account server ──> probe
//	machine 1   account server ──links──> kv1, kv2, kv3     kv1 <──routes──> kv2, kv3
//	machine 2   account server ──links──> kv1, kv2, kv3
type bucketCluster struct {
	t        *testing.T
	op       *jwttest.Operator
	program  string // of the nats-servers
	machines []*machine
	routes   map[[2]int]*natstest.Relay // from the nats-server of one machine to another's
	admin    *nats.Conn                 // of the bucket's account; it goes through no relay
}

// machine is an account server and a nats-server that keeps the bucket.
type machine struct {
	number   int
	program  string // of the account server
	conf     string // of the nats-server
	kv       *process
	to       []*natstest.Relay // all to the nats-server; its port is another one after each start
	toRoutes []*natstest.Relay // all to its port for routes
	links    []*natstest.Relay // from the account server to the nats-server of each machine
	env      *testEnv
	run      atomic.Pointer[programRun]
	probe    *server.Server
	asked    *nats.Conn // of a system user, to the probe
}

// natsBinary is a nats-server of the version that the tests have, without the race detector.
var natsBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "nats-server")
	out, err := exec.Command("go", "build", "-o", path,
		"github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// bucketSecrets are the variables of conf/nats-server-bucket.conf.
var bucketSecrets = []string{"BUCKET_PASSWORD=secret", "ADMIN_PASSWORD=admin"}

// newBucketCluster starts the nats-servers. Each of the texts is what the section store.kv of one
// account server has beside the addresses. The account servers are not started.
func newBucketCluster(t *testing.T, kv ...string) *bucketCluster {
	t.Helper()
	return newBucketClusterOn(t, func(*machine) {}, kv...)
}

// newBucketClusterOn is newBucketCluster. It prepares each nats-server before that is started.
func newBucketClusterOn(t *testing.T, prepare func(*machine), kv ...string) *bucketCluster {
	t.Helper()
	program, err := natsBinary() // first: it may be built, and what there is would ask for it meanwhile
	must(t, err)
	c := &bucketCluster{t: t, op: jwttest.NewOperator(t), program: program,
		routes: map[[2]int]*natstest.Relay{}}
	for i := range kv {
		c.machines = append(c.machines, &machine{number: i,
			program: cmp.Or(os.Getenv("CLUSTER_PROGRAM"), binary)})
	}
	for _, m := range c.machines {
		for _, to := range c.machines {
			m.links = append(m.links, to.relay(t))
		}
		c.configureKV(m)
		c.configure(m, kv[m.number])
	}
	c.connectAdmin()
	for _, m := range c.machines {
		prepare(m)
		c.beginKV(m)
	}
	return c
}

// relay is a new line to the nats-server of a machine.
func (m *machine) relay(t *testing.T) *natstest.Relay {
	line := natstest.NewRelay(t, 0, nowhere)
	m.to = append(m.to, line)
	return line
}

// configureKV writes the configuration of the nats-server that keeps the bucket: the shipped file
// but for its addresses and its directory. What these nats-servers tell each other about their
// addresses leads nowhere, so that no connection goes around the relays.
func (c *bucketCluster) configureKV(m *machine) {
	c.t.Helper()
	var routes []string
	for _, to := range c.machines {
		if to != m {
			line := natstest.NewRelay(c.t, 0, nowhere)
			to.toRoutes = append(to.toRoutes, line)
			c.routes[[2]int{m.number, to.number}] = line
			routes = append(routes, line.URL())
		}
	}
	text := mustReadFile(c.t, "../../conf/nats-server-bucket.conf")
	_, shipped, _ := strings.Cut(text, "routes: [")
	shipped, _, _ = strings.Cut(shipped, "]")
	dir := c.t.TempDir()
	m.conf = jwttest.File(c.t, dir, "nats-server.conf", []byte(strings.NewReplacer(
		"server_name: kv1", "server_name: "+m.name(),
		"0.0.0.0:4222", "127.0.0.1:-1", "0.0.0.0:6222", "127.0.0.1:-1",
		"/var/lib/nats-bucket", filepath.Join(dir, "js"),
		"no_advertise: true", `no_advertise: true, pool_size: -1, advertise: "127.0.0.1:1"`,
		shipped, strings.Join(routes, ", "),
	).Replace(text)))
}

// jetstream is the directory of the bucket.
func (m *machine) jetstream() string { return filepath.Join(filepath.Dir(m.conf), "js") }

func (m *machine) name() string { return fmt.Sprintf("kv%d", m.number+1) }

// beginKV starts the nats-server of a machine and lets the lines lead to it.
func (c *bucketCluster) beginKV(m *machine) {
	c.t.Helper()
	m.kv = startOther(c.t, c.program, filepath.Dir(m.conf), bucketSecrets, "-c", m.conf)
	address := m.kv.wait(`Listening for client connections on (\S+)`)[1]
	for _, line := range m.to {
		line.Point(address)
	}
	address = m.kv.wait(`Listening for route connections on (\S+)`)[1]
	for _, line := range m.toRoutes {
		line.Point(address)
	}
}

// connectAdmin connects to the nats-servers of the bucket as a user who may do everything in it. No
// fault cuts these lines.
func (c *bucketCluster) connectAdmin() {
	c.t.Helper()
	var urls []string
	for _, m := range c.machines {
		urls = append(urls, m.relay(c.t).URL())
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.UserInfo("admin", "admin"), quiet,
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(1))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	c.admin = nc
}

// configure writes the configuration of the account server of a machine and starts its probe.
func (c *bucketCluster) configure(m *machine, kv string) {
	c.t.Helper()
	var creds []byte
	m.env, creds = filesOf(c.t, c.op)
	m.probe = natstest.Start(c.t, natstest.MemoryConf(c.t, c.op, natstest.AnyPort))
	m.asked = natstest.Connect(c.t, m.probe.ClientURL(), creds)
	m.env.conf = conf(c.t, m.env.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0 }
		store { dir: store, shard: true, kv { servers: [%s], %s } }
		nats { servers: [%q], usercredentials: sys.creds, reconnectwait: 100 }`,
		strings.Join(m.servers(), ", "), kv, m.probe.ClientURL())
}

// servers are the URLs of the links, with the password.
func (m *machine) servers() (urls []string) {
	for _, link := range m.links {
		urls = append(urls, fmt.Sprintf("%q",
			strings.Replace(link.URL(), "nats://", "nats://account-server:secret@", 1)))
	}
	return urls
}

// begin starts the account server of a machine. What its predecessor has told NATS has arrived
// before began.
func (c *bucketCluster) begin(m *machine) *programRun {
	c.t.Helper()
	natstest.Eventually(c.t, "the connection of the last process has ended", func() bool {
		return m.probe.NumClients() <= 1
	})
	if err := m.asked.Flush(); err != nil {
		c.t.Fatal(err)
	}
	l := &programRun{began: time.Now()}
	l.process = startOther(c.t, m.program, m.env.dir, nil, "-c", m.env.conf)
	l.url = l.process.url()
	m.run.Store(l)
	return l
}

// end ends the account server of a machine with a signal.
func (c *bucketCluster) end(m *machine, s syscall.Signal) {
	c.t.Helper()
	l := m.run.Load()
	l.leaving.Store(true)
	l.signal(s)
	if code := l.exited(); s == syscall.SIGTERM && code != 0 {
		c.t.Errorf("exit code %d after SIGTERM:\n%s", code, tail(l.log.String()))
	}
	if strings.Contains(l.log.String(), "DATA RACE") {
		c.t.Errorf("a data race:\n%s", l.log)
	}
}

// linesOf are the lines between a machine and the others: of its nats-server, and of the account
// servers.
func (c *bucketCluster) linesOf(m *machine) []*natstest.Relay {
	var lines []*natstest.Relay
	for _, other := range c.machines {
		if other != m {
			lines = append(lines, m.links[other.number], other.links[m.number],
				c.routes[[2]int{m.number, other.number}], c.routes[[2]int{other.number, m.number}])
		}
	}
	return lines
}

// leader is the machine whose nats-server leads the bucket; nil if none does.
func (c *bucketCluster) leader() *machine {
	name := c.streamInfo().Cluster.Leader
	for _, m := range c.machines {
		if m.name() == name {
			return m
		}
	}
	return nil
}
