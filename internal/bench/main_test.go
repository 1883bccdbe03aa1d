package bench_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"nats-account-server/internal/bench"
)

// results are the lines for benchstat.
var results bytes.Buffer

// TestTables prints the tables if BENCH_TABLES is set, as `make bench` does. A limit that is missed
// is no failure: a failure means that something could not be measured, or was lost.
func TestTables(t *testing.T) {
	if os.Getenv("BENCH_TABLES") == "" {
		t.Skip("make bench runs it")
	}
	lockCache(t)
	program = build(t)
	fmt.Printf("%s, %s, %d processors, %s; stores in %s\n", time.Now().Format(time.DateTime),
		processor(), runtime.NumCPU(), runtime.Version(), cacheDir(t))
	fmt.Println("each figure is the median (least–greatest); limits are for the median")
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
		{"metrics", measureMetrics},
		{"cluster", measureCluster},
	} {
		t.Run(table.name, table.measure)
	}
	save(t)
}

// program is the account server.
var program string

// build builds it. BENCH_BINARY names another one to use.
func build(t *testing.T) (path string) {
	if path = os.Getenv("BENCH_BINARY"); path != "" {
		return path
	}
	path = filepath.Join(tempDir(t), "nats-account-server")
	c := exec.Command("go", "build", "-trimpath", "-o", path, "../../cmd/nats-account-server")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	c.Stderr = os.Stderr
	check(t, c.Run())
	return path
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

// scale is how many accounts a table has that may have more: BENCH_SCALE, or a number of its own.
func scale(t testing.TB, otherwise int) int {
	text := os.Getenv("BENCH_SCALE")
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	check(t, err)
	return n
}
