package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// cluster is an account server and a cluster of three nats-servers. Every line between them can be
// cut.
//
//	users ──> n1 resolver URL ───HTTP──> account server ──links──> n1, n2, n3
//	users ──> n2 resolver full
//	users ──> n3 resolver cache           n1, n2, n3 <──routes──> each other
type cluster struct {
	t         *testing.T
	env       *testEnv
	nodes     []*node
	httpRelay *natstest.Relay // n1 asks the account server through it
	run       atomic.Pointer[programRun]
}

// programRun is one process of the account server.
type programRun struct {
	*process
	url      string
	began    time.Time
	leaving  atomic.Bool                // set before it is told to end
	requests atomic.Int64               // made to it
	stood    atomic.Pointer[standstill] // when it last stood still; nil: never
}

// standstill is when a process stood still. It had begun to by begin, and went on after end.
type standstill struct{ begin, end time.Time }

// node is one of the nats-servers. Its relays have the same ports as long as the test lasts.
type node struct {
	name  string
	conf  func(extra string) string
	link  *natstest.Relay // to it, for the account server
	users *natstest.Relay // to it, for users
	in    []*natstest.Relay
	out   []*natstest.Relay // routes that it dials
	now   *server.Server
}

const nowhere = "nats://127.0.0.1:1"

func newCluster(t *testing.T) *cluster {
	t.Helper()
	w := &cluster{t: t}
	w.env, _ = filesOf(t, jwttest.NewOperator(t))
	w.httpRelay = natstest.NewRelay(t, 0, nowhere)
	asked := strings.Replace(w.httpRelay.URL(), "nats://", "http://", 1) + "/jwt/v1/accounts/"
	dir := t.TempDir()
	w.addNode("n1", func(extra string) string {
		return natstest.URLConf(t, w.env.op, asked, extra)
	})
	w.addNode("n2", func(extra string) string {
		return natstest.DirConf(t, w.env.op, "full", filepath.Join(dir, "full"), extra)
	})
	w.addNode("n3", func(extra string) string {
		return natstest.DirConf(t, w.env.op, "cache", filepath.Join(dir, "cache"), extra)
	})
	w.configure(settings{})
	w.begin() // first: n1 fetches its system account when it starts
	for _, n := range w.nodes {
		w.startNode(n)
	}
	natstest.Eventually(t, "the cluster is formed", func() bool {
		return w.nodes[0].now.NumRoutes() == 2 && w.nodes[1].now.NumRoutes() == 2 &&
			w.nodes[2].now.NumRoutes() == 2
	})
	return w
}

func (w *cluster) addNode(name string, conf func(extra string) string) {
	n := &node{name: name, conf: conf, link: natstest.NewRelay(w.t, 0, nowhere),
		users: natstest.NewRelay(w.t, 0, nowhere)}
	for _, earlier := range w.nodes {
		line := natstest.NewRelay(w.t, 0, nowhere)
		earlier.in = append(earlier.in, line)
		n.out = append(n.out, line)
	}
	w.nodes = append(w.nodes, n)
}

// startNode starts a nats-server and lets its lines lead to it. What nats-servers tell each other
// about their addresses leads nowhere, so that no connection goes around the relays.
func (w *cluster) startNode(n *node) {
	w.t.Helper()
	var routes []string
	for _, line := range n.out {
		routes = append(routes, strings.Replace(line.URL(), "nats://", "nats-route://", 1))
	}
	n.now = natstest.Start(w.t, n.conf(natstest.AnyPort+fmt.Sprintf(`
		server_name: %s
		cluster {
			name: c, listen: "127.0.0.1:-1", advertise: "127.0.0.1:1", no_advertise: true, pool_size: -1
			routes: [%s]
		}
		`, n.name, strings.Join(routes, ", "))))
	n.link.Point(n.now.ClientURL())
	n.users.Point(n.now.ClientURL())
	for _, line := range n.in {
		line.Point("nats://" + n.now.ClusterAddr().String())
	}
}

// routes are the lines between a nats-server and the others.
func (n *node) routes() []*natstest.Relay { return append(n.in[:len(n.in):len(n.in)], n.out...) }

// settings is what a reload may change.
type settings struct {
	trace, debug  bool
	readTimeout   int // ms, 0: the default
	reconnectWait int // ms, 0: 100
	broken        bool
}

// configure writes the account server's configuration.
func (w *cluster) configure(s settings) {
	w.t.Helper()
	var links []string
	for _, n := range w.nodes {
		links = append(links, fmt.Sprintf("%q", n.link.URL()))
	}
	timeouts := ""
	if s.readTimeout > 0 {
		timeouts = fmt.Sprintf(", readtimeout: %d, writetimeout: %d", s.readTimeout, s.readTimeout)
	}
	rest := ""
	if s.broken {
		rest = "http {"
	}
	w.env.conf = conf(w.t, w.env.dir, `
		operatorjwtpath: op.jwt, systemaccountjwtpath: sys.jwt
		http { host: 127.0.0.1, port: 0%s }
		logging { colors: false, trace: %t, debug: %t }
		store { dir: store, shard: true }
		nats { servers: [%s], usercredentials: sys.creds, reconnectwait: %d, connecttimeout: 2000 }
		%s`, timeouts, s.trace, s.debug, strings.Join(links, ", "), max(s.reconnectWait, 100), rest)
}

// begin starts the account server.
func (w *cluster) begin() *programRun {
	w.t.Helper()
	l := &programRun{began: time.Now()}
	l.process, l.url = w.env.start(w.t)
	w.httpRelay.Point(strings.TrimPrefix(l.url, "http://"))
	w.run.Store(l)
	return l
}

// end ends the account server with a signal and looks at what it leaves behind.
func (w *cluster) end(s syscall.Signal) {
	w.t.Helper()
	l := w.run.Load()
	l.leaving.Store(true)
	l.signal(s)
	code := l.exited()
	if s == syscall.SIGTERM && code != 0 {
		w.t.Errorf("exit code %d after SIGTERM:\n%s", code, tail(l.log.String()))
	}
	w.inspect(l, s)
}

// inspect reads the log of a process that has ended.
func (w *cluster) inspect(l *programRun, end syscall.Signal) {
	w.t.Helper()
	log := l.log.String()
	for _, word := range []string{"DATA RACE", "panic", "fatal error"} {
		if at := strings.Index(log, word); at >= 0 {
			w.t.Errorf("%q in the log:\n%s", word, log[at:min(len(log), at+8000)])
		}
	}
	if end == syscall.SIGQUIT {
		return // the rest of it is the goroutines
	}
	seconds := int64(time.Since(l.began).Seconds())
	if most := 2000 + 8*l.requests.Load() + 100*seconds; int64(strings.Count(log, "\n")) > most {
		w.t.Errorf("%d lines in the log for %d requests in %d seconds:\n%s",
			strings.Count(log, "\n"), l.requests.Load(), seconds, tail(log))
	}
}

// tail is the end of a log.
func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// descriptors are the files and sockets that the process has open.
func (l *programRun) descriptors() []string {
	dir := fmt.Sprintf("/proc/%d/fd", l.cmd.Process.Pid)
	entries, _ := os.ReadDir(dir)
	var open []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open = append(open, to)
		}
	}
	return open
}

// resident is how much memory the process uses, in MiB.
func (l *programRun) resident() (mib int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &mib); err == nil {
			return mib / 1024
		}
	}
	return 0
}
