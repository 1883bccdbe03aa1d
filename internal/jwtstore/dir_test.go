package jwtstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// tryPut returns the error of a Put.
func tryPut(d *jwtstore.Dir, key, jwt string) error {
	_, err := d.Put(context.Background(), key, "test", []byte(jwt), jwtstoretest.Always)
	return err
}

// tryDelete returns the error of a Delete.
func tryDelete(d *jwtstore.Dir, key, tombstone string) error {
	allow := jwtstoretest.WithTombstone(tombstone)
	_, err := d.Delete(context.Background(), key, "test", allow)
	return err
}

func put(t testing.TB, d *jwtstore.Dir, key, jwt string) uint64 {
	t.Helper()
	seq, err := d.Put(context.Background(), key, "test", []byte(jwt), jwtstoretest.Always)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return seq
}

// loads wants this JWT for key, "" for none.
func loads(t testing.TB, d *jwtstore.Dir, key, want string) {
	t.Helper()
	jwt, _, err := d.Load(key, jwtstore.Stamp{})
	if want == "" && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil || string(jwt) != want {
		t.Fatalf("loaded %.60q, %v, want %q", jwt, err, want)
	}
}

// tree lists what is in a directory: modes, paths and the content of files.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == ".journal" || name == filepath.Join(".journal", "index") {
			return nil // they stay
		}
		line := fmt.Sprintf("%v %s", info.Mode(), name)
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(content)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantTree compares the directory with lines of tree, in any order.
func wantTree(t testing.TB, dir string, want ...string) {
	t.Helper()
	got := tree(t, dir)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("in the directory are\n%s\nwant\n%s", strings.Join(got, "\n"),
			strings.Join(want, "\n"))
	}
}

func closeStore(t testing.TB, d *jwtstore.Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// written has every JWT and tombstone written to its file.
func written(t testing.TB, d *jwtstore.Dir) {
	t.Helper()
	if d.Flush(); d.Unflushed() != 0 {
		t.Fatalf("%d JWTs and tombstones can't be written", d.Unflushed())
	}
}

func TestAfterCloseOnlyTheJWTsAreThere(t *testing.T) {
	key := jwtstoretest.Key(t)
	shard := key[54:]
	for _, c := range []struct {
		shard bool
		want  []string
	}{
		{true, []string{"drwx------ " + shard, "-rw------- " + shard + "/" + key + ".jwt two"}},
		{false, []string{"-rw------- " + key + ".jwt two"}},
	} {
		dir := filepath.Join(t.TempDir(), "not", "there yet")
		o := options(t, dir)
		o.Shard, o.Announce = c.shard, false
		d := open(t, o)
		put(t, d, key, "one")
		put(t, d, key, "two")
		closeStore(t, d)
		closeStore(t, d)
		wantTree(t, dir, c.want...)
		d = open(t, o)
		loads(t, d, key, "two")
		closeStore(t, d)
		wantTree(t, dir, c.want...)
	}
}

func TestTheJournalStaysWhileAServerIsKnown(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	d.Outbox().Register("s1", time.Now())
	seq := put(t, d, key, "jwt")
	closeStore(t, d)
	if _, err := os.Stat(filepath.Join(dir, ".journal", "journal")); err != nil {
		t.Error(err)
	}
	d = open(t, options(t, dir))
	if !d.Outbox().IsPending("s1", seq) {
		t.Error("the change is not pending for s1")
	}
	d.Outbox().Acknowledge("s1", seq)
	closeStore(t, d)
	d = open(t, options(t, dir))
	if seq = put(t, d, key, "changed"); !d.Outbox().IsPending("s1", seq) {
		t.Error("the change is not pending for s1, which was away at the restart and at the change")
	}
	d.Outbox().Acknowledge("s1", seq)
	d.Outbox().Forget("s1")
	closeStore(t, d)
	path := jwtstore.Path(true, key)
	wantTree(t, dir, "drwx------ "+filepath.Dir(path), "-rw------- "+path+" changed")
}

// TestANewServerIsWrittenDownAtOnce, so that what is committed while it is away, also after a
// crash, is pending for it.
func TestANewServerIsWrittenDownAtOnce(t *testing.T) {
	dir := t.TempDir()
	d := open(t, options(t, dir))
	d.Outbox().Register("s1", time.Now())
	jwtstoretest.Eventually(t, "a copy of the directory knows the server", func() bool {
		copied := t.TempDir()
		copyTree(t, dir, copied)
		return len(open(t, options(t, copied)).Outbox().Servers()) == 1
	})
}

func TestFilesAppearWithinASecond(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	start := time.Now()
	put(t, d, key, "jwt")
	path := filepath.Join(dir, jwtstore.Path(true, key))
	jwtstoretest.Eventually(t, "the file is there",
		func() bool { _, err := os.Stat(path); return err == nil })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	written(t, d)
	loads(t, d, key, "jwt")
}

func TestTheOtherShardSetting(t *testing.T) {
	for _, shard := range []bool{true, false} {
		dir, key, second := t.TempDir(), jwtstoretest.Key(t), jwtstoretest.Key(t)
		o := options(t, dir)
		o.Shard, o.Announce = shard, false
		for _, k := range []string{key, second} {
			write(t, filepath.Join(dir, jwtstore.Path(!shard, k)), "old "+k)
		}
		d := open(t, o)
		loads(t, d, key, "old "+key)
		put(t, d, key, "new")
		loads(t, d, key, "new")
		loads(t, d, second, "old "+second)
		closeStore(t, d)
		other := filepath.Join(dir, jwtstore.Path(!shard, key))
		if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("shard %v: the file at the other path: %v", shard, err)
		}
		d = open(t, o)
		loads(t, d, key, "new")
		loads(t, d, second, "old "+second)
	}
}

// TestFilesEditedByHandCountAtOnce edits a file in all ways, each time asking with the stamp of the
// last Load.
func TestFilesEditedByHandCountAtOnce(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	loads(t, d, key, "")
	var stamp jwtstore.Stamp
	sees := func(want string) {
		t.Helper()
		jwt, now, err := d.Load(key, stamp)
		if err != nil || string(jwt) != want {
			t.Fatalf("loaded %q, %v, want %q", jwt, err, want)
		}
		stamp = now
	}
	write(t, path, "version 1")
	sees("version 1")
	for n := 2; n < 40; n++ { // in place, the same size, faster than the clock of the file system
		text := fmt.Sprintf("version %02d", n)
		write(t, path, text)
		sees(text)
	}
	past := time.Now().Add(-time.Hour)
	for _, text := range []string{"older one", "other one"} { // with the same mtime
		write(t, path, text)
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
		sees(text)
	}
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, future, future); err != nil {
		t.Fatal(err)
	}
	for range 3 { // such a file may be changed without a change of its times
		sees("other one")
	}
	temp := filepath.Join(dir, "temp")
	write(t, temp, "renamed 1")
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
	sees("renamed 1")
	jwtstoretest.Eventually(t, "the stamp holds", func() bool {
		jwt, now, _ := d.Load(key, stamp)
		stamp = now
		return jwt == nil
	})
	write(t, path, "renamed 2")
	sees("renamed 2")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	loads(t, d, key, "")
	put(t, d, key, "put")
	written(t, d)
	write(t, path, "by hand")
	sees("by hand")
	_, err := d.Put(context.Background(), key, "test", []byte("new"), jwtstoretest.AllowIf(
		func(stored, _ []byte) error {
			if string(stored) != "by hand" {
				t.Errorf("allow sees %q", stored)
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
}

// TestAFileThatIsBeingWritten reads while an editor truncates and writes: an empty or half a file
// is rarely seen, and never kept.
func TestAFileThatIsBeingWritten(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(t, path, "1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 300 {
			write(t, path, strings.Repeat("x", n*50))
		}
		write(t, path, "the last")
	}()
	var stamp jwtstore.Stamp
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		_, now, err := d.Load(key, stamp)
		if err != nil {
			t.Fatal(err)
		}
		stamp = now
	}
	if jwt, _, err := d.Load(key, stamp); err != nil || jwt != nil && string(jwt) != "the last" {
		t.Errorf("loaded %.20q, %v", jwt, err)
	}
	loads(t, d, key, "the last")
}

func TestALargeFileIsNotRead(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(t, path, "")
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err)
	}
	if _, _, err := d.Load(key, jwtstore.Stamp{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %v", err)
	}
	put(t, d, key, "jwt")
	loads(t, d, key, "jwt")
}

func TestAPutRepairsTheFile(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	put(t, d, key, "jwt")
	written(t, d)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	loads(t, d, key, "")
	put(t, d, key, "jwt")
	loads(t, d, key, "jwt")
	written(t, d)
	write(t, path, "jw")
	loads(t, d, key, "jw")
	put(t, d, key, "jwt")
	closeStore(t, d)
	if content, err := os.ReadFile(path); string(content) != "jwt" {
		t.Errorf("the file has %q, %v", content, err)
	}
}

func TestTheJournalIsRemovedUnderneath(t *testing.T) {
	dir, key, second := t.TempDir(), jwtstoretest.Key(t), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	put(t, d, key, "one")
	if err := os.RemoveAll(filepath.Join(dir, ".journal")); err != nil {
		t.Fatal(err)
	}
	put(t, d, second, "two")
	copied := t.TempDir()
	copyTree(t, dir, copied)
	c := open(t, options(t, copied))
	loads(t, c, key, "one")
	loads(t, c, second, "two")
	written(t, d)
}

func TestAPutFailsWhenItsFileCanNeverBeWritten(t *testing.T) {
	dir, key, second := t.TempDir(), jwtstoretest.Key(t), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Load(key, jwtstore.Stamp{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %v", err)
	}
	if err := tryPut(d, key, "jwt"); err == nil {
		t.Error("a directory is to become a file")
	}
	put(t, d, second, "jwt")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	put(t, d, key, "jwt")
	loads(t, d, key, "jwt")
}

// TestAFileThatCanNotBeWritten blocks the place of a committed JWT. It is served all the same, its
// next Put says why it can't be stored, others are not affected, and when the place is free it is
// written.
func TestAFileThatCanNotBeWritten(t *testing.T) {
	dir, key, second := t.TempDir(), jwtstoretest.Key(t), jwtstoretest.Key(t)
	o := options(t, dir)
	warnings := make(chan string, 10)
	o.Warn = func(format string, args ...any) { warnings <- fmt.Sprintf(format, args...) }
	d := open(t, o)
	path := filepath.Join(dir, jwtstore.Path(true, key))
	put(t, d, key, "one")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-warnings:
		if !strings.Contains(text, key) {
			t.Errorf("warning %q", text)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("there is no warning")
	}
	loads(t, d, key, "one")
	if err := tryPut(d, key, "two"); err == nil {
		t.Error("Put succeeds")
	}
	loads(t, d, key, "one")
	put(t, d, second, "jwt")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	put(t, d, key, "three")
	loads(t, d, key, "three")
	closeStore(t, d)
	close(warnings)
	for text := range warnings {
		t.Errorf("one more warning: %s", text)
	}
	if content, err := os.ReadFile(path); string(content) != "three" {
		t.Errorf("the file has %q, %v", content, err)
	}
}

func TestASecondStoreIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	d := open(t, options(t, dir))
	_, err := jwtstore.OpenDir(context.Background(), options(t, dir))
	host, _ := os.Hostname()
	if !errors.Is(err, jwtstore.ErrLocked) ||
		!strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) ||
		!strings.Contains(err.Error(), host) {
		t.Errorf("a second store: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := options(t, dir)
	o.LockWait = 0
	if _, err := jwtstore.OpenDir(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	opened := make(chan error)
	go func() {
		second, err := jwtstore.OpenDir(context.Background(), o)
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	closeStore(t, d)
	if err := <-opened; err != nil {
		t.Errorf("after Close: %v", err)
	}
	wantTree(t, dir)
}

// TestAKilledProcessKeepsNoOtherOut has the lock held by another process.
func TestAKilledProcessKeepsNoOtherOut(t *testing.T) {
	dir := t.TempDir()
	p, out := child(t, "hold", dir, func(c *exec.Cmd) { _, _ = c.StdinPipe() })
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	_, err := jwtstore.OpenDir(context.Background(), options(t, dir))
	if !errors.Is(err, jwtstore.ErrLocked) ||
		!strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
		t.Errorf("a second process: %v", err)
	}
	_ = p.Process.Kill()
	_ = p.Wait()
	d := open(t, options(t, dir))
	put(t, d, jwtstoretest.Key(t), "jwt")
}

func TestOpenRefusesWhatCanNotBeAStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := jwtstore.OpenDir(context.Background(), options(t, dir)); err == nil {
			t.Errorf("%s was opened", dir)
		}
	}
}

// TestMemoryIsReadAndWrittenAtOnce by as many as want to.
func TestMemoryIsReadAndWrittenAtOnce(t *testing.T) {
	m := jwtstore.NewMemory(true)
	keys := writerKeys()
	var all sync.WaitGroup
	for _, key := range keys {
		all.Go(func() {
			for n := range 100 {
				_, err := m.Put(t.Context(), key, "test", version(0, n), jwtstoretest.Always)
				if err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 100 {
				_ = m.Scan(t.Context(), jwtstore.Scan{Look: func(key string, err error) bool {
					if _, _, lost := m.Load(key, jwtstore.Stamp{}); err != nil || lost != nil {
						t.Error(err, lost)
					}
					return true
				}})
			}
		})
	}
	all.Wait()
}
