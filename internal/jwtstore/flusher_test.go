package jwtstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// putMany puts n JWTs of new accounts while nothing is flushed, and returns them by key.
func putMany(t *testing.T, d *jwtstore.Dir, n int) map[string]string {
	t.Helper()
	jwts := map[string]string{}
	d.HoldFiles(func() {
		var all sync.WaitGroup
		for i := range n {
			key, jwt := jwtstoretest.Key(t), fmt.Sprint("jwt ", i)
			jwts[key] = jwt
			all.Go(func() {
				if err := tryPut(d, key, jwt); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
	return jwts
}

// TestFilesWaitForCommits: many on a fast disk, and on a slow one also few, which take most of the
// time.
func TestFilesWaitForCommits(t *testing.T) {
	for _, c := range []struct {
		commits uint64
		each    time.Duration
		want    bool
	}{
		{1000, 300 * time.Microsecond, true},
		{50, 8 * time.Millisecond, false},
		{100, 8 * time.Millisecond, true},
		{100, time.Millisecond, false},
		{0, 0, false},
	} {
		if jwtstore.IsBusy(c.commits, time.Duration(c.commits)*c.each, time.Second) != c.want {
			t.Errorf("%d commits of %s in a second: busy is not %t", c.commits, c.each, c.want)
		}
	}
}

// TestABatchIsSyncedAsAWhole: the files of many changes take two syncs of the file system, one
// before any file has its name, and one after the last has it.
func TestABatchIsSyncedAsAWhole(t *testing.T) {
	o := options(t, t.TempDir())
	var named []int // the files that have their names, at each sync
	defer jwtstore.SetSyncFileSystem(func(*os.File) error {
		files, err := filepath.Glob(filepath.Join(o.Dir, "*", "*.jwt"))
		named = append(named, len(files))
		return err
	})()
	d := open(t, o)
	jwts := putMany(t, d, 100)
	d.Flush()
	if d.Unflushed() != 0 || fmt.Sprint(named) != "[0 100]" {
		t.Errorf("%d are unflushed, files at the syncs: %v", d.Unflushed(), named)
	}
	for key, want := range jwts {
		loads(t, d, key, want)
	}
	named = nil
	putMany(t, d, 3) // each is synced by itself
	d.Flush()
	if d.Unflushed() != 0 || len(named) > 0 {
		t.Errorf("%d of three are unflushed, %d syncs of the file system", d.Unflushed(), len(named))
	}
}

// TestASyncOfTheFileSystemThatFails leaves the whole batch in the journal, whichever sync it is. The
// next attempt syncs each file: the error may be about one of another program.
func TestASyncOfTheFileSystemThatFails(t *testing.T) {
	for _, failing := range []int{1, 2} {
		t.Run(fmt.Sprint("sync ", failing), func(t *testing.T) {
			o := options(t, t.TempDir())
			var warnings []string
			o.Warn = func(format string, args ...any) {
				warnings = append(warnings, fmt.Sprintf(format, args...))
			}
			syncs := 0
			defer jwtstore.SetSyncFileSystem(func(*os.File) error {
				if syncs++; syncs == failing {
					return os.NewSyscallError("syncfs", syscall.EIO)
				}
				return nil
			})()
			d := open(t, o)
			crashed := t.TempDir()
			jwts := putMany(t, d, 100)
			d.Flush()
			if d.Unflushed() != 100 || len(warnings) != 1 || !strings.Contains(warnings[0], "syncfs") {
				t.Errorf("%d are unflushed, warnings: %q", d.Unflushed(), warnings)
			}
			copyTree(t, o.Dir, crashed)
			d.Flush()
			if d.Unflushed() != 0 || syncs != failing {
				t.Errorf("%d are unflushed after the second attempt, %d syncs of the file system",
					d.Unflushed(), syncs)
			}
			left, _ := filepath.Glob(filepath.Join(o.Dir, ".journal", "temp-*"))
			if len(left) > 0 {
				t.Errorf("temp files are left: %q", left)
			}
			o.Dir = crashed
			c := open(t, o)
			for key, want := range jwts {
				loads(t, c, key, want)
				loads(t, d, key, want)
			}
		})
	}
}

// TestAfterABurst: the journal has what was put while the files waited. A start after a crash writes
// one batch of them before it answers, and the others later. When the files are written the journal
// becomes small again.
func TestAfterABurst(t *testing.T) {
	o, crashed := options(t, t.TempDir()), t.TempDir()
	d := open(t, o)
	d.HoldFiles(func() {
		for i := range 1200 {
			put(t, d, jwtstoretest.Key(t), fmt.Sprintf("%01000d", i))
		}
		copyTree(t, o.Dir, crashed)
	})
	d.Flush()
	put(t, d, jwtstoretest.Key(t), "one more")
	info, err := os.Stat(filepath.Join(o.Dir, ".journal", "journal"))
	if err != nil || info.Size() > 1<<20 {
		t.Errorf("the journal has %d bytes after the files are written, %v", info.Size(), err)
	}
	var syncs atomic.Int32
	defer jwtstore.SetSyncFileSystem(func(*os.File) error { syncs.Add(1); return nil })()
	o.Dir = crashed
	c := open(t, o)
	if n := syncs.Load(); n != 2 {
		t.Errorf("the start has synced %d times, which is not one batch", n)
	}
	written(t, c)
	files, err := filepath.Glob(filepath.Join(crashed, "*", "*.jwt"))
	if err != nil || len(files) != 1200 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// TestFaultsInTheOpenDirectoryHaveWholePaths since people read them in the log.
func TestFaultsInTheOpenDirectoryHaveWholePaths(t *testing.T) {
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	from, to := filepath.Join(path, "from"), filepath.Join(path, "AA", "to")
	err = jwtstore.RenameIn(dir, "from", filepath.Join("AA", "to"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), from+" "+to+": ") {
		t.Errorf("rename: %v", err)
	}
	if err := os.Mkdir(from, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := jwtstore.RemoveIn(dir, "from"); err == nil || !strings.Contains(err.Error(), " "+from+": ") {
		t.Errorf("remove: %v", err)
	}
}

// TestAReadOnlyFileIsRemoved on Windows too, where that is not a matter of its directory.
func TestAReadOnlyFileIsRemoved(t *testing.T) {
	path := tempDir(t)
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := jwtstore.RemoveIn(dir, "file"); err != nil {
		t.Error(err)
	}
}
