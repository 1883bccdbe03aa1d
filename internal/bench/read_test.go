package bench_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"nats-account-server/internal/bench"
)

// measureFirst compares the first GET of each account after a start with the next one.
func measureFirst(t *testing.T) {
	f := openFixture(t, accounts)
	warm(t, f)
	requests, tokens := getsOf(f.keys), jwtsOf(t, f, f.keys)
	more := bench.Row{
		Name: "CPU of the server, more than for the next GET", Unit: "us",
		Want:      bench.RatioAtMost(0.5),
		Reference: checkFiles(t, f), Against: "to read a file and verify its JWT",
	}
	row := bench.Row{Name: "CPU of the server for each", Unit: "us", Against: "of the next GET"}
	for range 3 {
		a := setup{fixture: f}.start(t)
		a.settle(time.Second)
		_, first := a.serve(a.address, requests, tokens)
		_, next := a.serve(a.address, requests, tokens)
		a.stop()
		row.Add(each(len(requests), first), each(len(requests), next))
		more.Add(each(len(requests), first-next))
	}
	show(t, fmt.Sprintf("The first GETs of %d accounts after a start", len(f.keys)),
		[]bench.Row{row, more})
}

// measurePack compares packs with reading the files that they have.
func measurePack(t *testing.T) {
	const lines = accounts / 2
	f := openFixture(t, accounts)
	warm(t, f)
	const against = "to read the files"
	first := bench.Row{
		Name: "the first after a start", Unit: "s", Against: against, Want: bench.AtMost(0.5),
	}
	later := bench.Row{Name: "a later one", Unit: "s", Against: against, Want: bench.AtMost(0.2)}
	memory := bench.Row{
		Name: "memory of the server, more than before", Unit: "MB", Want: bench.AtMost(8),
	}
	for range 3 {
		a := setup{fixture: f}.start(t)
		a.settle(time.Second)
		before := a.memory()
		url := fmt.Sprintf("http://%s/jwt/v1/pack?max=%d", a.address, lines)
		pack, took := download(t, url)
		if n := len(bytes.Fields(pack)); n != lines {
			t.Fatalf("the pack has %d lines", n)
		}
		first.Add(took.Seconds(), readFiles(t, f, lines).Seconds())
		for range 3 {
			reference := readFiles(t, f, lines)
			_, took := download(t, url)
			later.Add(took.Seconds(), reference.Seconds())
		}
		memory.Add(a.stop() - before)
	}
	show(t, fmt.Sprintf("Packs of %d of %d accounts", lines, len(f.keys)),
		[]bench.Row{first, later, memory})
}

// readFiles reads the files of the first accounts by key.
func readFiles(t *testing.T, f *fixture, n int) time.Duration {
	keys := slices.Sorted(slices.Values(f.keys))
	began := time.Now()
	jwtsOf(t, f, keys[:n])
	return time.Since(began)
}

func download(t *testing.T, url string) (content []byte, took time.Duration) {
	began := time.Now()
	resp, err := http.Get(url)
	check(t, err)
	defer resp.Body.Close()
	content, err = io.ReadAll(resp.Body)
	check(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d: %s", url, resp.StatusCode, content)
	}
	return content, time.Since(began)
}

// measureFetch lets 50 nats-servers fetch 5,000 accounts each, right after a start.
func measureFetch(t *testing.T) {
	const servers, fetched = 50, 5000
	f := openFixture(t, accounts)
	warm(t, f)
	address := freeAddress(t)
	n := startNATS(t, f, address, servers, false)
	const against = "from bare net/http"
	slowest := bench.Row{
		Name: "the slowest fetch", Unit: "ms", Against: against, Want: bench.AtMost(500),
	}
	p99 := bench.Row{Name: "p99", Unit: "ms", Against: against}
	median := bench.Row{Name: "median", Unit: "ms", Against: against}
	speed := bench.Row{Name: "rate", Unit: "fetches/s", Against: against}
	for range 2 {
		a := setup{fixture: f, address: address, nats: n.urls[0]}.start(t)
		bare := startBare(t, f, address)
		ours, reference := n.fetch(address, fetched), n.fetch(bare.address, fetched)
		a.stop()
		slowest.Add(ours.Slowest, reference.Slowest)
		p99.Add(ours.P99, reference.P99)
		median.Add(ours.Median, reference.Median)
		speed.Add(ours.Rate, reference.Rate)
	}
	title := fmt.Sprintf("%d nats-servers fetch %d accounts each, after a start", servers, fetched)
	show(t, title, []bench.Row{slowest, p99, median, speed})
}
