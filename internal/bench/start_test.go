package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/bench"
	"nats-account-server/internal/jwttest"
)

// startup is what one start takes.
type startup struct {
	first, compared time.Duration
	cpu             time.Duration // until the server rests
	peak            float64       // of the anonymous memory, in MB
	busy            float64       // processors, until stores were compared
}

// measureStart starts the server on a store that no server has seen yet, and then again.
func measureStart(t *testing.T) {
	f := openFixture(t, scale(t, 200_000))
	address := freeAddress(t)
	nats := startNATS(t, f, address, 1, false)
	f.forget(t)
	first := []startup{start(t, f, address, nats)}
	var later []startup
	var list, listCPU []float64
	for range 3 {
		took, cpu := listFiles(t, f)
		list, listCPU = append(list, took.Seconds()), append(listCPU, cpu.Seconds())
		later = append(later, start(t, f, address, nats))
	}
	rows := append(startRows("first start", first), bench.Row{
		Name: "first start: CPU for each account", Unit: "us",
		Values:    []float64{each(len(f.keys), first[0].cpu)},
		Reference: checkFiles(t, f), Against: "to read a file and verify its JWT",
	}, bench.Row{
		Name: "first start: at work", Unit: "processors", Values: []float64{first[0].busy},
	})
	again := startRows("later start", later)
	for i, limit := range []float64{0.1, 3, 3, 48} {
		again[i].Want = bench.AtMost(limit)
	}
	for i, reference := range [][]float64{list, list, listCPU} {
		again[i].Reference, again[i].Against = reference, "to list and stat the files"
	}
	if len(f.keys) > 200_000 {
		again[3].Want = bench.AtMost(64)
	}
	known, all := blocks(t, f.path("store/.journal")), blocks(t, f.path("store"))
	n := float64(len(f.keys))
	rows = append(append(rows, again...), bench.Row{
		Name: "disk for each account: JWT", Unit: "bytes", Values: []float64{(all - known) / n},
	}, bench.Row{
		Name: "disk for each account: index", Unit: "bytes", Values: []float64{known / n},
	})
	show(t, fmt.Sprintf("Start with %d accounts and NATS", len(f.keys)), rows)
}

func startRows(name string, starts []startup) []bench.Row {
	rows := []bench.Row{
		{Name: name + ": first answer", Unit: "s"},
		{Name: name + ": stores compared", Unit: "s"},
		{Name: name + ": CPU until it rests", Unit: "s"},
		{Name: name + ": memory, peak of RssAnon", Unit: "MB"},
	}
	for _, s := range starts {
		for i, d := range []time.Duration{s.first, s.compared, s.cpu} {
			rows[i].Add(d.Seconds())
		}
		rows[3].Add(s.peak)
	}
	return rows
}

// start measures one start, until the server rests.
func start(t *testing.T, f *fixture, address string, n *natsServers) (s startup) {
	answered := n.askUntilCompared(t, f)
	a := setup{fixture: f, address: address, nats: n.urls[0]}.start(t)
	s.first = time.Since(a.began)
	s.compared = (<-answered).Sub(a.began)
	s.busy = a.cpu().Seconds() / s.compared.Seconds()
	a.settle(3 * time.Second)
	s.cpu = a.cpu()
	s.peak = a.stop()
	return s
}

// askUntilCompared sends lookups of an account that does not exist. The account server answers one
// only when it has compared its store with those of others, and not before 300 ms.
func (n *natsServers) askUntilCompared(t *testing.T, f *fixture) (answered <-chan time.Time) {
	t.Helper()
	conn := n.connect(t, f)
	first := make(chan time.Time, 1)
	inbox := nats.NewInbox()
	_, err := conn.Subscribe(inbox, func(m *nats.Msg) {
		if m.Header.Get("Status") == "" { // else nothing subscribes to lookups yet
			select {
			case first <- time.Now():
				conn.Close()
			default:
			}
		}
	})
	check(t, err)
	subject := fmt.Sprintf("$SYS.REQ.ACCOUNT.%s.CLAIMS.LOOKUP", jwttest.NewAccount(t).ID)
	go func() {
		for conn.PublishRequest(subject, inbox, nil) == nil {
			_ = conn.Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return first
}

// listFiles lists and stats every file of the store: the least that tells what has changed there.
func listFiles(t *testing.T, f *fixture) (took, cpu time.Duration) {
	began, before := time.Now(), cpuTime(t, os.Getpid())
	files := 0
	check(t, filepath.WalkDir(f.path("store"), func(_ string, d os.DirEntry, err error) error {
		if err == nil {
			_, err = d.Info()
			files++
		}
		return err
	}))
	if files < len(f.keys) {
		t.Fatalf("the store has only %d files", files)
	}
	return time.Since(began), cpuTime(t, os.Getpid()) - before
}

// blocks is the disk space of a directory in bytes.
func blocks(t *testing.T, dir string) (bytes float64) {
	check(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		bytes += allocated(path)
		return err
	}))
	return bytes
}

// checkFiles returns what reading a file and verifying its JWT takes, in microseconds of CPU.
func checkFiles(t *testing.T, f *fixture) (us []float64) {
	const files = 1000
	for range 5 {
		before := cpuTime(t, os.Getpid())
		for i := range files {
			_, err := jwt.DecodeAccountClaims(string(f.jwt(t, f.keys[i*len(f.keys)/files])))
			check(t, err)
		}
		us = append(us, each(files, cpuTime(t, os.Getpid())-before))
	}
	return us
}
