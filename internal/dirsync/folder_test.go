package dirsync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/dirsync"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// shape is a kind of Folder: where the program that writes it puts a JWT.
type shape struct {
	open func(dir string) (*dirsync.Folder, error)
	// place returns the path of the nth JWT below the Folder. The key is "" if the path does not
	// say it.
	place func(n int) (path, key string)
	stray string // the path of a file that is no JWT
}

// anyHash is the hash of no token in particular.
var anyHash = strings.Repeat("A", 52) + "===="

// directory is a directory of JWTs by key.
func directory(t *testing.T, sharded bool) shape {
	names := []string{jwttest.NewAccount(t).ID, jwttest.NewAccount(t).ID, anyHash,
		jwttest.NewAccount(t).ID}
	return shape{
		open: dirsync.OpenFolder,
		place: func(n int) (path, key string) {
			if sharded {
				return filepath.Join(names[n][54:], names[n]+".jwt"), names[n]
			}
			return names[n] + ".jwt", names[n]
		},
		stray: "OP.jwt",
	}
}

// nsc is the directory of nsc.
func nsc(*testing.T) shape {
	return shape{
		open: func(dir string) (*dirsync.Folder, error) {
			if err := os.MkdirAll(filepath.Join(dir, ".nsc"), 0o700); err != nil {
				return nil, err
			}
			return dirsync.OpenNSC(dir)
		},
		place: func(n int) (path,
			key string) {
			return fmt.Sprintf("accounts/A %[1]d/A %[1]d.jwt", n), ""
		},
		stray: "accounts/stray.jwt",
	}
}

// TestFolder is what holds for a Folder of each shape.
func TestFolder(t *testing.T) {
	shapes := map[string]shape{"sharded": directory(t, true),
		"flat": directory(t, false), "nsc": nsc(t)}
	for name, s := range shapes {
		for _, c := range []struct {
			name string
			test func(r *reader)
		}{
			{"every file is offered once", offeredOnce},
			{"what is written, replaced or edited is offered again", offeredAgain},
			{"what is being written is offered when it stands still", offeredWhole},
			{"what is gone is returned once", goneOnce},
			{"everything is offered again when the trust has changed", offeredAnew},
			{"one file that can't be read harms no other", offeredBesideBroken},
			{"what is replaced by taking it away first is not gone", replacedIsNotGone},
			{"a symbolic link that leads nowhere is gone", danglingIsGone},
			{"a file from the future settles", settlesInTheFuture},
			{"what changes beside the directory is not noticed", neighboursAreNotNoticed},
			{"in a directory that is away nothing is gone", awayIsNotGone},
			{"an empty directory in its place is not the directory", emptyInItsPlaceIsNotGone},
			{"another directory in its place is not the directory", anotherInItsPlaceIsNotGone},
			{"a change is noticed, also in a new directory", changeIsNoticed},
			{"a directory that was removed and made again is watched", remadeIsWatched},
			{"a Watch ends when it is woken", wokenWatchEnds},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				r := &reader{T: t, shape: s, dir: filepath.Join(t.TempDir(), "OP")}
				for n := range 3 {
					r.write(n, fmt.Sprint("jwt ", n))
				}
				r.must(os.WriteFile(filepath.Join(r.dir, s.stray), []byte("stray"), 0o600))
				folder, err := s.open(r.dir)
				if err != nil {
					t.Fatal(err)
				}
				r.Folder = folder
				t.Cleanup(folder.Close)
				c.test(r)
			})
		}
	}
}

// reader is a Folder with the shorthands of a test.
type reader struct {
	*testing.T
	shape
	*dirsync.Folder
	dir string
}

func (r *reader) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *reader) path(n int) string {
	path, _ := r.place(n)
	return filepath.Join(r.dir, path)
}

func (r *reader) write(n int, jwt string) {
	r.Helper()
	r.must(os.MkdirAll(filepath.Dir(r.path(n)), 0o700))
	r.must(os.WriteFile(r.path(n), []byte(jwt), 0o600))
}

// offers scans until all files stand still, wants exactly these JWTs to be offered meanwhile, and
// returns the paths of the files that are gone.
func (r *reader) offers(want ...string) (gone []string) {
	r.Helper()
	got := []string{}
	natstest.Eventually(r, "the folder settles", func() bool {
		lost, settled, err := r.Scan(func(f *dirsync.File) {
			if f.Err == nil {
				got = append(got, string(f.JWT))
				r.named(f)
			}
		})
		if err != nil {
			r.Fatal(err)
		}
		for _, f := range lost {
			gone = append(gone, f.Path)
		}
		return settled
	})
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		r.Fatalf("offered are %q, want %q", got, want)
	}
	return gone
}

// named wants a file to have its key.
func (r *reader) named(f *dirsync.File) {
	r.Helper()
	for n := range 4 {
		if path, key := r.place(n); filepath.Join(r.dir, path) == f.Path && key != f.Key {
			r.Errorf("%s is offered as %q, want %q", path, f.Key, key)
		}
	}
}

func offeredOnce(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.offers()
}

func offeredAgain(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.write(0, "edited")
	aside := r.path(1) + ".tmp"
	r.must(os.WriteFile(aside, []byte("replaced"), 0o600))
	r.must(os.Rename(aside, r.path(1)))
	r.write(3, "new")
	r.offers("edited", "replaced", "new")
}

func offeredWhole(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.write(0, "")
	if _, settled, _ := r.Scan(func(*dirsync.File) {}); settled {
		r.Error("a file that has just been written to counts as settled")
	}
	r.write(0, "whole")
	r.offers("whole")
}

func goneOnce(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.must(os.Remove(r.path(1)))
	if gone := r.offers(); !slices.Equal(gone, []string{r.path(1)}) {
		r.Errorf("gone are %q", gone)
	}
	if gone := r.offers(); len(gone) > 0 {
		r.Errorf("gone once more are %q", gone)
	}
}

func offeredAnew(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.Rejudge()
	r.offers("jwt 0", "jwt 1", "jwt 2")
}

func offeredBesideBroken(r *reader) {
	r.must(os.Remove(r.path(1)))
	r.must(os.Mkdir(r.path(1), 0o700)) // under the name of a file
	r.offers("jwt 0", "jwt 2")
	failures := 0
	_, _, _ = r.Scan(func(f *dirsync.File) {
		if f.Path == r.path(1) && f.Err != nil {
			failures++
		}
	})
	if failures != 1 {
		r.Errorf("it is offered %d times with the reason why it can't be read", failures)
	}
	r.must(os.Remove(r.path(2)))
	if gone := r.offers(); !slices.Equal(gone, []string{r.path(2)}) {
		r.Errorf("gone are %q", gone)
	}
}

func replacedIsNotGone(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.must(os.Remove(r.path(1)))
	gone, settled, _ := r.Scan(func(f *dirsync.File) { r.Errorf("offered is %q", f.Path) })
	if settled || len(gone) > 0 {
		r.Errorf("settled: %t, %d are gone", settled, len(gone))
	}
	r.write(1, "newer")
	if gone := r.offers("newer"); len(gone) > 0 {
		r.Errorf("gone are %q", gone)
	}
}

func danglingIsGone(r *reader) {
	aside := filepath.Join(r.TempDir(), "jwt")
	r.must(os.WriteFile(aside, []byte("linked"), 0o600))
	r.must(os.Remove(r.path(1)))
	if err := os.Symlink(aside, r.path(1)); err != nil {
		r.Skip(err)
	}
	r.offers("jwt 0", "linked", "jwt 2")
	r.must(os.Remove(aside))
	if gone := r.offers(); !slices.Equal(gone, []string{r.path(1)}) {
		r.Errorf("gone are %q", gone)
	}
}

func settlesInTheFuture(r *reader) {
	later := time.Now().Add(time.Hour)
	r.must(os.Chtimes(r.path(1), later, later))
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.write(1, "edited")
	r.offers("edited")
}

func neighboursAreNotNoticed(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := r.Watch(ctx, nil); err != nil { // begins to watch
		r.Fatal(err)
	}
	for n := range 3 {
		r.must(os.WriteFile(filepath.Join(filepath.Dir(r.dir), fmt.Sprint(n)), nil, 0o600))
	}
	if err := r.Watch(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		r.Errorf("it is noticed: %v", err)
	}
}

func awayIsNotGone(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.must(os.Rename(r.dir, r.dir+".away"))
	gone, _, err := r.Scan(func(f *dirsync.File) { r.Errorf("offered is %q", f.Path) })
	if err == nil || len(gone) > 0 {
		r.Errorf("%d are gone, %v", len(gone), err)
	}
	r.must(os.Rename(r.dir+".away", r.dir))
	if gone := r.offers(); len(gone) > 0 {
		r.Errorf("gone are %q", gone)
	}
}

func emptyInItsPlaceIsNotGone(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.must(os.Rename(r.dir, r.dir+".away"))
	r.must(os.Mkdir(r.dir, 0o700))
	gone, _, err := r.Scan(func(f *dirsync.File) { r.Errorf("offered is %q", f.Path) })
	if err == nil || len(gone) > 0 {
		r.Errorf("%d are gone, %v", len(gone), err)
	}
	r.must(os.Remove(r.dir))
	r.must(os.Rename(r.dir+".away", r.dir))
	if gone := r.offers(); len(gone) > 0 {
		r.Errorf("gone are %q", gone)
	}
}

func anotherInItsPlaceIsNotGone(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	r.must(os.Rename(r.dir, r.dir+".away"))
	r.write(3, "beneath")
	for range 2 { // what is new there does not count as what there was
		gone, _, err := r.Scan(func(*dirsync.File) {})
		if err == nil || len(gone) > 0 {
			r.Errorf("%d are gone, %v", len(gone), err)
		}
	}
	r.must(os.RemoveAll(r.dir))
	r.must(os.Rename(r.dir+".away", r.dir))
	if _, _, err := r.Scan(func(*dirsync.File) {}); err != nil {
		r.Error(err)
	}
}

func changeIsNoticed(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Watch(ctx, nil); err != nil { // the first one begins to watch
		r.Fatal(err)
	}
	written := make(chan struct{})
	defer func() { <-written }()
	go func() {
		defer close(written)
		_ = os.MkdirAll(filepath.Dir(r.path(3)), 0o700)
		_ = os.WriteFile(r.path(3), []byte("new"), 0o600)
	}()
	var seen []string
	for !slices.Contains(seen, "new") {
		if err := r.Watch(ctx, nil); err != nil {
			r.Fatalf("%v; offered were %s", err, strings.Join(seen, ", "))
		}
		if _, _, err := r.Scan(func(f *dirsync.File) {
			seen = append(seen, string(f.JWT))
		}); err != nil {
			r.Fatal(err)
		}
	}
}

// A file system may give a new directory the inode of the one that was removed.
func remadeIsWatched(r *reader) {
	r.offers("jwt 0", "jwt 1", "jwt 2")
	watchUntilQuiet := func() {
		r.Helper()
		for err := error(nil); err == nil; {
			ctx, cancel := context.WithTimeout(r.Context(), 400*time.Millisecond)
			err = r.Watch(ctx, nil)
			cancel()
		}
	}
	watchUntilQuiet()
	r.must(os.RemoveAll(filepath.Dir(r.path(1))))
	r.write(1, "made again")
	watchUntilQuiet()
	r.offers("made again")
	watchUntilQuiet()
	r.write(1, "later")
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if err := r.Watch(ctx, nil); err != nil {
		r.Fatalf("the change is not noticed: %v", err)
	}
}

func wokenWatchEnds(r *reader) {
	if err := r.Watch(r.Context(), nil); err != nil { // the first one begins to watch
		r.Fatal(err)
	}
	wake := make(chan struct{}, 1)
	wake <- struct{}{}
	if err := r.Watch(r.Context(), wake); err != nil {
		r.Error(err)
	}
}

func TestOnlyADirectoryOfTheRightShapeIsOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		open func(string) (*dirsync.Folder, error)
		dir  string
		want string
	}{
		{"nothing", dirsync.OpenFolder, "/nope", "the path [/nope] doesn't exist"},
		{"a file", dirsync.OpenFolder, file, "is not a directory"},
		{"no directory of nsc", dirsync.OpenNSC, t.TempDir(),
			"is not a valid configuration directory"},
	} {
		if _, err := c.open(c.dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
