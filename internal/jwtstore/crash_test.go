package jwtstore_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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

// TestKilledWriters kills a process with 16 writers again and again. What it has acknowledged is
// there, whole, and pending, or gone; a process that was killed keeps no other out.
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
	if _, err := os.Lstat(filepath.Join(dir, ".lock")); !os.IsNotExist(err) {
		t.Errorf("the note is left: %v", err)
	}
}

// writeUntil lets 16 writers store and delete ever newer versions until done is closed. last gets
// what was acknowledged. A writer goes on after an error that tolerate accepts.
func writeUntil(t *testing.T, d *jwtstore.Dir, done chan struct{},
	tolerate func(error) bool) (last func() [writers]int, wait func()) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var acked [writers]int
	for w, key := range writerKeys() {
		all.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				err := store(d, key, w, n)
				if err != nil && !tolerate(err) {
					t.Error(err)
					return
				}
				if err == nil {
					mu.Lock()
					acked[w] = n
					mu.Unlock()
				}
			}
		})
	}
	return func() [writers]int { mu.Lock(); defer mu.Unlock(); return acked }, all.Wait
}

// TestCloseUnderWriters closes the store while 16 writers are at work. What was acknowledged is in
// its file, and nothing else is there.
func TestCloseUnderWriters(t *testing.T) {
	for range 5 {
		o := options(t, t.TempDir())
		o.Announce = false
		d := open(t, o)
		done := make(chan struct{})
		last, wait := writeUntil(t, d, done, func(err error) bool {
			// A Delete of what a closed store has not taken finds nothing.
			return errors.Is(err, jwtstore.ErrClosed) || errors.Is(err, fs.ErrNotExist)
		})
		jwtstoretest.Eventually(t, "all write", func() bool {
			l := last()
			return slices.Min(l[:]) > 0
		})
		closeStore(t, d)
		close(done)
		wait()
		var want []string
		for w, key := range writerKeys() {
			path, n := jwtstore.Path(true, key), last()[w]
			want = append(want, "drwx------ "+filepath.Dir(path))
			if !isDelete(n) {
				want = append(want, "-rw------- "+path+" "+string(version(w, n)))
			}
			if deleted := n - n%4; deleted > 0 {
				want = append(want, "-rw------- "+path+".deleted "+string(version(w, deleted)))
			}
		}
		slices.Sort(want)
		wantTree(t, o.Dir, slices.Compact(want)...)
	}
}

// TestTheDirectoryIsMovedUnderWriters moves the whole directory away and back, again and again. A
// Put may fail then, but it never hangs, and when it is over everything works and is kept.
func TestTheDirectoryIsMovedUnderWriters(t *testing.T) {
	o := options(t, filepath.Join(t.TempDir(), "store"))
	o.Warn = nil
	d := open(t, o)
	done := make(chan struct{})
	last, wait := writeUntil(t, d, done, func(error) bool { return true })
	for range 30 {
		before := last()
		jwtstoretest.Eventually(t, "Puts work again", func() bool {
			now := last()
			return now != before
		})
		if err := errors.Join(os.Rename(o.Dir, o.Dir+".else"), os.Rename(o.Dir+".else", o.Dir)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wait()
	acked := last()
	for w, key := range writerKeys() {
		for acked[w]++; isDelete(acked[w]); acked[w]++ {
		}
		put(t, d, key, string(version(w, acked[w])))
	}
	closeStore(t, d)
	checkAcknowledged(t, open(t, o), writerKeys(), acked)
}

// checkAcknowledged wants at least these versions, whole and pending, or deleted and not pending.
func checkAcknowledged(t *testing.T, d *jwtstore.Dir, keys []string, last [writers]int) {
	t.Helper()
	pending := map[string]bool{}
	for _, c := range d.Outbox().Pending() {
		pending[c.Key] = true
	}
	for w, key := range keys {
		if last[w] == 0 {
			continue
		}
		jwt, _, err := d.Load(key, jwtstore.Stamp{})
		if errors.Is(err, fs.ErrNotExist) {
			jwt, err = d.Tombstone(key)
		}
		n := versionOf(d, key)
		if err != nil || n < last[w] || string(jwt) != string(version(w, n)) {
			t.Errorf("writer %d: version %d was acknowledged, %d is there: %.40q, %v", w, last[w],
				n, jwt, err)
		}
		if pending[key] == isDelete(n) {
			t.Errorf("writer %d: version %d is pending: %v", w, n, pending[key])
		}
	}
}

// TestAStartDoesNotUndoAnEdit crashes after a file was written and then edited by hand.
func TestAStartDoesNotUndoAnEdit(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	put(t, d, key, "put")
	written(t, d)
	write(t, filepath.Join(dir, jwtstore.Path(true, key)), "edited by hand")
	crashed := t.TempDir()
	copyTree(t, dir, crashed)
	c := open(t, options(t, crashed))
	loads(t, c, key, "edited by hand")
	if len(c.Outbox().Pending()) != 1 {
		t.Error("the change is not pending any more")
	}
}

// TestReplayAndFiles: the journal has a change whose file is not written. What it has replaced does
// not come back, and a newer file that was put there since stays.
func TestReplayAndFiles(t *testing.T) {
	newer := func(_ string, a, b []byte) bool { return string(a) > string(b) }
	for _, c := range []struct {
		name, put, byHand, want string
		deletes                 bool
		again                   string // put after the Delete
	}{
		{"an older one was let in", "1", "", "1", false, ""},
		{"a newer file", "1", "3", "3", false, ""},
		{"an older file", "4", "3", "4", false, ""},
		{"a newer file after a Delete", "1", "3", "3", true, ""},
		{"an older file after a Delete", "4", "3", "", true, ""},
		{"an older one after a Delete", "3", "", "1", true, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, t.TempDir())
			o.Newer = newer
			key, crashed := jwtstoretest.Key(t), t.TempDir()
			d := open(t, o)
			putVersion(t, d, key, "2")
			written(t, d)
			d.HoldFiles(func() {
				if putVersion(t, d, key, c.put); c.deletes {
					del(t, d, key, c.put)
				}
				if c.again != "" {
					putVersion(t, d, key, c.again)
				}
				copyTree(t, o.Dir, crashed)
			})
			if c.byHand != "" {
				write(t, filepath.Join(crashed, jwtstore.Path(true, key)), c.byHand)
			}
			o.Dir = crashed
			warned := 0
			o.Warn = func(format string, args ...any) { warned++ }
			for range 2 { // a start and another one
				d := open(t, o)
				loads(t, d, key, c.want)
				closeStore(t, d)
			}
			if isKept := c.byHand != "" && c.byHand == c.want; isKept != (warned == 1) ||
				warned > 1 {
				t.Errorf("it warns %d times", warned)
			}
		})
	}
}

// putVersion is put with what the index is to know of the JWT.
func putVersion(t *testing.T, d *jwtstore.Dir, key, jwt string) {
	t.Helper()
	if _, err := d.Put(t.Context(), key, "test", []byte(jwt), jwtstoretest.IssuedAt(jwt, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestCopyOfALiveStore copies the directory file by file while 16 writers are at work. Each copy is
// a store with everything that was acknowledged before the copying began.
func TestCopyOfALiveStore(t *testing.T) {
	dir := t.TempDir()
	keys := writerKeys()
	d := open(t, options(t, dir))
	done := make(chan struct{})
	last, wait := writeUntil(t, d, done, func(error) bool { return false })
	for range 8 {
		time.Sleep(rand.N(120 * time.Millisecond)) // any moment will do
		before := last()
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
	wait()
}

// copyTree copies a store file by file, the journal before it looks for anything else: what the
// journal says is in its file by then is. Files that vanish meanwhile are not there.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	copyFiles(t, filepath.Join(from, ".journal"), filepath.Join(to, ".journal"))
	copyFiles(t, from, to)
}

// copyFiles copies a directory, if there is one; what has been copied before stays as it is.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.Name() == ".journal" && exists(target):
		case e.IsDir():
			copyFiles(t, source, target)
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
