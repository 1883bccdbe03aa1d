package jwtstoretest

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

	"nats-account-server/internal/jwtstore"
)

// Shelving is a kind of folder that is only read: where somebody who writes it puts a JWT.
type Shelving struct {
	Open func(dir string) (*jwtstore.Folder, error)
	// Place returns the path of the nth JWT below the folder; Key is "" if the path does not say whose it is.
	Place func(n int) (path, key string)
	Stray string // the path of a file that is no JWT
}

// RunFolder runs the contract of what is only read.
func RunFolder(t *testing.T, s Shelving) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, r *reader)
	}{
		{"every file is given once", givenOnce},
		{"what is written, replaced or edited is given again", givenAgain},
		{"what is being written is given when it stands still", givenWhole},
		{"what is gone is said once", saidGone},
		{"everything is given again when asked for", givenAnew},
		{"one file that can't be read harms no other", givenBesideBroken},
		{"what is replaced by taking it away first is not gone", replacedIsNotGone},
		{"a symbolic link that leads nowhere is gone", danglingIsGone},
		{"a file from the future settles", settlesInTheFuture},
		{"what changes beside the folder is not noticed", deafToNeighbours},
		{"a folder that is away counts as nothing gone", awayIsNotGone},
		{"a change is noticed, also in a new directory", noticed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reader{T: t, Shelving: s, dir: filepath.Join(t.TempDir(), "OP")}
			for n := range 3 {
				r.write(n, fmt.Sprint("jwt ", n))
			}
			if err := os.WriteFile(filepath.Join(r.dir, s.Stray), []byte("stray"), 0o600); err != nil {
				t.Fatal(err)
			}
			folder, err := s.Open(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			r.Folder = folder
			t.Cleanup(folder.Close)
			c.test(t, r)
		})
	}
}

// reader is a folder with the shorthands of a test.
type reader struct {
	*testing.T
	Shelving
	*jwtstore.Folder
	dir string
}

func (r *reader) path(n int) string {
	path, _ := r.Place(n)
	return filepath.Join(r.dir, path)
}

func (r *reader) write(n int, jwt string) {
	r.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(n)), 0o700); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(r.path(n), []byte(jwt), 0o600); err != nil {
		r.Fatal(err)
	}
}

// gives scans until nothing has just been written to, wants exactly these JWTs to be given meanwhile, and returns what is
// said to be gone.
func (r *reader) gives(want ...string) (gone []string) {
	r.Helper()
	got := []string{}
	Eventually(r, "the folder settles", func() bool {
		lost, settled, err := r.Scan(func(f jwtstore.File) {
			if f.Err == nil {
				got = append(got, string(f.JWT))
				r.named(f)
			}
		})
		if err != nil {
			r.Fatal(err)
		}
		gone = append(gone, lost...)
		return settled
	})
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		r.Fatalf("given are %q, want %q", got, want)
	}
	return gone
}

// named wants a file to be given under its key.
func (r *reader) named(f jwtstore.File) {
	r.Helper()
	for n := range 4 {
		if path, key := r.Place(n); filepath.Join(r.dir, path) == f.Path && key != f.Key {
			r.Errorf("%s is given as %q, want %q", path, f.Key, key)
		}
	}
}

func givenOnce(_ *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	r.gives()
}

func givenAgain(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	r.write(0, "edited")
	aside := r.path(1) + ".tmp"
	if err := os.WriteFile(aside, []byte("replaced"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, r.path(1)); err != nil {
		t.Fatal(err)
	}
	r.write(3, "new")
	r.gives("edited", "replaced", "new")
}

func givenWhole(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	r.write(0, "")
	if _, settled, _ := r.Scan(func(jwtstore.File) {}); settled {
		t.Error("a file that has just been written to counts as settled")
	}
	r.write(0, "whole")
	r.gives("whole")
}

func saidGone(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	if err := os.Remove(r.path(1)); err != nil {
		t.Fatal(err)
	}
	if gone := r.gives(); !slices.Equal(gone, []string{r.path(1)}) {
		t.Errorf("gone are %q", gone)
	}
	if gone := r.gives(); len(gone) > 0 {
		t.Errorf("gone once more are %q", gone)
	}
}

func givenAnew(_ *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	r.Forget()
	r.gives("jwt 0", "jwt 1", "jwt 2")
}

func givenBesideBroken(t *testing.T, r *reader) {
	if err := os.Remove(r.path(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.path(1), 0o700); err != nil { // under the name of a file
		t.Fatal(err)
	}
	r.gives("jwt 0", "jwt 2")
	said := 0
	_, _, _ = r.Scan(func(f jwtstore.File) {
		if f.Path == r.path(1) && f.Err != nil {
			said++
		}
	})
	if said != 1 {
		t.Errorf("it is given %d times, with why it can't be read", said)
	}
	if err := os.Remove(r.path(2)); err != nil {
		t.Fatal(err)
	}
	if gone := r.gives(); !slices.Equal(gone, []string{r.path(2)}) {
		t.Errorf("gone are %q", gone)
	}
}

func replacedIsNotGone(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	if err := os.Remove(r.path(1)); err != nil {
		t.Fatal(err)
	}
	gone, settled, _ := r.Scan(func(f jwtstore.File) { t.Errorf("given is %q", f.Path) })
	if settled || len(gone) > 0 {
		t.Errorf("settled: %t, gone are %q", settled, gone)
	}
	r.write(1, "newer")
	if gone := r.gives("newer"); len(gone) > 0 {
		t.Errorf("gone are %q", gone)
	}
}

func danglingIsGone(t *testing.T, r *reader) {
	aside := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(aside, []byte("linked"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.path(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(aside, r.path(1)); err != nil {
		t.Skip(err)
	}
	r.gives("jwt 0", "linked", "jwt 2")
	if err := os.Remove(aside); err != nil {
		t.Fatal(err)
	}
	if gone := r.gives(); !slices.Equal(gone, []string{r.path(1)}) {
		t.Errorf("gone are %q", gone)
	}
}

func settlesInTheFuture(t *testing.T, r *reader) {
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(r.path(1), later, later); err != nil {
		t.Fatal(err)
	}
	r.gives("jwt 0", "jwt 1", "jwt 2")
	r.write(1, "edited")
	r.gives("edited")
}

func deafToNeighbours(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := r.Watch(ctx); err != nil { // begins to watch
		t.Fatal(err)
	}
	for n := range 3 {
		if err := os.WriteFile(filepath.Join(filepath.Dir(r.dir), fmt.Sprint(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Watch(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it is noticed: %v", err)
	}
}

func awayIsNotGone(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	if err := os.Rename(r.dir, r.dir+".away"); err != nil {
		t.Fatal(err)
	}
	gone, _, err := r.Scan(func(f jwtstore.File) { t.Errorf("given is %q", f.Path) })
	if err == nil || len(gone) > 0 {
		t.Errorf("gone are %q, %v", gone, err)
	}
	if err := os.Rename(r.dir+".away", r.dir); err != nil {
		t.Fatal(err)
	}
	if gone := r.gives(); len(gone) > 0 {
		t.Errorf("gone are %q", gone)
	}
}

func noticed(t *testing.T, r *reader) {
	r.gives("jwt 0", "jwt 1", "jwt 2")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Watch(ctx); err != nil { // the first one begins to watch
		t.Fatal(err)
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
		if err := r.Watch(ctx); err != nil {
			t.Fatalf("%v; given were %s", err, strings.Join(seen, ", "))
		}
		if _, _, err := r.Scan(func(f jwtstore.File) { seen = append(seen, string(f.JWT)) }); err != nil {
			t.Fatal(err)
		}
	}
}
