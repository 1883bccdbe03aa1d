package bench_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/bench"
)

// clusterSize is how many nats-servers keep the buckets of the table.
const clusterSize = 5

// measureCluster measures account servers whose accounts are in buckets of JetStream.
func measureCluster(t *testing.T) {
	f := openFixture(t, scale(t, accounts))
	c := startCluster(t)
	measureReplicas(t, f, c)
	measureCatchUp(t, f, c)
	measureFailover(t, f, c)
}

// measureReplicas compares pushes to buckets with pushes to a directory alone.
func measureReplicas(t *testing.T, f *fixture, c *bucketCluster) {
	const rounds, one, many, clients = 3, 100, 500, 64
	dir := tempDir(t)
	plain := setup{fixture: f, store: filepath.Join(dir, "plain")}.start(t)
	var servers []*accountServer
	var latency, speed []bench.Row
	const against = "of a directory alone"
	for _, replicas := range []int{1, 3, 5} {
		name := fmt.Sprintf("R%d", replicas)
		servers = append(servers, setup{fixture: f, store: filepath.Join(dir, name),
			kv: c.section(name, replicas)}.start(t))
		latency = append(latency, bench.Row{Unit: "ms", Against: against,
			Name: fmt.Sprintf("replicas: %d, one client, median", replicas)})
		speed = append(speed, bench.Row{Unit: "pushes/s", Against: against,
			Name: fmt.Sprintf("replicas: %d, rate, clients: %d", replicas, clients)})
	}
	for round := range rounds {
		keys := f.keys[round*(one+many):][:one+many]
		requests := pushesOf(t, f, keys)
		measure := func(a *accountServer) (ms, perSecond float64) {
			ms = bench.Median(timesOf(t, a.address, requests[:one]))
			perSecond = rate(many, send(t, a.address, clients, requests[one:], nil))
			a.settleFiles(keys)
			return ms, perSecond
		}
		ms, perSecond := measure(plain)
		for i, a := range servers {
			ours, oursPerSecond := measure(a)
			latency[i].Add(ours, ms)
			speed[i].Add(oursPerSecond, perSecond)
		}
	}
	for _, a := range append(servers, plain) {
		a.stop()
	}
	show(t, fmt.Sprintf("Pushes of new accounts with a bucket, of %d nats-servers that sync always",
		clusterSize), append(latency, speed...))
}

// timesOf lets one client send requests, and returns how long each takes in milliseconds.
func timesOf(t *testing.T, address string, requests [][]byte) (times []float64) {
	c, err := dial(address)
	check(t, err)
	defer c.Close()
	for _, request := range requests {
		began := time.Now()
		_, err := c.do(request)
		check(t, err)
		times = append(times, milliseconds(time.Since(began)))
	}
	return times
}

// measureCatchUp fills a bucket from a directory, and lets servers without accounts read it.
func measureCatchUp(t *testing.T, f *fixture, c *bucketCluster) {
	warm(t, f)
	kv := c.section("full", 3)
	filled := bench.Row{Name: "an empty bucket is filled from a directory", Unit: "s"}
	a := setup{fixture: f, kv: kv}.start(t)
	a.awaitReady()
	filled.Add(time.Since(a.began).Seconds())
	took := bench.Row{Name: "an empty directory is filled, from the start", Unit: "s"}
	cpu := bench.Row{Name: "CPU of the empty server for each", Unit: "us",
		Reference: checkFiles(t, f), Against: "to read a file and verify its JWT"}
	memory := bench.Row{Name: "memory of the empty server, peak of RssAnon", Unit: "MB",
		Want: bench.AtMost(64)}
	sample := f.keys[:2000]
	for range 2 {
		empty := setup{fixture: f, store: filepath.Join(tempDir(t), "store"), kv: kv}.start(t)
		empty.awaitReady()
		took.Add(time.Since(empty.began).Seconds())
		cpu.Add(each(len(f.keys), empty.cpu()))
		send(t, empty.address, 8, getsOf(sample), jwtsOf(t, f, sample))
		memory.Add(empty.stop())
	}
	a.stop()
	show(t, fmt.Sprintf("%d accounts and a bucket with three replicas", len(f.keys)),
		[]bench.Row{filled, took, cpu, memory})
}

// awaitReady returns when the server has caught up with its bucket.
func (a *accountServer) awaitReady() {
	a.t.Helper()
	for {
		c, err := dial(a.address)
		if err == nil {
			_, err = c.do(get("/readyz"))
			_ = c.Close()
		}
		if err == nil {
			return
		}
		if time.Since(a.began) > 10*time.Minute {
			a.t.Fatalf("the server is not ready: %v\n%s", err, a.written())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// measureFailover ends the nats-server that leads the bucket, while one client pushes.
func measureFailover(t *testing.T, f *fixture, c *bucketCluster) {
	const bucket, each = "failing", 2500
	a := setup{fixture: f, store: filepath.Join(tempDir(t), "store"), kv: c.section(bucket, 3)}.start(t)
	a.awaitReady()
	requests := pushesOf(t, f, f.keys)
	var rows []bench.Row
	for _, how := range []os.Signal{os.Kill, syscall.SIGTERM} {
		row := bench.Row{Name: fmt.Sprintf("after the leader's end, signal: %s", how), Unit: "s",
			Against: "in the second before"}
		for range 2 {
			row.Add(c.failOver(a, bucket, how, requests[:each]))
			requests = requests[each:]
		}
		rows = append(rows, row)
	}
	a.stop()
	show(t, "Longest time without an acknowledged push, one client, three replicas", rows)
}

// failOver ends the leader of a bucket while pushes are made, and starts it again. It returns the
// longest time between two acknowledged pushes since then, and in the second before, in seconds.
func (c *bucketCluster) failOver(
	a *accountServer, bucket string, how os.Signal, requests [][]byte,
) (since, before float64) {
	c.t.Helper()
	name := c.await(bucket)
	leader := c.named(name)
	pushes := startPushes(a, requests)
	time.Sleep(time.Second)
	signaled := time.Now()
	check(c.t, leader.cmd.Process.Signal(how))
	_ = leader.wait() // the exit code says that it was killed
	for c.info(bucket).Cluster.Leader == name || c.info(bucket).Cluster.Leader == "" {
		time.Sleep(20 * time.Millisecond)
	}
	pushes.more(10)
	times := pushes.end()
	c.start(slices.Index(c.servers, leader))
	for i := 1; i < len(times); i++ {
		gap := times[i].Sub(times[i-1]).Seconds()
		if times[i].Before(signaled) {
			before = max(before, gap)
		} else {
			since = max(since, gap)
		}
	}
	if before == 0 {
		c.t.Fatalf("no pushes were acknowledged before the leader's end:\n%s", a.written())
	}
	return since, before
}

// pushes are made by one client, each again until it is acknowledged.
type pushes struct {
	a      *accountServer
	count  atomic.Int64 // of acknowledged ones
	ending atomic.Bool
	times  chan []time.Time // of the acknowledgements
}

func startPushes(a *accountServer, requests [][]byte) *pushes {
	p := &pushes{a: a, times: make(chan []time.Time, 1)}
	go func() {
		var times []time.Time
		for i := 0; !p.ending.Load(); {
			if !pushed(a.address, requests[i%len(requests)]) {
				continue
			}
			i++
			times = append(times, time.Now())
			p.count.Add(1)
		}
		p.times <- times
	}()
	return p
}

// more returns when n more pushes are acknowledged.
func (p *pushes) more(n int64) {
	p.a.t.Helper()
	end := time.Now().Add(time.Minute)
	for want := p.count.Load() + n; p.count.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.a.t.Fatalf("pushes are not acknowledged any more:\n%s", p.a.written())
		}
	}
}

func (p *pushes) end() []time.Time {
	p.ending.Store(true)
	return <-p.times
}

// pushed reports whether a push was acknowledged.
func pushed(address string, request []byte) bool {
	c, err := dial(address)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.do(request)
	return err == nil
}

// bucketCluster is nats-servers that keep buckets, each in a process of its own.
type bucketCluster struct {
	t       *testing.T
	program string
	confs   []string
	urls    []string
	servers []*process
	admin   *nats.Conn
}

// bucketSecrets are the variables of conf/nats-server-bucket.conf.
var bucketSecrets = []string{"BUCKET_PASSWORD=secret", "ADMIN_PASSWORD=admin"}

// startCluster starts nats-servers with the shipped file, but for its addresses and directory.
func startCluster(t *testing.T) *bucketCluster {
	t.Helper()
	dir := tempDir(t)
	c := &bucketCluster{t: t, program: filepath.Join(dir, "nats-server"),
		servers: make([]*process, clusterSize)}
	build := exec.Command("go", "build", "-o", c.program, "github.com/nats-io/nats-server/v2")
	build.Stderr = os.Stderr
	check(t, build.Run())
	var clients, members, routes []string
	for range clusterSize {
		clients, members = append(clients, freeAddress(t)), append(members, freeAddress(t))
		routes = append(routes, fmt.Sprintf("%q", "nats://"+members[len(members)-1]))
	}
	text := string(read(t, "../../conf/nats-server-bucket.conf"))
	_, shipped, _ := strings.Cut(text, "routes: [")
	shipped, _, _ = strings.Cut(shipped, "]")
	for i := range clusterSize {
		name := fmt.Sprintf("kv%d", i+1)
		conf := filepath.Join(dir, name+".conf")
		check(t, os.WriteFile(conf, []byte(strings.NewReplacer("server_name: kv1", "server_name: "+name,
			"0.0.0.0:4222", clients[i], "0.0.0.0:6222", members[i],
			"/var/lib/nats-bucket", filepath.Join(dir, name), shipped, strings.Join(routes, ", "),
		).Replace(text)), 0o600))
		c.confs = append(c.confs, conf)
		c.urls = append(c.urls, "nats://admin:admin@"+clients[i])
	}
	for i := range c.servers {
		c.start(i)
	}
	var err error
	c.admin, err = nats.Connect(strings.Join(c.urls, ","), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond))
	check(t, err)
	t.Cleanup(c.admin.Close)
	return c
}

// start starts one of the nats-servers, and returns when it takes connections.
func (c *bucketCluster) start(i int) {
	c.t.Helper()
	cmd := exec.Command(c.program, "-c", c.confs[i])
	cmd.Env = append(os.Environ(), bucketSecrets...)
	log := c.confs[i] + ".log"
	f, err := os.Create(log)
	check(c.t, err)
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	endWithUs(cmd)
	p := launch(c.t, cmd, func() { _ = cmd.Process.Kill() })
	p.log, c.servers[i] = log, p
	address := strings.TrimPrefix(c.urls[i], "nats://admin:admin@")
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("a nats-server does not start: %v\n%s", err, p.written())
		}
	}
}

// section is the section store.kv of an account server. The user may use buckets of any name, unlike
// that of the shipped file.
func (c *bucketCluster) section(bucket string, replicas int) string {
	servers, _ := json.Marshal(c.urls) // texts can't fail
	return fmt.Sprintf("kv { servers: %s, bucket: %q, replicas: %d, sync: require }",
		servers, bucket, replicas)
}

// bucketInfo is what JetStream says of a bucket.
type bucketInfo struct {
	Cluster struct {
		Leader   string
		Replicas []struct{ Current, Offline bool }
	}
}

func (c *bucketCluster) info(bucket string) (i bucketInfo) {
	m, err := c.admin.Request("$JS.API.STREAM.INFO.KV_"+bucket, nil, 500*time.Millisecond)
	if err == nil {
		_ = json.Unmarshal(m.Data, &i)
	}
	return i
}

// await returns the leader of a bucket when all replicas have what it has.
func (c *bucketCluster) await(bucket string) (leader string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		i := c.info(bucket)
		isReady := len(i.Cluster.Replicas) > 0
		for _, r := range i.Cluster.Replicas {
			isReady = isReady && r.Current && !r.Offline
		}
		if isReady && i.Cluster.Leader != "" {
			return i.Cluster.Leader
		}
	}
	c.t.Fatalf("the bucket %s does not get all its replicas", bucket)
	return ""
}

func (c *bucketCluster) named(name string) *process {
	var number int
	_, err := fmt.Sscanf(name, "kv%d", &number)
	check(c.t, err)
	return c.servers[number-1]
}
