package daemon_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/config"
	"nats-account-server/internal/daemon"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natstest"
)

// pairs is how often the server and its reference are measured, in turn, so that a machine that
// slows down slows down both.
const pairs = 10

// compare measures both in alternating pairs and reports the median of the ratios and their spread.
// Each function does the same number of operations and is timed as a whole. Between the two, settle
// lets the server finish what it does behind its answers, so that the reference is not measured on
// a disk that still works for us.
func compare(b *testing.B, operations int, ours, reference, settle func()) {
	var ratios, rates []float64
	for range pairs {
		r := rate(operations, reference)
		o := rate(operations, ours)
		settle()
		rates = append(rates, r)
		ratios = append(ratios, o/r)
	}
	slices.Sort(ratios)
	slices.Sort(rates)
	b.ReportMetric(0, "ns/op") // the time of a whole comparison says nothing
	b.ReportMetric(rates[pairs/2], "reference/s")
	if rates[pairs-1] > 2*rates[0] {
		b.Logf("disk too noisy: the reference itself varies from %.0f/s to %.0f/s",
			rates[0], rates[pairs-1])
		return
	}
	b.ReportMetric(ratios[pairs/2], "ratio")
	b.ReportMetric(ratios[0], "ratio-min")
	b.ReportMetric(ratios[pairs-1], "ratio-max")
}

func rate(operations int, f func()) float64 {
	began := time.Now()
	f()
	return float64(operations) / time.Since(began).Seconds()
}

// BenchmarkGet compares GET of stored accounts with a bare net/http handler that gives the same
// bytes and headers.
func BenchmarkGet(b *testing.B) {
	url, op, _ := serve(b)
	tokens := map[string][]byte{}
	var paths []string
	for range 100 {
		a := jwttest.NewAccount(b)
		tokens["/jwt/v1/accounts/"+a.ID] = op.Account(b, a)
		paths = append(paths, "/jwt/v1/accounts/"+a.ID)
		post(b, url+"/jwt/v1/accounts/"+a.ID, tokens["/jwt/v1/accounts/"+a.ID])
	}
	header := headers(b, url+paths[0])
	bare := listen(b, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(tokens[r.URL.Path])
	})
	const each, clients = 2000, 4
	load := func(base string) func() {
		return func() { parallel(clients, func(i int) { getAll(b, base, paths, each) }) }
	}
	for b.Loop() {
		compare(b, each*clients, load(url), load(bare), func() {})
	}
}

// BenchmarkPost compares durable POSTs with the disk itself: one temp file at a time written,
// synced, renamed and its directory synced, over the same shard layout.
func BenchmarkPost(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			url, op, store := serve(b)
			dir := b.TempDir()
			each := 320 / clients * max(1, clients/16)
			next := time.Now().Add(-24 * time.Hour)
			accounts := make([]*jwttest.Account, clients)
			for i := range accounts {
				accounts[i] = jwttest.NewAccount(b)
			}
			batch := func() [][][]byte { // every client's JWTs, signed before the clock starts
				tokens := make([][][]byte, clients)
				for range each {
					next = next.Add(time.Second)
					for i, a := range accounts {
						tokens[i] = append(tokens[i], jwttest.Sign(b, op.Signing, a, next))
					}
				}
				return tokens
			}
			var tokens [pairs][][][]byte
			for i := range tokens {
				tokens[i] = batch()
			}
			round := 0
			ours := func() {
				parallel(clients, func(i int) {
					for _, token := range tokens[round][i] {
						post(b, url+"/jwt/v1/accounts/"+accounts[i].ID, token)
					}
				})
				round++
			}
			reference := func() {
				for i, a := range accounts {
					for _, token := range tokens[round][i] {
						writeFile(b, filepath.Join(dir, a.ID[54:]), a.ID+".jwt", token)
					}
				}
			}
			for b.Loop() {
				round = 0
				compare(b, each*clients, ours, reference, func() {
					for i, a := range accounts {
						last := tokens[round-1][i][each-1]
						written(b, filepath.Join(store, a.ID[54:], a.ID+".jwt"), last)
					}
				})
			}
		})
	}
}

// serve runs a daemon on a sharded directory until the benchmark ends.
func serve(b *testing.B) (url string, op *jwttest.Operator, store string) {
	b.Helper()
	op = jwttest.NewOperator(b)
	store = filepath.Join(b.TempDir(), "store")
	log := &natstest.Log{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- daemon.Run(ctx, daemon.Options{
			Config: config.Config{
				HTTP: config.HTTP{
					Host: "127.0.0.1", ReadTimeout: time.Minute, WriteTimeout: time.Minute,
				},
				Store:     config.Store{Dir: store, Shard: true, AllowOlder: true},
				Operators: tokens(op.Token(b)),
			},
			Logging: logging.New(log, logging.Format{}),
		})
	}()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	hint := regexp.MustCompile(`URL\((http://.*)/jwt/v1/accounts/\)`)
	natstest.Eventually(b, "the server runs", func() bool { return hint.MatchString(log.String()) })
	return hint.FindStringSubmatch(log.String())[1], op, store
}

// written waits until a committed JWT is in its file.
func written(b *testing.B, path string, token []byte) {
	natstest.Eventually(b, "the file is written", func() bool {
		content, _ := os.ReadFile(path)
		return bytes.Equal(content, token)
	})
}

func listen(b *testing.B, h http.HandlerFunc) (url string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String()
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

func post(b *testing.B, url string, token []byte) {
	r, err := client.Post(url, "application/jwt", bytes.NewReader(token))
	if err != nil {
		b.Error(err)
		return
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		b.Errorf("%d %s", r.StatusCode, body)
	}
}

func getAll(b *testing.B, base string, paths []string, n int) {
	for i := range n {
		r, err := client.Get(base + paths[i%len(paths)])
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			b.Errorf("status %d", r.StatusCode)
		}
	}
}

func headers(b *testing.B, url string) http.Header {
	r, err := client.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	r.Body.Close()
	r.Header.Del("Date")
	r.Header.Del("Content-Length")
	return r.Header
}

func parallel(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// writeFile is what a careful program does without a journal.
func writeFile(b *testing.B, dir, name string, content []byte) {
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(os.MkdirAll(dir, 0o700))
	temp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	must(err)
	_, err = f.Write(content)
	must(err)
	must(f.Sync())
	must(f.Close())
	must(os.Rename(temp, filepath.Join(dir, name)))
	d, err := os.Open(dir)
	must(err)
	must(d.Sync())
	must(d.Close())
}
