package jwtstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

func init() {
	children["lock directory"] = lockDirectoryUntilKilled
	children["lock file"] = lockFileUntilKilled
}

// lockDirectoryUntilKilled does what earlier versions of this program do.
func lockDirectoryUntilKilled(dir string) error { return lockUntilKilled(dir) }

// lockFileUntilKilled locks only the file, as on a file system that locks no directories.
func lockFileUntilKilled(dir string) error {
	path := filepath.Join(dir, ".lock-file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return lockUntilKilled(path)
}

func lockUntilKilled(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, errors.New("not killed"))
}

// TestEveryLockKeepsAProcessOut has another process with the lock that earlier versions take, and
// with the one that is there where directories can't be locked.
func TestEveryLockKeepsAProcessOut(t *testing.T) {
	for _, name := range []string{"lock directory", "lock file"} {
		dir := t.TempDir()
		p, out := child(t, name, dir, func(c *exec.Cmd) { _, _ = c.StdinPipe() })
		if _, err := fmt.Fscanln(out, new(string)); err != nil {
			t.Fatal(err)
		}
		d, err := jwtstore.OpenDir(context.Background(), options(t, dir))
		if !errors.Is(err, jwtstore.ErrLocked) {
			t.Errorf("%s: a second process: %v, %v", name, d, err)
		}
		_ = p.Process.Kill()
		_ = p.Wait()
		put(t, open(t, options(t, dir)), jwtstoretest.Key(t), "jwt")
	}
}

// TestAnOpenStoreKeepsEarlierVersionsOut tries the lock that they take.
func TestAnOpenStoreKeepsEarlierVersionsOut(t *testing.T) {
	dir := t.TempDir()
	open(t, options(t, dir))
	for _, path := range []string{dir, filepath.Join(dir, ".lock-file")} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
			t.Errorf("%s can be locked: %v", path, err)
		}
	}
}

// refuse lets flock fail with err for directories, and for files with fileErr if that is not nil.
func refuse(t *testing.T, err, fileErr error) {
	t.Cleanup(jwtstore.SetFlock(func(fd, how int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			return err
		case fileErr != nil:
			return fileErr
		}
		return unix.Flock(fd, how)
	}))
}

// TestAFileSystemThatLocksFilesOnly stands in for a network file system.
func TestAFileSystemThatLocksFilesOnly(t *testing.T) {
	for _, refused := range []error{unix.EBADF, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP} {
		t.Run(refused.Error(), func(t *testing.T) {
			refuse(t, refused, nil)
			aRemovedLockFile(t)
		})
	}
}

// aRemovedLockFile takes the lock again, but not before another process has let it go.
func aRemovedLockFile(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	o := options(t, dir)
	o.Announce = false
	losing := o
	losing.Warn = nil
	d := open(t, losing)
	remove := func() {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, ".lock-file")); err != nil {
			t.Fatal(err)
		}
	}
	isKeptOut := func() {
		t.Helper()
		if _, err := jwtstore.OpenDir(t.Context(), o); !errors.Is(err, jwtstore.ErrLocked) {
			t.Errorf("a second store: %v", err)
		}
	}
	isKeptOut()
	put(t, d, key, "one")
	remove()
	put(t, d, key, "two")
	isKeptOut()
	remove()
	second := open(t, o)
	if err := tryPut(d, key, "three"); !errors.Is(err, jwtstore.ErrLocked) {
		t.Errorf("Put without the lock: %v", err)
	}
	loads(t, second, key, "two")
	put(t, second, key, "three")
	closeStore(t, second)
	loads(t, open(t, o), key, "three")
}

// TestAFileSystemThatLocksNothing is refused: a second account server would not be noticed.
func TestAFileSystemThatLocksNothing(t *testing.T) {
	for _, refused := range []error{unix.ENOLCK, unix.ENOSYS, unix.EOPNOTSUPP} {
		t.Run(refused.Error(), func(t *testing.T) {
			refuse(t, refused, refused)
			dir := t.TempDir()
			_, err := jwtstore.OpenDir(t.Context(), options(t, dir))
			if !errors.Is(err, refused) || !strings.Contains(err.Error(), dir) {
				t.Error(err)
			}
		})
	}
}

// TestASpecialFileInTheStoreHangsNothing has a FIFO, a device and a directory where the store has
// files of its own.
func TestASpecialFileInTheStoreHangsNothing(t *testing.T) {
	kinds := map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	}
	for kind, make := range kinds {
		for _, name := range []string{".journal/journal", ".journal", ".lock-file"} {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			if name == ".journal" && kind == "directory" {
				continue
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), make(path)); err != nil {
				t.Fatal(err)
			}
			d, err := jwtstore.OpenDir(t.Context(), options(t, dir))
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("a %s at %s: %v, %v", kind, name, d, err)
			}
		}
		specialLitter(t, kind, make)
	}
}

// specialLitter has special files where they do not matter: they are removed, or make a Put fail.
func specialLitter(t *testing.T, kind string, make func(path string) error) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	o := options(t, dir)
	o.Announce = false
	for _, name := range []string{".lock", ".journal/temp-0", ".journal/journal.next"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), make(path)); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, o)
	if err := errors.Join(make(filepath.Join(dir, ".journal/temp-1")),
		make(filepath.Join(dir, ".journal/journal.next"))); err != nil {
		t.Fatal(err)
	}
	err := tryPut(d, key, "jwt")
	if kind == "directory" {
		if err == nil || !strings.Contains(err.Error(), "journal.next") {
			t.Errorf("a Put with a directory in the way: %v", err)
		}
		return
	}
	if err != nil {
		t.Errorf("a Put with a %s in the way: %v", kind, err)
	}
	closeStore(t, d)
	path := jwtstore.Path(true, key)
	wantTree(t, dir, "drwx------ "+filepath.Dir(path), "-rw------- "+path+" jwt")
}

// TestAFIFOInPlaceOfAShard makes its accounts impossible to store, and hangs nothing.
func TestAFIFOInPlaceOfAShard(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	o, _ := tolerant(t, dir)
	d := open(t, o)
	put(t, d, key, "jwt")
	shard := filepath.Join(dir, key[54:])
	d.HoldFiles(func() {
		if err := errors.Join(os.RemoveAll(shard), unix.Mkfifo(shard, 0o600)); err != nil {
			t.Fatal(err)
		}
	})
	d.Flush()
	loads(t, d, key, "jwt")
	if err := d.Close(); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Close: %v", err)
	}
}

// TestADiskWithoutRoomForTheLock is read. The lock is taken before the first Put.
func TestADiskWithoutRoomForTheLock(t *testing.T) {
	dir, key := smallDisk(t, "64k,nr_inodes=8"), jwtstoretest.Key(t)
	write(t, filepath.Join(dir, jwtstore.Path(true, key)), "jwt")
	var litter []string
	for {
		path := filepath.Join(dir, fmt.Sprint("litter", len(litter)))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			break
		}
		litter = append(litter, path)
	}
	o := options(t, dir)
	o.Warn = nil
	d := open(t, o)
	loads(t, d, key, "jwt")
	if err := tryPut(d, key, "new"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Put: %v", err)
	}
	for _, path := range litter {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	put(t, d, key, "new")
	if _, err := jwtstore.OpenDir(t.Context(), options(t, dir)); !errors.Is(err,
		jwtstore.ErrLocked) {
		t.Errorf("a second store: %v", err)
	}
	loads(t, d, key, "new")
}
