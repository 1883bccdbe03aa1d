package bench_test

import (
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	registry "nats-account-server/internal/accounts"
	"nats-account-server/internal/bench"
	"nats-account-server/internal/monitor"
)

// measureMetrics says what counting a GET and a push costs of the whole, and what a scrape costs. The
// counting can't be switched off in the program, so it is measured by itself, with what is counted there.
func measureMetrics(t *testing.T) {
	const pushes = accounts / 5
	f := openFixture(t, accounts)
	a := setup{fixture: f, store: filepath.Join(tempDir(t), "store")}.start(t)
	m := monitor.NewMetrics("bench", "")
	get := bench.Row{Name: "CPU of the metrics for a GET", Unit: "us",
		Against: "of the server for a GET", Want: bench.RatioAtMost(0.05)}
	push := bench.Row{Name: "CPU of the metrics for a push", Unit: "us",
		Against: "of the server for a push", Want: bench.RatioAtMost(0.05)}
	scrape := bench.Row{Name: "CPU of the server for a scrape", Unit: "us", Want: bench.AtMost(20_000)}
	event := registry.Event{Origin: registry.Origin{Kind: registry.KindHTTP}, Result: registry.Accepted}
	for i := range 5 {
		keys := f.keys[i*pushes:][:pushes]
		push.Add(timeEach(func(took time.Duration) {
			m.Decided(event)
			m.Committed(1, took)
			m.Requested(monitor.RouteAccount, true, took)
		}), a.pushAll(f, keys))
		_, cpu := a.serve(a.address, getsOf(keys), nil)
		get.Add(timeEach(func(took time.Duration) {
			m.Served("A", 0)
			m.Read(monitor.HTTP, monitor.Found)
			m.Requested(monitor.RouteAccount, false, took)
		}), each(len(keys), cpu))
		scrape.Add(a.scrape(20))
	}
	a.stop()
	show(t, "What the metrics cost", []bench.Row{get, push, scrape})
}

// timeEach returns what one call of count takes, in microseconds.
func timeEach(count func(took time.Duration)) float64 {
	const calls = 1_000_000
	began := time.Now()
	for range calls {
		count(time.Since(began))
	}
	return each(calls, time.Since(began))
}

// scrape asks for the metrics several times, and returns what that costs each time, in microseconds of CPU.
func (a *accountServer) scrape(times int) float64 {
	before := a.cpu()
	for range times {
		r, err := http.Get("http://" + a.address + "/metrics")
		check(a.t, err)
		_, err = io.Copy(io.Discard, r.Body)
		check(a.t, err)
		r.Body.Close()
	}
	return each(times, a.cpu()-before)
}
