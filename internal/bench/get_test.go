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
	rows := []bench.Row{
		{Name: "rate", Unit: "GETs/s", Against: "of bare net/http", Want: bench.RatioAtLeast(0.9)},
		{Name: "CPU of the server for each", Unit: "us", Against: "of bare net/http"},
	}
	a := setup{fixture: f}.start(t)
	a.settle(time.Second)
	bare := startBare(t, f, a.address, "")
	keys := slices.Clone(f.keys)
	send(t, a.address, 32, getsOf(keys), nil) // the first GETs have their own table
	for range 10 {
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		requests := getsOf(keys)
		tokens := jwtsOf(t, f, keys)
		before := bare.cpu()
		reference := send(t, bare.address, 32, requests, tokens)
		rows[1].Reference = append(rows[1].Reference, each(len(keys), bare.cpu()-before))
		before = a.cpu()
		ours := send(t, a.address, 32, requests, tokens)
		rows[1].Values = append(rows[1].Values, each(len(keys), a.cpu()-before))
		rows[0].Reference = append(rows[0].Reference, rate(len(keys), reference))
		rows[0].Values = append(rows[0].Values, rate(len(keys), ours))
	}
	a.stop()
	show(t, fmt.Sprintf("GETs of %d accounts in random order, 32 connections", len(keys)), rows)
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
// server at address sends, and a file at /file.
func startBare(t *testing.T, f *fixture, address, file string) *bareServer {
	t.Helper()
	resp, err := http.Get("http://" + address + accountPath(f.keys[0]))
	check(t, err)
	resp.Body.Close()
	resp.Header.Del("Date")
	resp.Header.Del("Content-Length")
	header, err := json.Marshal(resp.Header)
	check(t, err)
	b := &bareServer{child: startChild(t, "TestBareServer", f.dir, string(header), file)}
	b.address = b.answer()
	return b
}

// TestBareServer is a child's part.
func TestBareServer(t *testing.T) {
	next := part(t)
	dir, _ := next()
	headers, _ := next()
	file, _ := next()
	f := &fixture{dir: dir}
	var header http.Header
	check(t, json.Unmarshal([]byte(headers), &header))
	tokens := map[string][]byte{}
	for _, key := range f.readKeys(t) {
		tokens[accountPath(key)] = f.jwt(t, key)
	}
	if file != "" {
		tokens["/file"] = read(t, file)
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
