package jwtstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
	"nats-account-server/internal/jwttest"
)

// stall makes every open of a file in dir wait until the function that it returns is called, as a
// disk does that is gone for a while.
func stall(t *testing.T, dir string) (goOn func()) {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC,
		unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_EVENT_ON_CHILD,
			unix.AT_FDCWD, dir)
	}
	if err != nil {
		jwttest.Lacks(t, "fanotify", err)
	}
	goOn = sync.OnceFunc(func() { unix.Close(fd) }) // what waits for an answer goes on then
	t.Cleanup(goOn)
	return goOn
}

// threads is how many this process has.
func threads(t *testing.T) (n int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "Threads:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestADiskThatDoesNotAnswer has many ask for accounts meanwhile. They do not take a thread each:
// the runtime ends a process that has 10,000.
func TestADiskThatDoesNotAnswer(t *testing.T) {
	const many = 500
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(t, path, "jwt")
	before := threads(t)
	goOn := stall(t, filepath.Dir(path))
	var all sync.WaitGroup
	var begun sync.WaitGroup
	begun.Add(many)
	for range many {
		all.Go(func() {
			begun.Done()
			if jwt, _, err := d.Load(key, jwtstore.Stamp{}); string(jwt) != "jwt" {
				t.Errorf("%q, %v", jwt, err)
			}
		})
	}
	begun.Wait()
	time.Sleep(100 * time.Millisecond) // a goroutine that does not take a thread can not be seen
	if n := threads(t) - before; n > many/5 {
		t.Errorf("%d threads wait for the disk", n)
	}
	goOn()
	all.Wait()
	if err := tryPut(d, key, "new"); err != nil {
		t.Error(err)
	}
}

// TestADiskOfWhichAPartDoesNotAnswer has as many reads hang as there may be. What needs none of
// them goes on: a JWT that is known already, a Put, a Delete and the list.
func TestADiskOfWhichAPartDoesNotAnswer(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	other := jwtstoretest.Key(t)
	for other[54:] == key[54:] {
		other = jwtstoretest.Key(t)
	}
	d := open(t, options(t, dir))
	path := filepath.Join(dir, jwtstore.Path(true, key))
	write(t, path, "jwt")
	write(t, filepath.Join(dir, jwtstore.Path(true, other)), "other")
	var stamp jwtstore.Stamp
	jwtstoretest.Eventually(t, "the stamp holds", func() bool {
		jwt, now, _ := d.Load(other, stamp)
		stamp = now
		return jwt == nil
	})
	goOn := stall(t, filepath.Dir(path))
	var hanging sync.WaitGroup
	defer hanging.Wait()
	defer goOn()
	for range 100 {
		hanging.Go(func() { _, _, _ = d.Load(key, jwtstore.Stamp{}) })
	}
	jwtstoretest.Eventually(t, "all reads hang", func() bool {
		n, max := d.Reading()
		return n == max
	})
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"a known JWT", func() error { _, _, err := d.Load(other, stamp); return err }},
		{"the list", func() error {
			var failed atomic.Bool
			err := d.Scan(t.Context(), jwtstore.Scan{Every: true, Look: func(_ string, err error) bool {
				failed.Store(failed.Load() || err != nil)
				return true
			}})
			if failed.Load() {
				return errors.New("something can't be read")
			}
			return err
		}},
		{"a Put", func() error { return tryPut(d, other, "new") }},
		{"a Delete", func() error { return tryDelete(d, other, "gone") }},
	} {
		done := make(chan error, 1)
		go func() { done <- c.do() }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s waits for the disk", c.name)
		}
	}
}
