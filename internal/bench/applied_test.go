package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/bench"
)

// interval is the time between two pushes when it is measured how long they take to be applied.
const interval = 10 * time.Millisecond

// measureApplied measures how long a push takes until five nats-servers run the new JWT.
func measureApplied(t *testing.T) {
	const servers, loaded, syncs = 5, 500, 200
	f := openFixture(t, accounts)
	dir, address := tempDir(t), freeAddress(t)
	keys := f.keys[:loaded]
	n := startNATS(t, f, address, servers, true)
	a := setup{
		fixture: f, store: filepath.Join(dir, "store"), address: address, nats: n.urls[0],
	}.start(t)
	alone := setup{fixture: f, store: filepath.Join(dir, "alone")}.start(t)
	for _, s := range []*accountServer{a, alone} {
		send(t, s.address, 16, pushesOf(t, f, keys), nil)
	}
	n.load(loaded)
	for _, s := range []*accountServer{a, alone} {
		s.settle(time.Second)
	}
	p99 := bench.Row{Name: "p99", Unit: "ms", Against: "p99 of one disk sync"}
	over := bench.Row{Name: "p99, less that of one disk sync", Unit: "ms", Want: bench.AtMost(10)}
	median := bench.Row{Name: "median", Unit: "ms", Against: "median of one disk sync"}
	cpu := bench.Row{Name: "CPU of the server for a push", Unit: "us", Against: "without NATS"}
	more := bench.Row{Name: "CPU of the server for each nats-server", Unit: "us"}
	for round := range 3 {
		sync := syncTimes(t, dir, syncs)
		updates := updatesOf(t, f, keys, round)
		_, reference := alone.apply(updates, "stored")
		times, ours := a.apply(updates, "acknowledged by 5 of 5 nats-servers")
		p99.Add(bench.Percentile(times, 0.99), bench.Percentile(sync, 0.99))
		over.Add(bench.Percentile(times, 0.99) - bench.Percentile(sync, 0.99))
		median.Add(bench.Median(times), bench.Median(sync))
		cpu.Add(ours, reference)
		more.Add((ours - reference) / servers)
	}
	over.Steady = median.Reference
	a.stop()
	alone.stop()
	show(t, "From a push until five nats-servers have applied it, at 100 pushes a second",
		[]bench.Row{p99, over, median, cpu, more})
}

// updatesOf returns pushes of a new JWT for each account. A response is wanted only when all
// nats-servers have acknowledged it.
func updatesOf(t *testing.T, f *fixture, keys []string, round int) (requests [][]byte) {
	// Accounts are newer than the fixture's and those of the round before.
	issued := time.Now().Add(time.Duration(round) * time.Second)
	for _, key := range keys {
		requests = append(requests, post(accountPath(key)+"?wait=10s", f.newer(t, key, issued)))
	}
	return requests
}

// apply sends requests, one each interval. It returns how long the responses took, in milliseconds,
// and the server's CPU for each in microseconds. Each response must have a text.
func (a *accountServer) apply(requests [][]byte, want string) (times []float64, cpu float64) {
	before := a.cpu()
	times = pace(a.t, len(requests), func(c *client, i int) error {
		body, err := c.do(requests[i])
		if err == nil && !bytes.Contains(body, []byte(want)) {
			err = fmt.Errorf("the response is %q, without %q", body, want)
		}
		return err
	}, a.address)
	a.settle(time.Second)
	return times, each(len(requests), a.cpu()-before)
}

// pace does n operations, one each interval, on several connections. It returns how long each took,
// in milliseconds, from the time at which it was due.
func pace(t testing.TB, n int, operation func(c *client, i int) error, address string) []float64 {
	const clients = 32
	times := make([]float64, n)
	var next atomic.Int64
	began := time.Now()
	parallel(clients, func(int) {
		c, err := dial(address)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			due := began.Add(time.Duration(i) * interval)
			time.Sleep(time.Until(due))
			if err := operation(c, i); err != nil {
				t.Error(err)
				return
			}
			times[i] = milliseconds(time.Since(due))
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return times
}

// syncTimes returns how long syncs of a growing file take, one each interval, in milliseconds.
func syncTimes(t *testing.T, dir string, n int) (times []float64) {
	f, err := os.Create(filepath.Join(dir, "synced"))
	check(t, err)
	defer f.Close()
	began := time.Now()
	for i := range n {
		due := began.Add(time.Duration(i) * interval)
		time.Sleep(time.Until(due))
		due = time.Now() // a slow sync delays no other
		_, err := f.Write(make([]byte, 1000))
		check(t, errors.Join(err, f.Sync()))
		times = append(times, milliseconds(time.Since(due)))
	}
	return times
}

// measureMany measures what each of a thousand nats-servers costs. Apart from one they are only
// answers, because real ones do not fit on one machine.
func measureMany(t *testing.T) {
	const servers, updated = 1000, 50
	f := openFixture(t, accounts)
	keys, address := f.keys[:updated], freeAddress(t)
	n := startNATS(t, f, address, 1, false)
	a := setup{
		fixture: f, store: filepath.Join(tempDir(t), "store"), address: address, nats: n.urls[0],
	}.start(t)
	send(t, a.address, 16, pushesOf(t, f, keys), nil)
	n.load(updated)
	a.settle(time.Second)
	var one []float64
	for round := range 3 {
		_, cpu := a.apply(updatesOf(t, f, keys, round), "acknowledged by 1 of 1 nats-server")
		one = append(one, cpu)
	}
	before := a.memory()
	n.pretend(t, f, servers)
	send(t, a.address, 1, updatesOf(t, f, keys[:1], 3), nil) // from here on they are known
	cpu := bench.Row{
		Name: "CPU of the server for a push", Unit: "us",
		Reference: one, Against: "with one nats-server",
	}
	more := bench.Row{Name: "CPU of the server for each nats-server", Unit: "us"}
	for round := range 3 {
		want := fmt.Sprintf("acknowledged by %d of %d nats-servers", servers+1, servers+1)
		_, ours := a.apply(updatesOf(t, f, keys, 4+round), want)
		cpu.Add(ours)
		more.Add((ours - bench.Median(one)) / servers)
	}
	memory := bench.Row{
		Name: "memory of the server for each nats-server", Unit: "KB",
		Values: []float64{(a.stop() - before) * 1024 / servers},
	}
	show(t, fmt.Sprintf("Pushes with %d nats-servers", servers+1), []bench.Row{cpu, more, memory})
}

// pretend lets as many nats-servers seem to be there. Each has loaded every account.
func (n *natsServers) pretend(t *testing.T, f *fixture, servers int) {
	t.Helper()
	conn := n.connect(t, f)
	answerAll := func(subject, format string) {
		_, err := conn.Subscribe(subject, func(m *nats.Msg) {
			for i := range servers {
				_ = conn.Publish(m.Reply, fmt.Appendf(nil, format, i))
			}
		})
		check(t, err)
	}
	answerAll("$SYS.REQ.SERVER.PING.IDZ", `{"name":"s%[1]d","id":"N%[1]d","host":"h"}`)
	answerAll("$SYS.ACCOUNT.*.CLAIMS.UPDATE",
		`{"server":{"name":"s%[1]d","id":"N%[1]d","ver":"2.15.2"},`+
			`"data":{"code":200,"message":"jwt updated"}}`)
	check(t, conn.Flush())
}
