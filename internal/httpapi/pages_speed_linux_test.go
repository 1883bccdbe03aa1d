package httpapi_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// manyAccounts is how many accounts the benchmarks of the pages have.
const manyAccounts = 1_000_000

// newManySite returns a site about an index of many accounts, by key. JWTs are stored for some of them only:
// for those that the pages show here, and each of these imports from another one.
func newManySite(b *testing.B) (s *site, keys []string) {
	b.Helper()
	dir, err := jwtstore.OpenDir(b.Context(), jwtstore.Options{Dir: b.TempDir(), Shard: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = dir.Close() })
	s = newSiteOf(b, dir)
	for range manyAccounts {
		raw := make([]byte, 32)
		_, _ = rand.Read(raw)
		key, _ := nkeys.Encode(nkeys.PrefixByteAccount, raw)
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	exporter := &jwttest.Account{ID: keys[0]}
	for i, key := range keys {
		v := jwtstore.Version{Stamp: jwtstore.Stamp{1, 2, 3, int64(i)}, IssuedAt: 1_700_000_000,
			Servable: true, Summary: jwtstore.Summary{Name: fmt.Sprintf("account-%07d", i), Issuer: s.op.ID}}
		binary.BigEndian.PutUint64(v.Hash[:], uint64(i))
		v.Floor = v.Floor.After(v.IssuedAt, v.Hash)
		if isShown := i < 60 || i >= len(keys)-60 || i >= len(keys)/2 && i < len(keys)/2+60; !isShown {
			dir.Index().Swap(key, jwtstore.Version{}, v)
			continue
		}
		s.put(b, &jwttest.Account{ID: key}, func(c *jwt.AccountClaims) {
			c.Name = v.Summary.Name
			c.Exports.Add(&jwt.Export{Name: "e", Subject: "a.>", Type: jwt.Stream})
			if i > 0 {
				c.Imports.Add(&jwt.Import{Name: "i", Subject: "a.b", Type: jwt.Stream, Account: exporter.ID})
			}
		})
	}
	return s, keys
}

// BenchmarkPages measures what a page takes. The CPU time is that of the process: what is found out in the
// background counts as well.
func BenchmarkPages(b *testing.B) {
	s, keys := newManySite(b)
	middle := len(keys) / 2
	for !strings.Contains(s.open("/").Body.String(), "1,000,000 accounts stored") {
		time.Sleep(time.Second)
	}
	s.open("/accounts/" + keys[0]) // the first one looks at all accounts
	for name, path := range map[string]string{
		"overview":               "/",
		"list, first":            "/accounts",
		"list, middle":           "/accounts?after=" + keys[middle],
		"list, last":             "/accounts?after=" + keys[len(keys)-51],
		"search, nothing":        "/accounts?q=no-such-name",
		"search, last":           "/accounts?q=" + fmt.Sprintf("%07d", len(keys)-1),
		"search, prefix of key":  "/accounts?q=" + keys[middle][:8],
		"search, not ASCII":      "/accounts?q=gr%C3%B6%C3%9Fe",
		"filter, expired":        "/accounts?show=expired",
		"filter, import nothing": "/accounts?show=dangling",
		"account":                "/accounts/" + keys[middle],
		"account, of many":       "/accounts/" + keys[0],
	} {
		b.Run(name, func(b *testing.B) {
			if w := s.open(path); w.Code != http.StatusOK {
				b.Fatal(w.Code, w.Body)
			}
			before := cpuTime(b)
			for b.Loop() {
				s.open(path)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
	b.Run("GET of a JWT, beside a crowd of searches", func(b *testing.B) {
		var crowd sync.WaitGroup
		end := make(chan struct{})
		for range 100 {
			crowd.Go(func() {
				for {
					select {
					case <-end:
						return
					default:
						s.open("/accounts?q=no-such-name")
					}
				}
			})
		}
		for b.Loop() {
			s.open("/jwt/v1/accounts/" + keys[middle])
		}
		close(end)
		crowd.Wait()
	})
}

// cpuTime is the processor time of this process so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
