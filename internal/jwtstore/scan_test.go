package jwtstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// trustDirectories lets directories that were changed just now tell the next change. A test must see to it
// that each of its changes gives them other times.
func trustDirectories(t *testing.T) {
	before := jwtstore.SetRacyDirectory(0)
	t.Cleanup(func() { jwtstore.SetRacyDirectory(before) })
}

// scanDir scans a store as the caller of a Dir does, and returns of which accounts the index knew too little.
func scanDir(t *testing.T, d *jwtstore.Dir, o jwtstore.Scan) (looked []string) {
	t.Helper()
	var mu sync.Mutex
	o.Look = func(key string, err error) bool {
		mu.Lock()
		defer mu.Unlock()
		looked = append(looked, key)
		return err == nil && index(t, d, key)
	}
	if err := d.Scan(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	slices.Sort(looked)
	return slices.Compact(looked)
}

// index brings the index up to date for one account.
func index(t *testing.T, d *jwtstore.Dir, key string) (ok bool) {
	had := d.Index().Get(key)
	jwt, stamp, err := d.Load(key, had.Stamp)
	next := had
	switch {
	case errors.Is(err, fs.ErrNotExist):
		next = jwtstore.Version{Seq: had.Seq, Floor: had.Floor}
	case err != nil:
		return false
	case jwt != nil:
		next.Stamp, next.Hash, next.Servable = stamp, sha256.Sum256(jwt), true
	}
	return d.Index().Swap(key, had, next)
}

// scannedStore is a store with files of which its index knows all.
type scannedStore struct {
	*jwtstore.Dir
	dir  string
	keys []string
}

// openScanned opens a store with n accounts in two shards.
func openScanned(t *testing.T, n int, edits ...func(*jwtstore.Options)) *scannedStore {
	t.Helper()
	trustDirectories(t)
	s := &scannedStore{dir: t.TempDir()}
	for len(s.keys) < n {
		key := jwtstoretest.Key(t)
		if len(s.keys) > 1 {
			key = s.neighbour(t)
		}
		s.keys = append(s.keys, key)
		s.write(t, key, "first "+key)
	}
	o := options(t, s.dir)
	for _, edit := range edits {
		edit(&o)
	}
	s.Dir = open(t, o)
	jwtstoretest.Eventually(t, "every file is known", func() bool {
		scanDir(t, s.Dir, jwtstore.Scan{})
		return len(scanDir(t, s.Dir, jwtstore.Scan{Every: true})) == 0
	})
	if got := s.scan(t, false); len(got) > 0 {
		t.Fatalf("a scan of what has not changed looks at %q", got)
	}
	return s
}

// neighbour returns a new key that is in the shard of the first one.
func (s *scannedStore) neighbour(t *testing.T) string {
	for {
		if key := jwtstoretest.Key(t); key[54:] == s.keys[0][54:] {
			return key
		}
	}
}

func (s *scannedStore) path(key string) string { return filepath.Join(s.dir, jwtstore.Path(true, key)) }

// write puts a file into the store as a program does that renames it to its place.
func (s *scannedStore) write(t *testing.T, key, content string) {
	t.Helper()
	s.place(t, s.path(key), content)
}

func (s *scannedStore) place(t *testing.T, path, content string) {
	t.Helper()
	_ = os.MkdirAll(filepath.Dir(path), 0o700)
	temp := filepath.Join(filepath.Dir(path), "temp")
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

func (s *scannedStore) scan(t *testing.T, every bool) []string {
	t.Helper()
	return scanDir(t, s.Dir, jwtstore.Scan{Every: every})
}

// change calls do once the clock of the file system has gone on, which may be coarse. So the directories
// that do changes have other times then.
func (s *scannedStore) change(t *testing.T, do func()) {
	t.Helper()
	before := time.Now()
	jwtstoretest.Eventually(t, "the clock of the file system goes on", func() bool {
		probe := filepath.Join(t.TempDir(), "probe")
		write(t, probe, "")
		info, err := os.Stat(probe)
		return err == nil && info.ModTime().After(before)
	})
	do()
}

// TestAScanFindsWhatIndexAndFilesDisagreeAbout. What does not change a directory is found when every file is
// looked at.
func TestAScanFindsWhatIndexAndFilesDisagreeAbout(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(t *testing.T, s *scannedStore, key string)
		hidden bool // the directory is as before
	}{
		{name: "replaced", change: func(t *testing.T, s *scannedStore, key string) {
			s.write(t, key, "other "+key)
		}},
		{name: "replaced, with the old time", change: func(t *testing.T, s *scannedStore, key string) {
			info, err := os.Stat(s.path(key))
			s.write(t, key, "Other "+key) // it has the same size
			if err = errors.Join(err, os.Chtimes(s.path(key), time.Time{}, info.ModTime())); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "removed", change: func(t *testing.T, s *scannedStore, key string) {
			if err := os.Remove(s.path(key)); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "shard removed", change: func(t *testing.T, s *scannedStore, key string) {
			if err := os.RemoveAll(filepath.Dir(s.path(key))); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "shard replaced by a copy", change: func(t *testing.T, s *scannedStore, key string) {
			shard := filepath.Dir(s.path(key))
			copyTree(t, shard, shard+".new")
			if err := errors.Join(os.RemoveAll(shard), os.Rename(shard+".new", shard)); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "moved to the root", change: func(t *testing.T, s *scannedStore, key string) {
			if err := os.Rename(s.path(key), filepath.Join(s.dir, key+".jwt")); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "edited", hidden: true, change: func(t *testing.T, s *scannedStore, key string) {
			write(t, s.path(key), "edited")
		}},
		{name: "edited, with the old time", hidden: true,
			change: func(t *testing.T, s *scannedStore, key string) {
				info, err := os.Stat(s.path(key))
				write(t, s.path(key), "First "+key)
				if err = errors.Join(err, os.Chtimes(s.path(key), time.Time{}, info.ModTime())); err != nil {
					t.Fatal(err)
				}
			}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := openScanned(t, 2)
			key := s.keys[0]
			s.change(t, func() { row.change(t, s, key) })
			if got := s.scan(t, false); slices.Contains(got, key) == row.hidden {
				t.Errorf("a scan of the changed directories looks at %q", got)
			}
			if got := s.scan(t, true); slices.Contains(got, key) != row.hidden && row.hidden {
				t.Errorf("a scan of every file looks at %q", got)
			}
			jwt, _, err := s.Load(key, jwtstore.Stamp{})
			v := s.Index().Get(key)
			if v.Stored() != (err == nil) || err == nil && v.Hash != sha256.Sum256(jwt) {
				t.Errorf("the index has %+v of %q, %v", v, jwt, err)
			}
		})
	}
}

// TestAScanFindsNewFiles, in either layout, and in a shard that is new too.
func TestAScanFindsNewFiles(t *testing.T) {
	s := openScanned(t, 2)
	a, b, c := jwtstoretest.Key(t), jwtstoretest.Key(t), s.neighbour(t)
	s.change(t, func() {
		s.write(t, a, a)
		s.place(t, filepath.Join(s.dir, b+".jwt"), b)
		s.write(t, c, c)
	})
	got := s.scan(t, false)
	for _, key := range []string{a, b, c} {
		if !slices.Contains(got, key) || s.Index().Get(key).Hash != sha256.Sum256([]byte(key)) {
			t.Errorf("it looks at %q, and not at %s", got, key)
		}
	}
	s.change(t, func() {
		if err := os.Remove(filepath.Join(s.dir, b+".jwt")); err != nil {
			t.Fatal(err)
		}
	})
	if s.scan(t, false); s.Index().Get(b).Stored() {
		t.Error("one that was removed from the root is still known")
	}
}

// TestStampsOfDirectoriesSurvive a stop. Those that are wrong, older or of another time cost a look at the
// files, and nothing else.
func TestStampsOfDirectoriesSurvive(t *testing.T) {
	s := openScanned(t, 5)
	want := s.Index().Directories()
	if len(want) < 3 {
		t.Fatalf("%d directories are known", len(want))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.Dir = open(t, options(t, s.dir))
	if got := s.Index().Directories(); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, off := range map[string]jwtstore.Stamp{
		"zero": {}, "size": {1}, "an earlier clock": {0, -int64(time.Hour), 0, -int64(time.Hour)},
		"a later clock": {0, int64(time.Hour), 0, int64(time.Hour)}, "inode": {0, 0, 1, 0},
	} {
		wrong := map[string]jwtstore.Stamp{"XX": {1, 2, 3, 4}} // of a directory that is gone
		for dir, stamp := range want {
			for i := range off {
				stamp[i] += off[i]
			}
			wrong[dir] = stamp
		}
		if name == "zero" {
			wrong = nil
		}
		s.Index().SetDirectories(wrong)
		if got := s.scan(t, false); len(got) > 0 || !maps.Equal(s.Index().Directories(), want) {
			t.Errorf("%s: looks at %q, and knows %v", name, got, s.Index().Directories())
		}
	}
}

// TestADirectoryThatChangesNowIsLookedAtAgain, because its times may be those of two changes.
func TestADirectoryThatChangesNowIsLookedAtAgain(t *testing.T) {
	s := openScanned(t, 2)
	jwtstore.SetRacyDirectory(time.Hour)
	s.Index().SetDirectories(nil)
	if s.scan(t, false); len(s.Index().Directories()) > 1 {
		t.Errorf("known are %v", s.Index().Directories())
	}
}

// TestADirectoryWithWhatCantBeReadIsLookedAtAgain, until it can be read.
func TestADirectoryWithWhatCantBeReadIsLookedAtAgain(t *testing.T) {
	s := openScanned(t, 2)
	key := jwtstoretest.Key(t)
	s.change(t, func() { s.write(t, key, strings.Repeat("x", 5<<20)) })
	for range 2 {
		if got := s.scan(t, false); !slices.Contains(got, key) {
			t.Errorf("looks at %q", got)
		}
	}
}

// TestADirectoryIsSavedAfterItsFiles: a crash in between lets the next start look again.
func TestADirectoryIsSavedAfterItsFiles(t *testing.T) {
	dir := t.TempDir()
	x := openIndexIn(t, dir)
	for n := range 1500 {
		swap(t, x, fmt.Sprint("A", n), indexed(0, "x", 0))
	}
	x.SetDirectories(map[string]jwtstore.Stamp{"XX": {1, 2, 3, 4}})
	for _, want := range []int{0, 1} {
		if err := x.SaveSome(); err != nil {
			t.Fatal(err)
		}
		again := t.TempDir()
		copyTree(t, dir, again)
		if got := openIndexIn(t, again).Directories(); len(got) != want {
			t.Errorf("known are %v, want %d", got, want)
		}
	}
}

// TestAnIndexOfAnotherDirectory is that of a copy. Every file is read, since each has another inode.
func TestAnIndexOfAnotherDirectory(t *testing.T) {
	s := openScanned(t, 5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := t.TempDir()
	copyTree(t, s.dir, again)
	d := open(t, options(t, again))
	want := slices.Sorted(slices.Values(s.keys))
	if got := scanDir(t, d, jwtstore.Scan{}); !slices.Equal(got, want) {
		t.Errorf("looks at %q, want %q", got, want)
	}
}

// TestAScanEnds with its context, and the next one begins anew.
func TestAScanEnds(t *testing.T) {
	s := openScanned(t, 3)
	s.Index().SetDirectories(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Scan(ctx, jwtstore.Scan{Every: true, Look: func(string, error) bool { return true }})
	if !errors.Is(err, context.Canceled) || len(s.Index().Directories()) > 0 {
		t.Errorf("%v, known are %v", err, s.Index().Directories())
	}
}

// TestALargeScanIsSaved as it goes on, so that it does not pile up in memory.
func TestALargeScanIsSaved(t *testing.T) {
	x := openIndexIn(t, t.TempDir())
	most := 0
	for n := range 12_000 {
		swap(t, x, fmt.Sprint("A", n), indexed(0, "x", 0))
		unsaved := x.Unsaved()
		most = max(most, unsaved)
	}
	if most > 5000 {
		t.Errorf("up to %d versions are only in memory", most)
	}
}
