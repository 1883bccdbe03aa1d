package jwtstore_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// watched opens a store that compares numbered versions. What it warns of is in warnings.
func watched(t *testing.T, o jwtstore.Options) (d *jwtstore.Dir, warnings *[]string) {
	t.Helper()
	warnings = new([]string)
	o.Newer = func(_ string, a, b []byte) bool { return numberIn(a) > numberIn(b) }
	o.Warn = func(format string, args ...any) {
		*warnings = append(*warnings, fmt.Sprintf(format, args...))
	}
	return open(t, o), warnings
}

// rename puts a version at a path, as rsync and git do.
func rename(t *testing.T, path string, n int64) {
	t.Helper()
	temp := filepath.Join(t.TempDir(), "copied")
	write(t, temp, numbered(n))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// TestAFileThatComesBeforeTheFlush stays if it is newer than what was committed. What the commit
// knew is replaced, also if it is newer, because of allow_older.
func TestAFileThatComesBeforeTheFlush(t *testing.T) {
	for _, row := range []struct {
		name    string
		had     int64   // is stored at first; 0: nothing is
		commits []int64 // versions, one after the other; 0: a deletion
		file    int64   // is put there then
		other   bool    // in the other layout
		served  int64
	}{
		{name: "of a new account", commits: []int64{3}, file: 9, served: 9},
		{name: "of a stored one", had: 1, commits: []int64{3}, file: 9, served: 9},
		{name: "of a deleted one", had: 3, commits: []int64{0}, file: 9, served: 9},
		{name: "of one that changes twice", had: 1, commits: []int64{3, 4}, file: 9, served: 9},
		{name: "of one that comes back", had: 1, commits: []int64{0, 4}, file: 9, served: 9},
		{name: "in the other layout", had: 1, commits: []int64{3}, file: 9, other: true, served: 9},
		{name: "in the other layout, deleted", had: 1, commits: []int64{0}, file: 9,
			other: true, served: 9},
		{name: "older", had: 1, commits: []int64{3}, file: 2, served: 3},
		{name: "older, in the other layout", had: 1, commits: []int64{3}, file: 2,
			other: true, served: 3},
		{name: "older than what is deleted", had: 3, commits: []int64{0}, file: 2, served: 0},
		{name: "the same", had: 1, commits: []int64{3}, file: 3, served: 3},
		{name: "what an older one has replaced", had: 5, commits: []int64{3}, file: 5, served: 3},
		{name: "what two older ones have replaced", had: 5, commits: []int64{4, 3},
			file: 5, served: 3},
		{name: "older than what was replaced, in the other layout", had: 5, commits: []int64{3}, file: 4,
			other: true, served: 3},
		{name: "newer than what was replaced", had: 5, commits: []int64{3}, file: 6, served: 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
			d, warnings := watched(t, o)
			defer closeStore(t, d)
			if row.had > 0 {
				putNumbered(t, d, key, row.had)
				d.Flush()
			}
			d.HoldFiles(func() {
				for _, n := range row.commits {
					if n == 0 {
						del(t, d, key, numbered(row.had))
					} else {
						putNumbered(t, d, key, n)
					}
				}
				rename(t, filepath.Join(o.Dir, jwtstore.Path(!row.other, key)), row.file)
			})
			d.Flush()
			want := ""
			if row.served > 0 {
				want = numbered(row.served)
			}
			loads(t, d, key, want)
			if path := filepath.Join(o.Dir, jwtstore.Path(true, key)); exists(path) != (row.served > 0) {
				t.Error("the file is not where it should be")
			}
			if exists(filepath.Join(o.Dir, jwtstore.Path(false, key))) || d.Unflushed() > 0 {
				t.Error("something is left")
			}
			isKept := row.served == row.file && row.file > 5
			text := strings.Join(*warnings, "\n")
			if strings.Contains(text, key) != isKept || !isKept && text != "" {
				t.Errorf("the warnings are %q", *warnings)
			}
			if v := d.Index().Get(key); isKept && v.Stored() && !v.Stamp.IsHot() {
				t.Errorf("the index does not look at the file again: %+v", v)
			}
		})
	}
}

// TestATombstoneThatComesBeforeTheFlush stays if it is newer than that of the Delete. The JWT goes.
func TestATombstoneThatComesBeforeTheFlush(t *testing.T) {
	for _, n := range []int64{4, 9} {
		for _, isOther := range []bool{false, true} {
			o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
			d, _ := watched(t, o)
			putNumbered(t, d, key, 3)
			d.Flush()
			d.HoldFiles(func() {
				del(t, d, key, numbered(5))
				rename(t, filepath.Join(o.Dir, jwtstore.TombstonePath(!isOther, key)), n)
			})
			d.Flush()
			loads(t, d, key, "")
			keeps(t, d, key, numbered(max(n, 5)))
			if exists(filepath.Join(o.Dir, jwtstore.TombstonePath(false, key))) || d.Unflushed() > 0 {
				t.Error("something is left")
			}
			closeStore(t, d)
		}
	}
}

// TestANewerFileWhileNothingCanBeWritten is served at the next attempt to write. What can't be
// written is not missed.
func TestANewerFileWhileNothingCanBeWritten(t *testing.T) {
	o, kept, deleted := options(t, t.TempDir()), jwtstoretest.Key(t), jwtstoretest.Key(t)
	d, warnings := watched(t, o)
	putNumbered(t, d, deleted, 3)
	d.Flush()
	block := func(i int) string {
		return filepath.Join(o.Dir, ".journal", fmt.Sprint("temp-", i), "in the way")
	}
	d.HoldFiles(func() {
		putNumbered(t, d, kept, 3)
		del(t, d, deleted, numbered(3))
		for i := range 50 { // more than there are attempts
			write(t, block(i), "")
		}
	})
	d.Flush()
	if text := strings.Join(*warnings, "\n"); !strings.Contains(text, "can't be written") {
		t.Fatalf("they can be written: %q", *warnings)
	}
	for _, key := range []string{kept, deleted} {
		rename(t, filepath.Join(o.Dir, jwtstore.Path(true, key)), 9)
	}
	d.Flush()
	for _, key := range []string{kept, deleted} {
		loads(t, d, key, numbered(9))
	}
	keeps(t, d, deleted, numbered(3))
	for i := range 50 {
		if err := os.RemoveAll(filepath.Dir(block(i))); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, d)
	d, _ = watched(t, o)
	defer closeStore(t, d)
	for _, key := range []string{kept, deleted} {
		loads(t, d, key, numbered(9))
	}
	keeps(t, d, deleted, numbered(3))
}

// TestACommitDoesNotLowerAFloor that was raised after it was allowed: what was found meanwhile
// counts too. The floor that it knew may be lowered, as with allow_older.
func TestACommitDoesNotLowerAFloor(t *testing.T) {
	for _, row := range []struct {
		name             string
		had, raised, put int64 // 0: none is raised, or it is a deletion
		floor            int64
		replaced         []int64 // within the second of the floor
	}{
		{name: "none is found", had: 1, put: 3, floor: 3},
		{name: "none is found, as with allow_older", had: 5, put: 3, floor: 3},
		{name: "a newer one", had: 1, raised: 9, put: 3, floor: 9},
		{name: "a newer one, as with allow_older", had: 5, raised: 9, put: 3, floor: 9},
		{name: "an older one", had: 1, raised: 2, put: 3, floor: 3},
		{name: "one of its second", had: 10, raised: 11, put: 12, floor: 12,
			replaced: []int64{10, 11}},
		{name: "a newer one of what is deleted", had: 1, raised: 9, floor: 9},
	} {
		t.Run(row.name, func(t *testing.T) {
			d, key := open(t, options(t, t.TempDir())), jwtstoretest.Key(t)
			defer closeStore(t, d)
			// From version 10 on all are of one second.
			after := func(f jwtstore.Floor, n int64) jwtstore.Floor {
				return f.After(min(n, 10), sha256.Sum256([]byte(numbered(n))))
			}
			raise := func() {
				old := d.Index().Get(key)
				raised := old
				raised.Floor = after(old.Floor, row.raised)
				if row.raised > 0 && !d.Index().Swap(key, old, raised) {
					t.Error("it is not raised")
				}
			}
			commit := func(n int64, meanwhile func()) {
				t.Helper()
				_, err := d.Put(t.Context(), key, "test", []byte(numbered(n)),
					func(now jwtstore.Stored) (jwtstore.Version, error) {
						meanwhile()
						return jwtstore.Version{IssuedAt: n, Floor: after(now.Floor, n)}, nil
					})
				if err != nil {
					t.Fatal(err)
				}
			}
			commit(row.had, func() {})
			if row.put > 0 {
				commit(row.put, raise)
			} else if _, err := d.Delete(t.Context(), key, "test",
				func(jwtstore.Stored) ([]byte, error) {
					raise()
					return []byte(numbered(row.had)), nil
				}); err != nil {
				t.Fatal(err)
			}
			floor := d.Index().Get(key).Floor
			want := sha256.Sum256([]byte(numbered(row.floor)))
			if floor.IssuedAt != min(row.floor, 10) || floor.Hash != want {
				t.Errorf("the floor is of %d", floor.IssuedAt)
			}
			for _, n := range row.replaced {
				if !floor.HasReplaced(sha256.Sum256([]byte(numbered(n)))) {
					t.Errorf("version %d may come back", n)
				}
			}
		})
	}
}

// TestARaisedFloorIsDurable soon, whether the index can be written at once or only later.
func TestARaisedFloorIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
		d, _ := watched(t, o)
		defer closeStore(t, d)
		raise := func(n int64) {
			t.Helper()
			old := d.Index().Get(key)
			raised := old
			raised.Floor = old.Floor.After(n, sha256.Sum256([]byte(numbered(n))))
			if !d.Index().Swap(key, old, raised) {
				t.Error("it is not raised")
			}
		}
		isAfterCrash := func(n int64) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			crashed := o
			crashed.Dir = t.TempDir()
			copyTree(t, o.Dir, crashed.Dir)
			after, _ := watched(t, crashed)
			defer closeStore(t, after)
			if floor := after.Index().Get(key).Floor.IssuedAt; floor != n {
				t.Errorf("after a crash the floor is %d, want %d", floor, n)
			}
		}
		raise(5)
		isAfterCrash(5)
		// The index is begun anew, and that can't be done.
		if err := os.RemoveAll(filepath.Join(o.Dir, ".journal")); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(o.Dir, ".journal", "index.next", "file"), "")
		raise(6)
		isAfterCrash(0)
		if err := os.RemoveAll(filepath.Join(o.Dir, ".journal", "index.next")); err != nil {
			t.Fatal(err)
		}
		isAfterCrash(6)
	})
}

// TestAFilePutThereDuringAFlush replaces the file that was just written, before the index has its
// stamp: the index must not take the one for the other.
func TestAFilePutThereDuringAFlush(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	for i := range 10 {
		jwt, byHand := fmt.Sprint("jwt ", i), fmt.Sprint("by hand ", i)
		write(t, filepath.Join(dir, "hand"), byHand)
		if _, err := d.Put(t.Context(), key, "test", []byte(jwt), jwtstoretest.IssuedAt(jwt, 1)); err != nil {
			t.Fatal(err)
		}
		var replacing sync.WaitGroup
		replacing.Go(func() {
			for content := ""; content != jwt; {
				b, _ := os.ReadFile(path)
				content = string(b)
			}
			if err := os.Rename(filepath.Join(dir, "hand"), path); err != nil {
				t.Error(err)
			}
		})
		written(t, d)
		replacing.Wait()
		_, stamp, err := jwtstore.ReadFile(path, jwtstore.Stamp{})
		for err == nil && stamp.IsHot() {
			_, stamp, err = jwtstore.ReadFile(path, jwtstore.Stamp{})
		}
		if err != nil || d.Index().Get(key).Stamp == stamp {
			t.Fatalf("the index has the stamp of %q for %q, %v", byHand, jwt, err)
		}
	}
}
