package jwtstore_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// TestIndexFileOnAFullDisk puts until the disk is full, gives room, and goes on. What a put that
// failed wanted is not there, and all else is, also for the next process.
func TestIndexFileOnAFullDisk(t *testing.T) {
	mergeOften(t)
	dir := smallDisk(t, "2m")
	path := filepath.Join(dir, "index")
	f := openIndexFile(t, path)
	want := map[string][]byte{}
	failed := 0
	for put := range 60 {
		values := map[string][]byte{}
		for n := range 100 {
			values[indexKey(put%10*500+n*5)] = indexValue(n, put)
		}
		room := func() {}
		if put%3 == 1 {
			room = fill(t, dir)
		}
		err := f.Put(values, []byte("note"))
		switch {
		case err == nil:
			maps.Copy(want, values)
		case !errors.Is(err, syscall.ENOSPC) || errors.Is(err, jwtstore.ErrIndexDamaged):
			t.Fatal(err)
		default:
			failed++
		}
		if got := scanIndex(t, f, 100); !maps.Equal(got, asStrings(want)) {
			t.Fatalf("put %d: %d values, want %d", put, len(got), len(want))
		}
		room()
		if put%6 == 0 {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = openIndexFile(t, path)
		}
	}
	if failed == 0 || failed > 40 {
		t.Errorf("%d puts failed", failed)
	}
}

func TestIndexFileIsNotMadeOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, "64k")
	path := filepath.Join(dir, "index")
	room := fill(t, dir)
	if _, err := jwtstore.OpenIndexFile(path); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
	room()
	putIndex(t, openIndexFile(t, path), map[string][]byte{"a": []byte("1")}, "")
}

// TestIndexFileThatIsAFIFO does not wait for a process at its other end.
func TestIndexFileThatIsAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := jwtstore.OpenIndexFile(path); !errors.Is(err, jwtstore.ErrIndexDamaged) {
		t.Errorf("the error is %v", err)
	}
}

// TestIndexFileOnAReadOnlyDisk is read, and written to when the disk can be written to again.
func TestIndexFileOnAReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	path := filepath.Join(dir, "index")
	f := openIndexFile(t, path)
	fillIndex(t, f, 100, 1)
	_ = f.Close()
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
			jwttest.Lacks(t, "mount", err)
		}
	}
	remount(unix.MS_RDONLY)
	f = openIndexFile(t, path)
	if second := openIndexFile(t, path); len(scanIndex(t, second, 50)) != 100 { // of another process
		t.Error("the second lacks values")
	}
	if got := scanIndex(t, f, 50); len(got) != 100 {
		t.Errorf("%d values", len(got))
	}
	value := map[string][]byte{"a": []byte("1")}
	if err := f.Put(value, nil); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Put: %v", err)
	}
	remount(0)
	for range 3 {
		putIndex(t, f, value, "note")
	}
	if _, err := jwtstore.OpenIndexFile(path); !errors.Is(err, jwtstore.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if got := scanIndex(t, f, 50); len(got) != 101 || got["a"] != "1" {
		t.Errorf("%d values", len(got))
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
