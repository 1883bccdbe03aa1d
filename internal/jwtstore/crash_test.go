package jwtstore_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// writerKeys are the same in every process.
func writerKeys() []string {
	keys := make([]string, writers)
	for i := range keys {
		seed := [32]byte{1: byte(i), 2: 1}
		pair, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, seed[:])
		if err != nil {
			panic(err)
		}
		keys[i], _ = pair.PublicKey()
	}
	return keys
}

// TestKilledWriters kills a process with 16 writers again and again. What it has acknowledged is there, whole, and
// owed; a process that was killed keeps nobody out.
func TestKilledWriters(t *testing.T) {
	dir := t.TempDir()
	keys := writerKeys()
	var last [writers]int
	for range 8 {
		p, out := child(t, "writers", dir)
		var reading sync.WaitGroup
		reading.Go(func() { acknowledged(out, &last) })
		time.Sleep(20*time.Millisecond + rand.N(350*time.Millisecond)) // any moment will do
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		reading.Wait()
		_ = p.Wait()
		d := open(t, options(t, dir))
		checkAcknowledged(t, d, keys, last)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last[0] == 0 {
		t.Error("nothing was acknowledged")
	}
}

// checkAcknowledged wants at least these versions, whole and owed.
func checkAcknowledged(t *testing.T, d *jwtstore.Dir, keys []string, last [writers]int) {
	t.Helper()
	owed := map[string]bool{}
	for _, c := range d.Changes() {
		owed[c.Key] = true
	}
	for w, key := range keys {
		if last[w] == 0 {
			continue
		}
		jwt, _, err := d.Load(key, jwtstore.Stamp{})
		n := versionOf(d, key)
		if err != nil || n < last[w] || string(jwt) != string(version(w, n)) {
			t.Errorf("writer %d: version %d was acknowledged, %d is there: %.40q, %v", w, last[w], n, jwt, err)
		}
		if !owed[key] {
			t.Errorf("writer %d: version %d is owed to nobody", w, n)
		}
	}
}

// TestCopyOfALiveStore copies the directory file by file while 16 writers are at work. Each copy is a store with
// everything that was acknowledged before the copying began.
func TestCopyOfALiveStore(t *testing.T) {
	dir := t.TempDir()
	keys := writerKeys()
	d := open(t, options(t, dir))
	var mu sync.Mutex
	var last [writers]int
	done := make(chan struct{})
	var all sync.WaitGroup
	for w, key := range keys {
		all.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := d.Put(t.Context(), key, "test", version(w, n), jwtstoretest.Always); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				last[w] = n
				mu.Unlock()
			}
		})
	}
	for range 8 {
		time.Sleep(rand.N(120 * time.Millisecond)) // any moment will do
		mu.Lock()
		before := last
		mu.Unlock()
		copied := t.TempDir()
		copyTree(t, dir, copied)
		o := options(t, copied)
		o.Warn = nil // what was written to while it was copied may look damaged
		c := open(t, o)
		checkAcknowledged(t, c, keys, before)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	close(done)
	all.Wait()
}

// copyTree copies what a backup program would see; files that vanish meanwhile are not there.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				t.Fatal(err)
			}
			copyTree(t, source, target)
		case e.Type().IsRegular():
			content, err := os.ReadFile(source)
			if err != nil {
				continue
			}
			if err := os.WriteFile(target, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
