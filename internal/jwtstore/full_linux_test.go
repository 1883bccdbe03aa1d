package jwtstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
	"nats-account-server/internal/jwttest"
)

// smallDisk mounts a file system of this size, such as "8k".
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		jwttest.Lacks(t, "mount", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// tolerant options count the warnings instead of failing.
func tolerant(t *testing.T, dir string) (o jwtstore.Options, warnings *[]string) {
	o, warnings = options(t, dir), new([]string)
	o.Warn = func(format string, args ...any) {
		*warnings = append(*warnings,
			fmt.Sprintf(format, args...))
	}
	return o, warnings
}

// fill takes all the room that is left; the function gives it back.
func fill(t *testing.T, dir string) func() {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	return func() { _ = os.Remove(path) }
}

func TestADeleteOnAFullDiskChangesNothing(t *testing.T) {
	dir, key := smallDisk(t, "64k"), jwtstoretest.Key(t)
	o, _ := tolerant(t, dir)
	d := open(t, o)
	path := filepath.Join(dir, jwtstore.Path(true, key))
	put(t, d, key, "old")
	del(t, d, key, "old tombstone")
	put(t, d, key, "the JWT")
	written(t, d)
	empty := fill(t, dir)
	before := d.Outbox().Pending()
	for range 3 {
		if err := tryDelete(d, key, strings.Repeat("gone", 2000)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Delete: %v", err)
		}
		loads(t, d, key, "the JWT")
		keeps(t, d, key, "old tombstone")
	}
	if content, err := os.ReadFile(path); string(content) != "the JWT" {
		t.Errorf("the file has %q, %v", content, err)
	}
	if !slices.Equal(d.Outbox().Pending(), before) {
		t.Errorf("pending are %v, want %v", d.Outbox().Pending(), before)
	}
	empty()
	del(t, d, key, "gone")
	closeStore(t, d)
	d = open(t, o)
	loads(t, d, key, "")
	keeps(t, d, key, "gone")
}

func TestAFullDiskKeepsTheOldJWT(t *testing.T) {
	for _, size := range []string{"8k", "16k", "64k", "1m", "40m"} {
		t.Run(size, func(t *testing.T) {
			dir, key := smallDisk(t, size), jwtstoretest.Key(t)
			o, _ := tolerant(t, dir)
			d := open(t, o)
			path := filepath.Join(dir, jwtstore.Path(true, key))
			put(t, d, key, "the old JWT")
			written(t, d)
			empty := fill(t, dir)
			// The small one would find room in the last block of the journal.
			for _, jwt := range []string{strings.Repeat("bigger", 2000), "small", "small"} {
				if err := tryPut(d, key, jwt); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("Put of %d bytes: %v", len(jwt), err)
				}
				loads(t, d, key, "the old JWT")
			}
			if content, err := os.ReadFile(path); string(content) != "the old JWT" {
				t.Errorf("the file has %q, %v", content, err)
			}
			empty()
			if size == "8k" {
				return // it is full with one JWT and a journal
			}
			put(t, d, key, "the new JWT")
			loads(t, d, key, "the new JWT")
			closeStore(t, d)
			if content, err := os.ReadFile(path); string(content) != "the new JWT" {
				t.Errorf("the file has %q, %v", content, err)
			}
		})
	}
}

// TestAFullDiskAtAnyMoment puts and deletes until the disk is full, frees it and goes on, and looks
// after each round at what the next process would find.
func TestAFullDiskAtAnyMoment(t *testing.T) {
	dir := smallDisk(t, "300k")
	o, _ := tolerant(t, dir)
	keys := writerKeys()
	var last [writers]int
	for round := range 4 {
		d := open(t, o)
		checkAcknowledged(t, d, keys, last)
		empty := fill(t, dir)
		for n := range 30 {
			if n == 15 {
				empty()
			}
			for w, key := range keys {
				next := versionOf(d, key) + 1
				if err := store(d, key, w, next); err == nil {
					last[w] = next
				} else if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
			}
		}
		copied := t.TempDir()
		copyTree(t, dir, copied)
		c := open(t, options(t, copied))
		checkAcknowledged(t, c, keys, last)
		_ = c.Close()
		_ = d.Close() // may find the disk full
		if last[0] == 0 {
			t.Errorf("round %d: nothing was stored", round)
		}
	}
}

// TestAStartOnAFullDisk finds commits whose files are not written, and no room to write them.
func TestAStartOnAFullDisk(t *testing.T) {
	dir, key := smallDisk(t, "64k"), jwtstoretest.Key(t)
	data, _ := jwtstore.JournalOf([]string{key}, []byte(strings.Repeat("jwt", 2000)))
	write(t, filepath.Join(dir, ".journal", "journal"), string(data))
	empty := fill(t, dir)
	o, warnings := tolerant(t, dir)
	d := open(t, o)
	loads(t, d, key, strings.Repeat("jwt", 2000))
	if len(*warnings) != 1 {
		t.Errorf("warnings: %q", *warnings)
	}
	empty()
	if err := tryPut(d, key, "new"); err != nil {
		t.Error(err)
	}
	closeStore(t, d)
	d = open(t, o)
	loads(t, d, key, "new")
}

// TestAReadOnlyDisk is served, by as many as like to, and takes Puts when it can be written to
// again.
func TestAReadOnlyDisk(t *testing.T) {
	dir, key, late := smallDisk(t, "64k"), jwtstoretest.Key(t), jwtstoretest.Key(t)
	data, _ := jwtstore.JournalOf([]string{late}, []byte("not written yet"))
	write(t, filepath.Join(dir, jwtstore.Path(true, key)), "jwt")
	write(t, filepath.Join(dir, ".journal", "journal"), string(data))
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
			jwttest.Lacks(t, "mount", err)
		}
	}
	remount(unix.MS_RDONLY)
	o, _ := tolerant(t, dir)
	d, second := open(t, o), open(t, o)
	for _, s := range []*jwtstore.Dir{d, second} {
		loads(t, s, key, "jwt")
		loads(t, s, late, "not written yet")
		if err := tryPut(s, key, "new"); !errors.Is(err, syscall.EROFS) {
			t.Errorf("Put: %v", err)
		}
		for _, k := range []string{key, late} {
			if err := tryDelete(s, k, "gone"); !errors.Is(err, syscall.EROFS) {
				t.Errorf("Delete: %v", err)
			}
			keeps(t, s, k, "")
		}
		loads(t, s, key, "jwt")
		loads(t, s, late, "not written yet")
	}
	remount(0)
	put(t, d, key, "new")
	if err := tryPut(second, key, "newer"); !errors.Is(err, jwtstore.ErrLocked) {
		t.Errorf("Put of the second: %v", err)
	}
	loads(t, d, key, "new")
	loads(t, d, late, "not written yet")
	closeStore(t, d)
}

func TestNotARegularFile(t *testing.T) {
	dir, key, real := t.TempDir(), jwtstoretest.Key(t), filepath.Join(t.TempDir(), "real")
	write(t, real, "linked")
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(t, path, "")
	for name, create := range map[string]func() error{
		"fifo":   func() error { return unix.Mkfifo(path, 0o600) },
		"loop":   func() error { return os.Symlink(path, path) },
		"device": func() error { return os.Symlink("/dev/zero", path) },
	} {
		if err := errors.Join(os.Remove(path), create()); err != nil {
			t.Fatal(err)
		}
		if jwt, _, err := d.Load(key, jwtstore.Stamp{}); err == nil ||
			errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %.10q, %v", name, jwt, err)
		}
	}
	put(t, d, key, "put")
	written(t, d)
	if err := errors.Join(os.Remove(path), os.Symlink(real, path)); err != nil {
		t.Fatal(err)
	}
	loads(t, d, key, "linked")
	put(t, d, key, "new")
	written(t, d)
	if content, _ := os.ReadFile(real); string(content) != "linked" {
		t.Errorf("the link's target has %q", content)
	}
	loads(t, d, key, "new")
}

// TestAShardOnAnotherDisk has a symbolic link where a directory would be.
func TestAShardOnAnotherDisk(t *testing.T) {
	other, dir, key := smallDisk(t, "64k"), t.TempDir(), jwtstoretest.Key(t)
	o := options(t, dir)
	o.Announce = false
	path := jwtstore.Path(true, key)
	if err := os.Symlink(other, filepath.Join(dir, filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	d := open(t, o)
	put(t, d, key, "jwt")
	closeStore(t, d)
	wantTree(t, other, "-rw------- "+filepath.Base(path)+" jwt")
}

func init() {
	children["permissions"] = withoutPermission
	children["files"] = withoutFiles
}

// asChild runs a check in a process of its own, in a copy of this binary that every user may run.
func asChild(t *testing.T, name, dir string, change func(*exec.Cmd)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(t.TempDir(), "test")
	above := filepath.Dir(filepath.Dir(place))
	err = errors.Join(os.WriteFile(place, binary, 0o755),
		os.Chmod(above, 0o755), os.Chmod(filepath.Dir(place), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(place)
	c.Env = append(os.Environ(), childEnv+"="+name+":"+dir)
	c.Dir = "/"
	change(c)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPermissionsAreTakenAwayAndGivenBack(t *testing.T) {
	dir := t.TempDir()
	asChild(t, "permissions", dir, func(c *exec.Cmd) {
		if os.Getuid() == 0 {
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534,
				Gid: 65534}}
		}
	})
}

// withoutPermission checks that each lost permission is the reason that a Put and a Delete give,
// that the old JWT stays, and that they work again when the permission is back.
func withoutPermission(dir string) error {
	key := writerKeys()[0]
	d, err := jwtstore.OpenDir(context.Background(), jwtstore.Options{Dir: dir, Shard: true,
		Announce: true})
	if err != nil {
		return err
	}
	try := func(jwt string) error {
		_, err := d.Put(context.Background(), key, "test", []byte(jwt), jwtstoretest.Always)
		return err
	}
	remove := func() error {
		_, err := d.Delete(context.Background(), key, "test", jwtstoretest.WithTombstone("gone"))
		return err
	}
	path := filepath.Join(dir, jwtstore.Path(true, key))
	for n, locked := range []string{
		filepath.Dir(path), filepath.Join(dir, ".journal"), dir, path, path + ".deleted",
	} {
		old := fmt.Sprintf("JWT %d", n)
		if err := try(old); err != nil {
			return err
		}
		for d.Unflushed() > 0 {
		}
		info, err := os.Stat(locked)
		if err != nil {
			return err
		}
		if err := os.Chmod(locked, 0); err != nil {
			return err
		}
		if err := try("new"); !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%s: %v", locked, err)
		}
		if err := remove(); !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%s: Delete: %v", locked, err)
		}
		if err := os.Chmod(locked, info.Mode()); err != nil {
			return err
		}
		if jwt, _, err := d.Load(key, jwtstore.Stamp{}); string(jwt) != old {
			return fmt.Errorf("loaded %q, %v", jwt, err)
		}
		if err := remove(); err != nil {
			return err
		}
	}
	return errors.Join(withoutOther(d, dir, key, try, remove), try("new"), d.Close())
}

// withoutOther has the JWT as with the other setting of Shard, in a directory that nothing can be
// removed from.
func withoutOther(
	d *jwtstore.Dir, dir, key string, try func(string) error, remove func() error,
) error {
	err := errors.Join(try("jwt"), remove()) // makes the shard
	for d.Unflushed() > 0 {
	}
	flat := filepath.Join(dir, jwtstore.Path(false, key))
	err = errors.Join(err, os.WriteFile(flat, []byte("flat"), 0o600), os.Chmod(dir, 0o500))
	if err != nil {
		return err
	}
	if err := remove(); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("Delete in the other place: %v", err)
	}
	if jwt, _, err := d.Load(key, jwtstore.Stamp{}); string(jwt) != "flat" {
		return fmt.Errorf("loaded %q, %v", jwt, err)
	}
	return errors.Join(os.Chmod(dir, 0o700), remove())
}

func TestTooManyOpenFiles(t *testing.T) {
	asChild(t, "files", t.TempDir(), func(*exec.Cmd) {})
}

// withoutFiles checks the same for file descriptors.
func withoutFiles(dir string) error {
	key := writerKeys()[0]
	d, err := jwtstore.OpenDir(context.Background(), jwtstore.Options{Dir: dir, Shard: true,
		Announce: true})
	if err != nil {
		return err
	}
	try := func(jwt string) error {
		_, err := d.Put(context.Background(), key, "test", []byte(jwt), jwtstoretest.Always)
		return err
	}
	if err := try("old"); err != nil {
		return err
	}
	d.Flush() // to compare with what is stored takes a descriptor then
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 40, Max: 40}); err != nil {
		return err
	}
	var taken []*os.File
	for {
		f, err := os.Open("/")
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	if err := try("new"); !errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("without files: %v", err)
	}
	if err := tryDelete(d, key, "gone"); !errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("Delete without files: %v", err)
	}
	other := writerKeys()[1] // nothing is stored for it, and a commit takes none
	if err := tryPut(d, other, "other"); err != nil {
		return fmt.Errorf("a new account without files: %v", err)
	}
	d.Flush()
	if jwt, _, err := d.Load(other, jwtstore.Stamp{}); string(jwt) != "other" {
		return fmt.Errorf("loaded %q, %v", jwt, err)
	}
	for _, f := range taken {
		f.Close()
	}
	if err := errors.Join(try("new"), d.Close()); err != nil {
		return err
	}
	written, err := os.ReadFile(filepath.Join(dir, jwtstore.Path(true, other)))
	if string(written) != "other" {
		return fmt.Errorf("the file has %q, %v", written, err)
	}
	return nil
}
