package bench_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"nats-account-server/internal/bench"
)

// programDir is where the account server is built.
var programDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		panic(err)
	}
	programDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// results are the lines for benchstat.
var results bytes.Buffer

// TestTables prints the tables if BENCH_TABLES is set, as `make bench` does. A limit that is missed
// is no failure: a failure means that something could not be measured, or was lost.
func TestTables(t *testing.T) {
	if os.Getenv("BENCH_TABLES") == "" {
		t.Skip("make bench runs it")
	}
	lockCache(t)
	fmt.Printf("%s, %s, %d processors, %s; stores in %s\n", time.Now().Format(time.DateTime), processor(),
		runtime.NumCPU(), runtime.Version(), cacheDir(t))
	fmt.Println("each figure is the median, with the least and the greatest value; limits are for the median")
	for _, table := range []struct {
		name    string
		measure func(t *testing.T)
	}{
		{"start", measureStart},
		{"push", measurePush},
		{"get", measureGet},
		{"first", measureFirst},
		{"pack", measurePack},
		{"fetch", measureFetch},
		{"applied", measureApplied},
		{"many", measureMany},
		{"log", measureLog},
	} {
		t.Run(table.name, table.measure)
	}
	save(t)
}

// show prints a table and keeps its lines for benchstat.
func show(t *testing.T, title string, rows []bench.Row) {
	bench.Print(os.Stdout, title, rows)
	bench.Lines(&results, filepath.Base(t.Name()), rows)
}

// save writes the lines for benchstat to the file that BENCH_OUT names.
func save(t *testing.T) {
	path := os.Getenv("BENCH_OUT")
	if path == "" || results.Len() == 0 {
		return
	}
	head := fmt.Sprintf("goos: %s\ngoarch: %s\npkg: nats-account-server/internal/bench\ncpu: %s\n",
		runtime.GOOS, runtime.GOARCH, processor())
	check(t, os.WriteFile(path, append([]byte(head), results.Bytes()...), 0o644))
	fmt.Printf("\n%s has the lines for benchstat\n", path)
}

// scale is how many accounts the table of starts has: BENCH_SCALE, or 200,000.
func scale(t testing.TB) int {
	text := os.Getenv("BENCH_SCALE")
	if text == "" {
		return 200_000
	}
	n, err := strconv.Atoi(text)
	check(t, err)
	return n
}
