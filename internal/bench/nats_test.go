package bench_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/bench"
	"nats-account-server/internal/natstest"
)

// natsServers are nats-servers in a process of their own, each with a URL resolver.
type natsServers struct {
	*child
	urls []string
}

// startNATS starts nats-servers that fetch accounts from an account server at address, which need
// not run yet. Without cluster no two of them are connected.
func startNATS(t *testing.T, f *fixture, address string, n int, cluster bool) *natsServers {
	t.Helper()
	// A nats-server starts only if the URL of its resolver answers, and has the system account.
	l, err := net.Listen("tcp", address)
	check(t, err)
	system := read(t, f.path("system"))
	standIn := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == accountPath(f.system) {
			_, _ = w.Write(system)
		}
	})}
	go func() { _ = standIn.Serve(l) }()
	defer standIn.Close()
	conf := fmt.Sprintf("operator: %q\nsystem_account: %s\nresolver: URL(\"http://%s%s\")\n",
		f.path("operator"), f.system, address, accountPath(""))
	line, err := json.Marshal(natsOptions{Dir: f.dir, Conf: conf, Servers: n, Cluster: cluster})
	check(t, err)
	s := &natsServers{child: startChild(t, "TestNATSServers", string(line))}
	check(t, json.Unmarshal([]byte(s.answer()), &s.urls))
	return s
}

// load lets each nats-server load the first accounts of the fixture.
func (s *natsServers) load(accounts int) {
	s.t.Helper()
	s.ask(natsCommand{Load: accounts})
}

// fetch lets all nats-servers fetch the first accounts of the fixture at once, each one account at
// a time, from the HTTP server at address.
func (s *natsServers) fetch(address string, accounts int) (f fetches) {
	s.t.Helper()
	answer := s.ask(natsCommand{Fetch: accounts, URL: "http://" + address + accountPath("")})
	check(s.t, json.Unmarshal([]byte(answer), &f))
	return f
}

func (s *natsServers) ask(c natsCommand) (answer string) {
	s.t.Helper()
	line, err := json.Marshal(c)
	check(s.t, err)
	s.tell(string(line))
	return s.answer()
}

// connect connects a user of the system account until the test ends.
func (s *natsServers) connect(t *testing.T, f *fixture) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.urls[0], nats.UserCredentials(f.path("creds")),
		nats.Timeout(20*time.Second))
	check(t, err)
	t.Cleanup(conn.Close)
	return conn
}

// natsOptions is the first line of TestNATSServers's input.
type natsOptions struct {
	Dir, Conf string // Dir is the fixture's
	Servers   int
	Cluster   bool
}

// natsCommand is each further line. Load and Fetch are how many accounts are meant; one of them is
// 0.
type natsCommand struct {
	Load, Fetch int
	URL         string
}

// fetches are the times that nats-servers took to fetch accounts, in milliseconds.
type fetches struct {
	Median, P99, Slowest float64
	Rate                 float64 // fetches a second, of all together
}

// TestNATSServers is a child's part: it runs nats-servers until its input ends.
func TestNATSServers(t *testing.T) {
	next := part(t)
	line, _ := next()
	var o natsOptions
	check(t, json.Unmarshal([]byte(line), &o))
	servers := o.start(t)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	list, err := json.Marshal(urls)
	check(t, err)
	answer("%s", list)
	keys := (&fixture{dir: o.Dir}).readKeys(t)
	for line, ok := next(); ok; line, ok = next() {
		var c natsCommand
		check(t, json.Unmarshal([]byte(line), &c))
		result, err := json.Marshal(c.run(t, servers, keys))
		check(t, err)
		answer("%s", result)
	}
}

func (o natsOptions) start(t *testing.T) (servers []*server.Server) {
	if o.Cluster {
		return natstest.Cluster(t, o.Servers, func(extra string) string { return o.Conf + extra })
	}
	for i := range o.Servers {
		name := fmt.Sprintf("server_name: n%d\n", i+1)
		servers = append(servers, natstest.Start(t, natstest.AnyPort+name+o.Conf))
	}
	return servers
}

func (c natsCommand) run(t *testing.T, servers []*server.Server, keys []string) fetches {
	if c.Fetch > 0 {
		return fetchAll(t, c.URL, len(servers), keys[:c.Fetch])
	}
	for _, s := range servers {
		for _, key := range keys[:c.Load] {
			_, err := s.LookupAccount(key)
			check(t, err)
		}
	}
	return fetches{}
}

// fetchAll fetches with as many of nats-server's URL resolvers. Each begins with another account.
func fetchAll(t *testing.T, url string, resolvers int, keys []string) (f fetches) {
	times := make([][]float64, resolvers)
	began := time.Now()
	parallel(resolvers, func(i int) {
		resolver, err := server.NewURLAccResolver(url)
		for n := range keys {
			began := time.Now()
			var token string
			if err == nil {
				token, err = resolver.Fetch(keys[(n+i*len(keys)/resolvers)%len(keys)])
			}
			if err != nil || !strings.HasPrefix(token, "ey") {
				t.Errorf("a fetch: %q, %v", token, err)
				return
			}
			times[i] = append(times[i], milliseconds(time.Since(began)))
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	all := slices.Concat(times...)
	return fetches{
		Median: bench.Median(all), P99: bench.Percentile(all, 0.99), Slowest: slices.Max(all),
		Rate: rate(len(all), time.Since(began)),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
