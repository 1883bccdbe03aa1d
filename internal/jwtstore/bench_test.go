package jwtstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

var benchJWT = []byte(strings.Repeat("0123456789", 150))

func BenchmarkLoadUnchanged(b *testing.B) {
	dir, key := b.TempDir(), jwtstoretest.Key(b)
	d := open(b, options(b, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(b, path, string(benchJWT))
	past := time.Now().Add(-time.Hour)
	_ = os.Chtimes(path, past, past)
	var stamp jwtstore.Stamp
	jwtstoretest.Eventually(b, "the stamp holds", func() bool {
		jwt, now, _ := d.Load(key, stamp)
		stamp = now
		return jwt == nil
	})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if jwt, _, err := d.Load(key, stamp); jwt != nil || err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			d := open(b, options(b, b.TempDir()))
			benchParallel(b, clients, func(key string) error {
				_, err := d.Put(context.Background(), key, "test", benchJWT, jwtstoretest.Always)
				return err
			})
		})
	}
}

// BenchmarkFile is what a store without a journal costs: temp file, sync, rename, sync of the
// directory.
func BenchmarkFile(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			dir := b.TempDir()
			benchParallel(b, clients, func(key string) error { return writeFile(dir, key) })
		})
	}
}

func writeFile(dir, key string) error {
	shard := filepath.Join(dir, key[54:])
	temp := filepath.Join(dir, key)
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(benchJWT)
	err = errors.Join(err, f.Sync(), f.Close(), os.MkdirAll(shard, 0o700),
		os.Rename(temp, filepath.Join(shard, key+".jwt")))
	if err != nil {
		return err
	}
	s, err := os.Open(shard)
	if err != nil {
		return err
	}
	return errors.Join(s.Sync(), s.Close())
}

// benchParallel lets this many clients work, each on 50 accounts of its own.
func benchParallel(b *testing.B, clients int, work func(key string) error) {
	keys := make(chan []string, clients)
	for range clients {
		own := make([]string, 50)
		for i := range own {
			own[i] = jwtstoretest.Key(b)
		}
		keys <- own
	}
	b.ResetTimer()
	done := make(chan error, clients)
	share := func(i int) int { return b.N*(i+1)/clients - b.N*i/clients }
	for i := range clients {
		go func() {
			own := <-keys
			var err error
			for n := 0; n < share(i) && err == nil; n++ {
				err = work(own[n%len(own)])
			}
			done <- err
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkOutbox is one commit and its acknowledgement by 100 servers, while 10,000 changes are
// pending for one that is away.
func BenchmarkOutbox(b *testing.B) {
	l := jwtstore.NewOutbox()
	names, keys := make([]string, 100), make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprint("server", i)
		l.Register(names[i], time.Unix(1, 0))
	}
	l.Register("away", time.Unix(1, 0))
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	seq := uint64(0)
	commit := func() {
		seq++
		l.Commit(seq, keys[seq%10_000])
		for _, name := range names {
			l.Acknowledge(name, seq)
		}
	}
	for range keys {
		commit()
	}
	b.ReportAllocs()
	for b.Loop() {
		commit()
	}
}

// largeIndex returns an index of 200,000 accounts, of which one expires each second from 1,000,000
// on.
func largeIndex(b *testing.B) *jwtstore.Index {
	b.Helper()
	x, err := jwtstore.OpenIndex(b.TempDir(), b.Errorf)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(x.Close)
	for n := range int64(200_000) {
		key := indexKey(int(n))
		x.Swap(key, jwtstore.Version{}, indexed(0, key, 1_000_000+n))
	}
	if err := x.Save(); err != nil {
		b.Fatal(err)
	}
	return x
}

// BenchmarkDigest is the digest after one more account has expired.
func BenchmarkDigest(b *testing.B) {
	x := largeIndex(b)
	now := int64(1_000_000)
	for b.Loop() {
		x.Digest(time.Unix(now, 0))
		now++
	}
}

// BenchmarkBatch is the choice of what is to be saved: others wait meanwhile.
func BenchmarkBatch(b *testing.B) {
	x := largeIndex(b)
	for n := range 50_000 {
		key := indexKey(n)
		had := x.Get(key)
		next := had
		next.Mark++
		x.Swap(key, had, next)
	}
	for b.Loop() {
		if n, err := x.Batch(); n != 1000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
