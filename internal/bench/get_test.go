package bench_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"nats-account-server/internal/bench"
)

// measureGet compares GETs with those from a bare net/http server.
func measureGet(t *testing.T) {
	f := openFixture(t, accounts)
	warm(t, f)
	speed := bench.Row{
		Name: "rate", Unit: "GETs/s", Against: "of bare net/http", Want: bench.RatioAtLeast(0.9),
	}
	cpu := bench.Row{Name: "CPU of the server for each", Unit: "us", Against: "of bare net/http"}
	a := setup{fixture: f}.start(t)
	a.settle(time.Second)
	bare := startBare(t, f, a.address)
	keys := slices.Clone(f.keys)
	send(t, a.address, 32, getsOf(keys), nil) // the first GETs have their own table
	for range 10 {
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		requests, tokens := getsOf(keys), jwtsOf(t, f, keys)
		reference, referenceCPU := bare.serve(bare.address, requests, tokens)
		took, ours := a.serve(a.address, requests, tokens)
		speed.Add(rate(len(keys), took), rate(len(keys), reference))
		cpu.Add(each(len(keys), ours), each(len(keys), referenceCPU))
	}
	a.stop()
	show(t, fmt.Sprintf("GETs of %d accounts in random order, 32 connections", len(keys)),
		[]bench.Row{speed, cpu})
}

// serve lets 32 clients send requests to a process, and returns how long it takes and the processor
// time of the process.
func (p *process) serve(address string, requests, bodies [][]byte) (took, cpu time.Duration) {
	p.t.Helper()
	before := p.cpu()
	took = send(p.t, address, 32, requests, bodies)
	return took, p.cpu() - before
}

// warm lets a server get to know the store.
func warm(t *testing.T, f *fixture) {
	a := setup{fixture: f}.start(t)
	a.settle(time.Second)
	a.stop()
}

// bareServer is a net/http server in a process of its own that does nothing but send bytes.
type bareServer struct {
	*child
	address string
}

// startBare starts a bare server that has the JWTs of a fixture with the headers that the account
// server at address sends.
func startBare(t *testing.T, f *fixture, address string) *bareServer {
	t.Helper()
	resp, err := http.Get("http://" + address + accountPath(f.keys[0]))
	check(t, err)
	resp.Body.Close()
	resp.Header.Del("Date")
	resp.Header.Del("Content-Length")
	header, err := json.Marshal(resp.Header)
	check(t, err)
	b := &bareServer{child: startChild(t, "TestBareServer", f.dir, string(header))}
	b.address = b.answer()
	return b
}

// TestBareServer is a child's part.
func TestBareServer(t *testing.T) {
	next := part(t)
	dir, _ := next()
	headers, _ := next()
	f := &fixture{dir: dir}
	var header http.Header
	check(t, json.Unmarshal([]byte(headers), &header))
	tokens := map[string][]byte{}
	for _, key := range f.readKeys(t) {
		tokens[accountPath(key)] = f.jwt(t, key)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(tokens[r.URL.Path])
	})}
	go func() { _ = s.Serve(l) }()
	answer("%s", l.Addr())
	_, _ = next() // until the input ends
	check(t, s.Close())
}
