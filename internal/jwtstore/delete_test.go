package jwtstore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

func del(t testing.TB, d *jwtstore.Dir, key, tombstone string) {
	t.Helper()
	_, err := d.Delete(context.Background(), key, "test", func(_, _ []byte) ([]byte, error) { return []byte(tombstone), nil })
	if err != nil {
		t.Fatalf("Delete: %v", err)
	}
}

func gone(t testing.TB, d *jwtstore.Dir, key, tombstone string) {
	t.Helper()
	if jwt, _, err := d.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %q, %v", jwt, err)
	}
	if got, err := d.Tombstone(key); err != nil || string(got) != tombstone {
		t.Errorf("the tombstone is %q, %v, want %q", got, err, tombstone)
	}
}

// TestADeletionTakesTheFile at both places that it can have, and leaves the tombstone where it was.
func TestADeletionTakesTheFile(t *testing.T) {
	for _, shard := range []bool{false, true} {
		dir, key := t.TempDir(), jwtstoretest.Key(t)
		o := options(t, dir)
		o.Shard = shard
		o.Announce = false
		d := open(t, o)
		write(t, filepath.Join(dir, key+".jwt"), "flat")
		write(t, filepath.Join(dir, key[54:], key+".jwt"), "sharded")
		del(t, d, key, "tomb")
		gone(t, d, key, "tomb")
		closeStore(t, d)
		for path, want := range map[string]bool{
			key + ".jwt":                                false,
			filepath.Join(key[54:], key+".jwt"):         false,
			key + ".jwt.deleted":                        !shard,
			filepath.Join(key[54:], key+".jwt.deleted"): shard,
		} {
			if _, err := os.Stat(filepath.Join(dir, path)); (err == nil) != want {
				t.Errorf("%s: %v", path, err)
			}
		}
		o.Shard = !shard
		d = open(t, o)
		gone(t, d, key, "tomb")
		closeStore(t, d)
	}
}

// TestADeletionOutlivesACrash: whatever is copied while the store lives is a store in which it has happened.
func TestADeletionOutlivesACrash(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	crashed := func() *jwtstore.Dir {
		t.Helper()
		copied := t.TempDir()
		copyTree(t, dir, copied)
		return open(t, options(t, copied))
	}
	put(t, d, key, "one")
	for _, settled := range []bool{false, true} {
		if settled {
			written(t, d)
		}
		del(t, d, key, "tomb")
		c := crashed()
		gone(t, c, key, "tomb")
		if slices.ContainsFunc(c.Changes(), func(c jwtstore.Change) bool { return c.Key == key }) {
			t.Error("it is owed to somebody")
		}
		closeStore(t, c)
		if settled {
			written(t, d)
			c = crashed()
			gone(t, c, key, "tomb")
			closeStore(t, c)
		}
		put(t, d, key, "two")
		c = crashed()
		loads(t, c, key, "two")
		if got, _ := c.Tombstone(key); string(got) != "tomb" {
			t.Errorf("the tombstone is %q", got)
		}
		closeStore(t, c)
	}
	closeStore(t, d)
}

// TestADeletionThatCanNotBeWritten fails, or waits in the journal: the JWT is never half there.
func TestADeletionThatCanNotBeWritten(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	o, _ := tolerant(t, dir)
	d := open(t, o)
	defer d.Close()
	put(t, d, key, "one")
	written(t, d)
	if err := os.Mkdir(filepath.Join(dir, key+".jwt.deleted"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := d.Delete(context.Background(), key, "test", func(_, _ []byte) ([]byte, error) { return []byte("tomb"), nil })
	if err == nil {
		gone(t, d, key, "tomb") // it is in the journal
	} else {
		loads(t, d, key, "one")
	}
	if err := os.Remove(filepath.Join(dir, key+".jwt.deleted")); err != nil {
		t.Fatal(err)
	}
	del2 := func() error {
		_, err := d.Delete(context.Background(), key, "test", func(_, _ []byte) ([]byte, error) { return []byte("tomb"), nil })
		return err
	}
	if err := del2(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	gone(t, d, key, "tomb")
}
