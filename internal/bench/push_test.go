package bench_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"nats-account-server/internal/bench"
)

// accounts is how many accounts the tables have, except for the one of starts.
const accounts = 20_000

// measurePush compares pushes with the work of a careful program that has no journal: for each
// account a temp file, a sync, a rename and a sync of the directory.
func measurePush(t *testing.T) {
	f := openFixture(t, accounts)
	many, cpu := pushPairs(t, f, 64, 5, 4000)
	one, _ := pushPairs(t, f, 1, 5, 400)
	show(t, "Pushes of new accounts without NATS", []bench.Row{many, one, pushBurst(t, f, cpu)})
}

// pushPairs compares clients with as many writers, and returns what a writer's file takes of CPU.
func pushPairs(
	t *testing.T, f *fixture, clients, pairs, pushes int,
) (row bench.Row, cpu []float64) {
	dir := tempDir(t)
	a := setup{fixture: f, store: filepath.Join(dir, "store")}.start(t)
	row = bench.Row{
		Name: fmt.Sprintf("rate, clients: %d", clients), Unit: "pushes/s",
		Against: "of as many writers", Want: bench.RatioAtLeast(1.5),
	}
	for i := range pairs {
		keys := f.keys[i*pushes:][:pushes]
		before := cpuTime(t, os.Getpid())
		reference := writeFiles(t, f, dir, clients, keys)
		cpu = append(cpu, each(pushes, cpuTime(t, os.Getpid())-before))
		took := send(t, a.address, clients, pushesOf(t, f, keys), nil)
		a.settleFiles(keys)
		row.Add(rate(pushes, took), rate(pushes, reference))
	}
	a.stop()
	return row, cpu
}

// pushBurst pushes all accounts at once, and sees that none is lost.
func pushBurst(t *testing.T, f *fixture, writer []float64) bench.Row {
	row := bench.Row{
		Name: "CPU of the server for each of a burst, with its file", Unit: "us",
		Reference: writer, Against: "of a writer", Want: bench.AtMost(250),
	}
	for range 2 {
		a := setup{fixture: f, store: filepath.Join(tempDir(t), "store")}.start(t)
		row.Add(a.pushAll(f, f.keys))
		send(t, a.address, 32, getsOf(f.keys), jwtsOf(t, f, f.keys))
		a.stop()
	}
	return row
}

// settleFiles returns when each account has its file and the server rests.
func (a *accountServer) settleFiles(keys []string) {
	a.t.Helper()
	left := slices.Clone(keys)
	for end := time.Now().Add(5 * time.Minute); len(left) > 0; time.Sleep(50 * time.Millisecond) {
		left = slices.DeleteFunc(left, func(key string) bool {
			_, err := os.Stat(shardPath(a.store, key))
			return err == nil
		})
		if time.Now().After(end) {
			a.t.Fatalf("%d accounts have no file yet\n%s", len(left), a.written())
		}
	}
	a.settle(time.Second)
}

// writeFiles lets writers write the JWTs of accounts to files in dir, and returns how long it
// takes.
func writeFiles(t *testing.T, f *fixture, dir string, writers int, keys []string) time.Duration {
	tokens := jwtsOf(t, f, keys)
	dir = filepath.Join(dir, "files")
	began := time.Now()
	parallel(writers, func(writer int) {
		for i := writer; i < len(keys); i += writers {
			if err := writeFile(shardPath(dir, keys[i]), tokens[i]); err != nil {
				t.Error(err)
			}
		}
	})
	return time.Since(began)
}

// writeFile returns when a file is on stable storage.
func writeFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), path)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func jwtsOf(t testing.TB, f *fixture, keys []string) (tokens [][]byte) {
	for _, key := range keys {
		tokens = append(tokens, f.jwt(t, key))
	}
	return tokens
}

func pushesOf(t testing.TB, f *fixture, keys []string) (requests [][]byte) {
	for _, key := range keys {
		requests = append(requests, post(accountPath(key), f.jwt(t, key)))
	}
	return requests
}

func getsOf(keys []string) (requests [][]byte) {
	for _, key := range keys {
		requests = append(requests, get(accountPath(key)))
	}
	return requests
}
