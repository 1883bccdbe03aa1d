package jwtstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// presenceEnv is a store with an account whose JWT has a file, and another place for its directory.
type presenceEnv struct {
	*testing.T
	jwtstore.Options
	elsewhere string // where the directory is moved to
	key       string
	d         *jwtstore.Dir

	mu     sync.Mutex
	faults []error // what Options.Gone was told
}

func newPresenceEnv(t *testing.T, change func(o *jwtstore.Options)) *presenceEnv {
	dir := filepath.Join(t.TempDir(), "store")
	e := &presenceEnv{T: t, Options: options(t, dir), elsewhere: dir + ".else",
		key: jwtstoretest.Key(t)}
	e.Gone = func(fault error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.faults = append(e.faults, fault)
	}
	change(&e.Options)
	e.d = open(t, e.Options)
	e.put(e.key, "jwt")
	written(t, e.d)
	return e
}

// put puts a JWT that the index knows.
func (e *presenceEnv) put(key, jwt string) {
	e.Helper()
	_, err := e.d.Put(e.Context(), key, "test", []byte(jwt), jwtstoretest.IssuedAt(jwt, 1))
	if err != nil {
		e.Fatalf("Put: %v", err)
	}
}

// do wants no error.
func (e *presenceEnv) do(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// wantGone wants that nothing can be read or written but what is in memory, and that Gone was told
// once. Nothing is made at the path.
func (e *presenceEnv) wantGone() {
	e.Helper()
	unknown := jwtstoretest.Key(e)
	for _, key := range []string{e.key, unknown} {
		if _, _, err := e.d.Load(key, jwtstore.Stamp{}); err == nil ||
			errors.Is(err, fs.ErrNotExist) {
			e.Errorf("Load: %v", err)
		}
		if _, err := e.d.Tombstone(key); err == nil {
			e.Error("Tombstone returns no error")
		}
		if err := tryPut(e.d, key, "jwt 2"); err == nil {
			e.Error("Put returns no error")
		}
		if err := tryDelete(e.d, key, "tombstone"); err == nil {
			e.Error("Delete returns no error")
		}
	}
	if _, errs := jwtstoretest.Stored(e, e.d); len(errs) == 0 {
		e.Error("Scan tells of no error")
	}
	e.d.Flush()
	made, _ := filepath.Glob(filepath.Join(e.Dir, "*", "*")) // .journal or a shard has something in it
	if len(made) > 0 {
		e.Errorf("made in the directory are %q", made)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.faults) != 1 || e.faults[0] == nil {
		e.Errorf("Gone was told %v", e.faults)
	}
	e.faults = nil
}

// wantBack wants this JWT of the account, and that JWTs can be put.
func (e *presenceEnv) wantBack(jwt string) {
	e.Helper()
	loads(e, e.d, e.key, jwt)
	second := jwtstoretest.Key(e)
	e.put(second, "second")
	written(e, e.d)
	for key, want := range map[string]string{e.key: jwt, second: "second"} {
		content, err := os.ReadFile(filepath.Join(e.Dir, jwtstore.Path(true, key)))
		if err != nil || string(content) != want {
			e.Errorf("the file has %q, %v", content, err)
		}
	}
	closeStore(e, e.d)
	e.d = open(e, e.Options)
	loads(e, e.d, e.key, jwt)
	loads(e, e.d, second, "second")
}

// TestADirectoryThatHasGone is not an empty one: its file system may have been unmounted.
func TestADirectoryThatHasGone(t *testing.T) {
	for name, atPath := range map[string]func(e *presenceEnv) error{
		"nothing is at its path":      func(e *presenceEnv) error { return nil },
		"an empty directory is there": func(e *presenceEnv) error { return os.Mkdir(e.Dir, 0o700) },
		"a file is there": func(e *presenceEnv) error {
			return os.WriteFile(e.Dir, nil, 0o600)
		},
		"a link to nowhere is there": func(e *presenceEnv) error {
			return os.Symlink("nowhere", e.Dir)
		},
		"another store is there": func(e *presenceEnv) error {
			return errors.Join(os.Mkdir(e.Dir, 0o700),
				os.WriteFile(filepath.Join(e.Dir, jwtstoretest.Key(e)+".jwt"),
					[]byte("other"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newPresenceEnv(t, func(*jwtstore.Options) {})
			late := jwtstoretest.Key(t)
			e.put(late, "late") // it is not in its file yet
			e.do(os.Rename(e.Dir, e.elsewhere))
			e.do(atPath(e))
			e.wantGone()
			loads(t, e.d, late, "late")
			e.do(os.RemoveAll(e.Dir))
			e.do(os.Rename(e.elsewhere, e.Dir))
			e.wantBack("jwt")
			loads(t, e.d, late, "late")
			if len(e.faults) != 1 || e.faults[0] != nil {
				t.Errorf("Gone was told %v", e.faults)
			}
		})
	}
}

// TestACopyTakesTheDirectorysPlace while the store is open: a backup, with what a running or a
// stopped server leaves beside the JWTs, or the JWTs alone.
func TestACopyTakesTheDirectorysPlace(t *testing.T) {
	for name, change := range map[string]func(e *presenceEnv) error{
		"all of it": func(e *presenceEnv) error { return nil },
		"the JWTs alone": func(e *presenceEnv) error {
			return os.RemoveAll(filepath.Join(e.Dir, ".journal"))
		},
		"with another JWT": func(e *presenceEnv) error {
			path := filepath.Join(e.Dir, jwtstore.Path(true, e.key))
			return os.WriteFile(path, []byte("jwt of the copy"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newPresenceEnv(t, func(*jwtstore.Options) {})
			e.do(os.Rename(e.Dir, e.elsewhere))
			e.do(os.Mkdir(e.Dir, 0o700))
			copyTree(t, e.elsewhere, e.Dir)
			e.do(change(e))
			want, err := os.ReadFile(filepath.Join(e.Dir, jwtstore.Path(true, e.key)))
			e.do(err)
			loads(t, e.d, e.key, string(want))
			if e.d.Index().Lost() != 1 {
				t.Error("the caller does not look at the whole store once more")
			}
			e.wantBack(string(want))
		})
	}
}

// TestAStartWithoutTheFileSystem has the index elsewhere, which knows what the directory lacks.
func TestAStartWithoutTheFileSystem(t *testing.T) {
	e := newPresenceEnv(t, func(o *jwtstore.Options) { o.StateDir = t.TempDir() })
	closeStore(t, e.d)
	e.do(os.Rename(e.Dir, e.elsewhere))
	e.d = open(t, e.Options)
	e.wantGone()
	e.do(os.RemoveAll(e.Dir))
	e.do(os.Rename(e.elsewhere, e.Dir))
	e.wantBack("jwt")
}

// TestAnOlderCopyIsNotTheStore while the store is open: it may be what was there before its file
// system was mounted. After a restart it is, since people may want to go back to a backup.
func TestAnOlderCopyIsNotTheStore(t *testing.T) {
	deleted := jwtstoretest.Key(t)
	for _, c := range []struct {
		name, jwt, ofDeleted string
		older                bool
	}{
		{"an older JWT", "0", "", true},
		{"another JWT of the second", "1b", "", true},
		{"a newer JWT", "2", "", false},
		{"the JWT of a deleted account", "jwt", "1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newPresenceEnv(t, func(o *jwtstore.Options) {
				o.IssuedAt = func(jwt []byte) (int64, bool) {
					return int64(jwt[0] - '0'), jwt[0] <= '9'
				}
			})
			e.put(deleted, "1")
			e.do(tryDelete(e.d, deleted, "gone"))
			written(t, e.d)
			e.do(os.Rename(e.Dir, e.elsewhere))
			older := filepath.Join(t.TempDir(), "copy") // the store looks at its place all the time
			e.do(os.Mkdir(older, 0o700))
			copyTree(t, e.elsewhere, older)
			write := func(key, jwt string) {
				path := filepath.Join(older, jwtstore.Path(true, key))
				e.do(os.MkdirAll(filepath.Dir(path), 0o700))
				e.do(os.WriteFile(path, []byte(jwt), 0o600))
			}
			write(e.key, c.jwt)
			if c.ofDeleted != "" {
				write(deleted, c.ofDeleted)
			}
			e.do(os.Rename(older, e.Dir))
			if !c.older {
				e.wantBack(c.jwt)
				return
			}
			if jwt, _, err := e.d.Load(e.key, jwtstore.Stamp{}); !errors.Is(err,
				jwtstore.ErrDirectory) {
				t.Errorf("Load: %q, %v", jwt, err)
			}
			if err := e.d.Close(); !errors.Is(err, jwtstore.ErrDirectory) {
				t.Errorf("Close: %v", err)
			}
			e.d = open(t, e.Options)
			e.wantBack(c.jwt)
		})
	}
}

// TestADirectoryThatIsReplacedDuringAFlush: what was written into the old one is written into the
// copy too.
func TestADirectoryThatIsReplacedDuringAFlush(t *testing.T) {
	var replace func()
	e := newPresenceEnv(t, func(o *jwtstore.Options) {
		o.Newer = func(string, []byte, []byte) bool { replace(); return false }
		o.Warn = t.Logf // what is flushed just then can't be written
	})
	replace = sync.OnceFunc(func() { // the first file is written, and the second one is looked at
		e.do(os.Rename(e.Dir, e.Dir+".old"))
		e.do(os.Rename(e.elsewhere, e.Dir))
	})
	e.do(os.Mkdir(e.elsewhere, 0o700))
	copyTree(t, e.Dir, e.elsewhere)
	second := jwtstoretest.Key(t)
	byHand := filepath.Join(e.Dir, jwtstore.Path(true, second))
	e.do(os.MkdirAll(filepath.Dir(byHand), 0o700))
	e.put(e.key, "jwt 2")
	e.put(second, "2")
	e.do(os.WriteFile(byHand, []byte("by hand"), 0o600))
	e.d.Flush() // fails
	written(t, e.d)
	e.wantBack("jwt 2")
	loads(t, e.d, second, "2")
}

// TestADirectoryThatComesAndGoes has another directory in its place for moments while JWTs are put
// and files are written. Nothing that was acknowledged is lost, and nothing counts as written that
// is in the other directory.
func TestADirectoryThatComesAndGoes(t *testing.T) {
	top := t.TempDir()
	real, other, link := filepath.Join(top, "real"), filepath.Join(top, "other"),
		filepath.Join(top, "store")
	for _, err := range []error{os.Mkdir(real, 0o700), os.Mkdir(other, 0o700),
		os.Symlink(real, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	pointTo := func(dir string) {
		if err := errors.Join(os.Symlink(dir, link+".next"), os.Rename(link+".next", link)); err != nil {
			t.Error(err)
		}
	}
	e := &presenceEnv{T: t, Options: options(t, link), key: jwtstoretest.Key(t)}
	e.Warn = nil
	e.d = open(t, e.Options)
	for range 150 { // more than the other directory will ever have, so it is never taken for a copy
		e.put(jwtstoretest.Key(t), "jwt")
	}
	written(t, e.d)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(n%7) * time.Millisecond):
			}
			pointTo(other)
			time.Sleep(time.Duration(n%5) * time.Millisecond)
			pointTo(real)
		}
	}()
	acknowledged := map[string]string{}
	for n := 0; len(acknowledged) < 100; n++ {
		key, jwt := jwtstoretest.Key(t), fmt.Sprint("jwt ", n)
		_, err := e.d.Put(t.Context(), key, "test", []byte(jwt), jwtstoretest.IssuedAt(jwt, 1))
		if err == nil {
			acknowledged[key] = jwt
		}
		if n%10 == 0 {
			e.d.Flush()
		}
	}
	close(stop)
	<-stopped
	jwtstoretest.Eventually(t, "everything is written", func() bool {
		e.d.Flush()
		return e.d.Unflushed() == 0
	})
	for key, want := range acknowledged {
		content, err := os.ReadFile(filepath.Join(real, jwtstore.Path(true, key)))
		if err != nil || string(content) != want {
			t.Errorf("the file has %q, %v, want %q", content, err, want)
		}
	}
}
