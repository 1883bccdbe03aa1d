package jwtstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

func del(t testing.TB, d *jwtstore.Dir, key, tombstone string) {
	t.Helper()
	if err := tryDelete(d, key, tombstone); err != nil {
		t.Fatalf("Delete: %v", err)
	}
}

// keeps wants this tombstone, "" for none.
func keeps(t testing.TB, d *jwtstore.Dir, key, want string) {
	t.Helper()
	kept, err := d.Tombstone(key)
	if err != nil || string(kept) != want || (kept == nil) != (want == "") {
		t.Fatalf("the tombstone is %q, %v, want %q", kept, err, want)
	}
}

func TestAfterADeleteOnlyTheTombstoneIsThere(t *testing.T) {
	for _, shard := range []bool{true, false} {
		// where a JWT and a tombstone lie: sharded or not
		for _, places := range [][]bool{{true}, {false}, {true, false}} {
			dir, key := t.TempDir(), jwtstoretest.Key(t)
			o := options(t, dir)
			o.Shard, o.Announce = shard, false
			for _, sharded := range places {
				write(t, filepath.Join(dir, jwtstore.Path(sharded, key)), "jwt")
				write(t, filepath.Join(dir, jwtstore.Path(sharded, key)+".deleted"), "old")
			}
			d := open(t, o)
			keeps(t, d, key, "old")
			del(t, d, key, "gone")
			loads(t, d, key, "")
			keeps(t, d, key, "gone")
			wantListed(t, d)
			closeStore(t, d)
			path := jwtstore.Path(shard, key) + ".deleted"
			want := []string{"-rw------- " + path + " gone"}
			if shard {
				want = append(want, "drwx------ "+filepath.Dir(path))
			}
			wantTree(t, dir, want...)
			d = open(t, o)
			loads(t, d, key, "")
			keeps(t, d, key, "gone")
		}
	}
}

func TestTombstonesByHand(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	put(t, d, key, "jwt")
	del(t, d, key, "gone")
	written(t, d)
	write(t, path, "by hand")
	loads(t, d, key, "by hand")
	keeps(t, d, key, "gone")
	wantListed(t, d, key)
	write(t, path+".deleted", "edited")
	keeps(t, d, key, "edited")
	_, err := d.Put(t.Context(), key, "test", []byte("put"), jwtstoretest.AllowIf(
		func(stored, tombstone []byte) error {
			if string(stored) != "by hand" || string(tombstone) != "edited" {
				t.Errorf("allow sees %q and %q", stored, tombstone)
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".deleted"); err != nil {
		t.Fatal(err)
	}
	keeps(t, d, key, "")
	written(t, d)
	loads(t, d, key, "put")
	keeps(t, d, key, "")
}

// TestATombstoneThatCanNotBeRead lets nothing be put: it is not known what was deleted.
func TestATombstoneThatCanNotBeRead(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key)+".deleted")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if kept, err := d.Tombstone(key); err == nil {
		t.Errorf("the tombstone is %q", kept)
	}
	if err := tryPut(d, key, "jwt"); err == nil {
		t.Error("Put succeeds")
	}
	loads(t, d, key, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	put(t, d, key, "jwt")
	closeStore(t, d)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if kept, err := open(t, options(t, t.TempDir())).Tombstone(key); kept != nil || err != nil {
		t.Errorf("in an empty store: %q, %v", kept, err)
	}
	if kept, err := d.Tombstone(key); err == nil {
		t.Errorf("without a directory the tombstone is %q", kept)
	}
}

// TestWhatCanNotBeAJWTCanBeDeleted, but a directory can't.
func TestWhatCanNotBeAJWTCanBeDeleted(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(t, path, "")
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Skip(err)
	}
	_, err := d.Delete(t.Context(), key, "test", jwtstoretest.TombstoneIf(
		func(stored, _ []byte) ([]byte, error) {
			if stored != nil {
				t.Errorf("allow sees %d bytes", len(stored))
			}
			return []byte("gone"), nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	written(t, d)
	if exists(path) {
		t.Error("it is there")
	}
	flat := filepath.Join(dir, jwtstore.Path(false, key))
	for _, where := range []string{path, flat, path + ".deleted"} {
		put(t, d, key, "jwt")
		written(t, d)
		_ = os.Remove(where)
		if err := os.Mkdir(where, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := tryDelete(d, key, "gone again"); err == nil {
			t.Errorf("Delete succeeds with a directory at %s", where)
		}
		if err := os.Remove(where); err != nil {
			t.Fatal(err)
		}
	}
	loads(t, d, key, "jwt")
}

// TestATombstoneThatCanNotBeWritten blocks the place of a committed tombstone. It counts all the
// same, a JWT that is put meanwhile is not taken for the deleted one, and when the place is free
// the tombstone is written.
func TestATombstoneThatCanNotBeWritten(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	o := options(t, dir)
	warnings := 0
	o.Warn = func(string, ...any) { warnings++ }
	d := open(t, o)
	path := filepath.Join(dir, jwtstore.Path(true, key))
	put(t, d, key, "one")
	written(t, d)
	d.HoldFiles(func() {
		del(t, d, key, "gone")
		if err := os.Mkdir(path+".deleted", 0o700); err != nil {
			t.Fatal(err)
		}
	})
	d.Flush()
	loads(t, d, key, "")
	keeps(t, d, key, "gone")
	put(t, d, key, "two")
	d.Flush()
	jwtstoretest.Eventually(t, "the JWT is in its file",
		func() bool { b, _ := os.ReadFile(path); return string(b) == "two" })
	d.Flush() // tries the tombstone once more
	loads(t, d, key, "two")
	keeps(t, d, key, "gone")
	copied := t.TempDir()
	copyTree(t, dir, copied)
	_ = os.Remove(filepath.Join(copied, jwtstore.Path(true, key)+".deleted"))
	c := open(t, options(t, copied))
	loads(t, c, key, "two")
	keeps(t, c, key, "gone")
	if err := os.Remove(path + ".deleted"); err != nil {
		t.Fatal(err)
	}
	d.Flush()
	closeStore(t, d)
	if b, err := os.ReadFile(path + ".deleted"); string(b) != "gone" {
		t.Errorf("the tombstone's file has %q, %v", b, err)
	}
	if b, err := os.ReadFile(path); string(b) != "two" {
		t.Errorf("the file has %q, %v", b, err)
	}
	if warnings != 1 {
		t.Errorf("%d warnings", warnings)
	}
}

// fastDir is a new directory in memory, if there is a file system in memory. What survives a power
// cut is not the question there.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "jwtstore")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// account is what a model of the store knows of one.
type account struct {
	jwt, tombstone string
	pending        bool
	floor          int64
}

// put puts the account's JWT, which was issued at n.
func (a *account) put(t *testing.T, d *jwtstore.Dir, key string, n int) {
	t.Helper()
	a.floor = int64(n)
	_, err := d.Put(t.Context(), key, "test", []byte(a.jwt), jwtstoretest.IssuedAt(a.jwt, a.floor))
	if err != nil {
		t.Fatal(err)
	}
}

// TestDeletesAndPutsAndCrashes plays random events on a store and on a model of it, and looks after
// each at what a process would find that is started after a crash at that moment.
func TestDeletesAndPutsAndCrashes(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			o := options(t, fastDir(t))
			o.Shard = seed%2 == 0
			warn := o.Warn
			o.Warn = func(format string, args ...any) {
				if !strings.HasPrefix(format, "the index is made anew") { // its directory was removed
					warn(format, args...)
				}
			}
			d := open(t, o)
			if seed < 3 {
				d.Outbox().Register("s1", time.Now())
			}
			model := map[string]*account{}
			keys := writerKeys()[:3]
			for _, key := range keys {
				model[key] = &account{}
			}
			for n := range 60 {
				key := keys[rnd.IntN(len(keys))]
				d = event(t, d, &o, key, model[key], n, rnd)
				matches(t, d, model)
				copied := o
				copied.Dir = fastDir(t)
				copyTree(t, o.Dir, copied.Dir)
				c := open(t, copied)
				matches(t, c, model)
				closeStore(t, c)
				matchesFiles(t, copied, model)
			}
		})
	}
}

// event does one thing with the store and with the model of an account.
func event(t *testing.T, d *jwtstore.Dir, o *jwtstore.Options, key string, a *account, n int,
	rnd *rand.Rand) *jwtstore.Dir {
	t.Helper()
	switch rnd.IntN(9) {
	case 0, 1, 2:
		a.jwt, a.pending = fmt.Sprint("jwt ", n), true
		a.put(t, d, key, n)
	case 3, 4, 5:
		if a.jwt == "" {
			return d
		}
		a.jwt, a.tombstone, a.pending = "", fmt.Sprint("tombstone ", n), false
		del(t, d, key, a.tombstone)
	case 6:
		d.Flush()
	case 7:
		d.HoldFiles(func() { // the next commit makes a checkpoint
			if err := os.RemoveAll(filepath.Join(o.Dir, ".journal")); err != nil {
				t.Fatal(err)
			}
		})
		a.jwt, a.pending = fmt.Sprint("jwt ", n), true
		a.put(t, d, key, n)
	case 8:
		closeStore(t, d)
		o.Shard = !o.Shard
		return open(t, *o)
	}
	return d
}

// matches compares a store with the model.
func matches(t *testing.T, d *jwtstore.Dir, model map[string]*account) {
	t.Helper()
	var stored []string
	for key, a := range model {
		loads(t, d, key, a.jwt)
		keeps(t, d, key, a.tombstone)
		if a.jwt != "" {
			stored = append(stored, key)
		}
		v := d.Index().Get(key)
		if d.Index().Lost() == 0 && (v.Floor.IssuedAt != a.floor || v.Stored() != (a.jwt != "")) {
			t.Fatalf("the index has %+v, want %+v", v, a)
		}
		if pending := d.Outbox().PendingFor(key).Key == key; pending != a.pending {
			t.Fatalf("pending: %v, want %v", pending, a.pending)
		}
	}
	wantListed(t, d, stored...)
}

// matchesFiles compares the directory of a closed store with the model. A file may lie as with the
// other setting of Shard until its account is put or deleted; a JWT is in one place.
func matchesFiles(t *testing.T, o jwtstore.Options, model map[string]*account) {
	t.Helper()
	for key, a := range model {
		first, second := filepath.Join(o.Dir, jwtstore.Path(o.Shard, key)), filepath.Join(o.Dir,
			jwtstore.Path(!o.Shard, key))
		if exists(first) && exists(second) {
			t.Fatalf("%s is in both places", key)
		}
		for _, suffix := range []string{"", ".deleted"} {
			content, err := os.ReadFile(first + suffix)
			if errors.Is(err, fs.ErrNotExist) {
				content, _ = os.ReadFile(second + suffix)
			}
			want := map[string]string{"": a.jwt, ".deleted": a.tombstone}[suffix]
			if string(content) != want {
				t.Fatalf("%s%s has %q, want %q", key, suffix, content, want)
			}
		}
	}
}
