package jwtstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

func TestMemory(t *testing.T) {
	jwtstoretest.Run(t, func(*testing.T) (jwtstoretest.Store, func() jwtstoretest.Store) {
		return jwtstore.NewMemory(true), nil
	})
}

func TestDir(t *testing.T) {
	for _, shard := range []bool{true, false} {
		t.Run(map[bool]string{true: "sharded", false: "flat"}[shard], func(t *testing.T) {
			jwtstoretest.Run(t, func(t *testing.T) (jwtstoretest.Store, func() jwtstoretest.Store) {
				o := options(t, tempDir(t))
				o.Shard = shard
				d := open(t, o)
				return d, func() jwtstoretest.Store {
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
					d = open(t, o)
					return d
				}
			})
		})
	}
}

// tempDir is t.TempDir, whose end needs what Wine 8 lacks.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(dir) })
	return dir
}

// removeTree removes what is in a directory, and the directory at last.
func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.IsDir() {
			removeTree(path)
		} else {
			_ = os.Remove(path)
		}
	}
	_ = os.Remove(dir)
}

// options fail the test at the first warning.
func options(t testing.TB, dir string) jwtstore.Options {
	return jwtstore.Options{Dir: dir, Shard: true, Announce: true, LockWait: 1, Warn: t.Errorf}
}

// open opens a store that is closed at the end of the test.
func open(t testing.TB, o jwtstore.Options) *jwtstore.Dir {
	t.Helper()
	d, err := jwtstore.OpenDir(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
