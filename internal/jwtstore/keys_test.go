package jwtstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

func wantListed(t testing.TB, d *jwtstore.Dir, want ...string) {
	t.Helper()
	keys, errs := jwtstoretest.Stored(t, d)
	if len(errs) > 0 || !slices.Equal(keys, slices.Sorted(slices.Values(want))) {
		t.Fatalf("listed are %q, %v, want %q", keys, errs, want)
	}
}

// TestKeysAreThoseOfFilesInTheirPlace has files in both places, in a wrong one, and others.
func TestKeysAreThoseOfFilesInTheirPlace(t *testing.T) {
	for _, shard := range []bool{true, false} {
		dir, keys := t.TempDir(), writerKeys()
		elsewhere := filepath.Join(t.TempDir(), "jwt")
		write(t, elsewhere, "linked")
		o := options(t, dir)
		o.Shard = shard
		sharded := func(n int) string { return filepath.Join(dir, jwtstore.Path(true, keys[n])) }
		flat := func(n int) string { return filepath.Join(dir, jwtstore.Path(false, keys[n])) }
		for _, path := range []string{
			sharded(0), flat(0), sharded(1), flat(2),
			filepath.Join(dir, "AA", keys[3]+".jwt"), flat(4) + ".bak", sharded(4) + ".deleted",
			flat(5)[:len(flat(5))-4],
			filepath.Join(dir, "A2", "notes.jwt"), filepath.Join(dir, "other", keys[6]+".jwt"),
		} {
			write(t, path, "jwt")
		}
		err := errors.Join(os.Mkdir(flat(7), 0o700), os.Symlink(elsewhere, flat(8)),
			os.Symlink("/nowhere", flat(9)), os.Symlink(dir, flat(10)))
		if err != nil {
			t.Fatal(err)
		}
		d := open(t, o)
		wantListed(t, d, keys[0], keys[1], keys[2], keys[8])
		put(t, d, keys[1], "new")
		put(t, d, keys[2], "new")
		put(t, d, keys[11], "new")
		wantListed(t, d, keys[0], keys[1], keys[2], keys[8], keys[11])
		written(t, d)
		wantListed(t, d, keys[0], keys[1], keys[2], keys[8], keys[11])
	}
}

func TestKeysGoesOnAfterADirectoryThatCanNotBeRead(t *testing.T) {
	dir, keys := t.TempDir(), writerKeys()[:2]
	d := open(t, options(t, dir))
	for _, key := range keys {
		write(t, filepath.Join(dir, jwtstore.Path(true, key)), "jwt")
	}
	write(t, filepath.Join(dir, "22"), "a file where a directory should be") // comes before every other
	got, errs := jwtstoretest.Stored(t, d)
	if len(got) != 2 || len(errs) != 1 || !errors.Is(errs[0], syscall.ENOTDIR) {
		t.Errorf("listed are %q, %v", got, errs)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got, errs := jwtstoretest.Stored(t, d); len(got) != 0 || len(errs) == 0 {
		t.Errorf("without a directory are listed %q, %v", got, errs)
	}
}

// moving is a store in which something is done when a Scan has found the first account.
type moving struct {
	*jwtstore.Dir
	do func()
}

func (m moving) Scan(ctx context.Context, o jwtstore.Scan) error {
	look := o.Look
	o.Look = func(key string, err error) bool {
		m.do()
		return look(key, err)
	}
	return m.Dir.Scan(ctx, o)
}

// TestKeysWhileFilesTakeTheirNewPlace moves everything, at the first account that is found, from
// where it lies as with the other setting of Shard.
func TestKeysWhileFilesTakeTheirNewPlace(t *testing.T) {
	for _, shard := range []bool{true, false} {
		dir, keys := t.TempDir(), writerKeys()
		write(t, filepath.Join(dir, jwtstore.Path(shard, keys[0])), "in its place")
		for _, key := range keys[1:] {
			write(t, filepath.Join(dir, jwtstore.Path(!shard, key)), "old")
		}
		o := options(t, dir)
		o.Shard = shard
		d := open(t, o)
		move := sync.OnceFunc(func() {
			for _, key := range keys[1:] {
				_, err := d.Put(t.Context(), key, "test", []byte("new"), jwtstoretest.IssuedAt("new", 1))
				if err != nil {
					t.Error(err)
				}
			}
			d.Flush()
		})
		got, errs := jwtstoretest.Stored(t, moving{d, move})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if want := slices.Sorted(slices.Values(keys)); !slices.Equal(got, want) {
			t.Errorf("shard %v: listed are %q, want %q", shard, got, want)
		}
		if exists(filepath.Join(dir, jwtstore.Path(!shard, keys[1]))) {
			t.Error("nothing has moved")
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
