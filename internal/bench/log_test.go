package bench_test

import (
	"path/filepath"
	"testing"

	"nats-account-server/internal/bench"
)

// measureLog compares a server that logs to a file, at the default level, with one that logs to
// /dev/null.
func measureLog(t *testing.T) {
	const pushes = accounts / 5
	f := openFixture(t, accounts)
	dir := tempDir(t)
	file := setup{fixture: f, store: filepath.Join(dir, "file")}.start(t)
	none := setup{fixture: f, store: filepath.Join(dir, "none"), discard: true}.start(t)
	const against = "without a log"
	want := bench.RatioAtMost(1.1)
	push := bench.Row{
		Name: "CPU of the server for a push", Unit: "us", Against: against, Want: want,
	}
	get := bench.Row{Name: "CPU of the server for a GET", Unit: "us", Against: against, Want: want}
	for i := range 5 {
		keys := f.keys[i*pushes:][:pushes]
		push.Add(file.pushAll(f, keys), none.pushAll(f, keys))
		get.Add(getAll(keys, file, none))
	}
	file.stop()
	none.stop()
	show(t, "What a log file at the default level costs", []bench.Row{push, get})
}

// pushAll pushes accounts and returns what each costs, with its file, in microseconds of CPU.
func (a *accountServer) pushAll(f *fixture, keys []string) float64 {
	before := a.cpu()
	send(a.t, a.address, 64, pushesOf(a.t, f, keys), nil)
	a.settleFiles(keys)
	return each(len(keys), a.cpu()-before)
}

// getAll requests the accounts from two servers in turn, several times, and returns what a GET
// costs each, in microseconds of CPU.
func getAll(keys []string, a, b *accountServer) (ofA, ofB float64) {
	const times = 10
	requests := getsOf(keys)
	for i := range times + 1 {
		_, cpuA := a.serve(a.address, requests, nil)
		_, cpuB := b.serve(b.address, requests, nil)
		if i > 0 { // the first GETs do more
			ofA += each(len(keys), cpuA) / times
			ofB += each(len(keys), cpuB) / times
		}
	}
	return ofA, ofB
}
