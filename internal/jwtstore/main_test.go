package jwtstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// The test binary is also the processes that tests kill: childEnv says which.
const childEnv = "JWTSTORE_TEST_CHILD"

var children = map[string]func(dir string) error{
	"writers": writeUntilKilled,
	"hold":    holdUntilKilled,
	"index":   putUntilKilled,
}

func TestMain(m *testing.M) {
	name, dir, isChild := strings.Cut(os.Getenv(childEnv), ":")
	if !isChild {
		os.Exit(m.Run())
	}
	if err := children[name](dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child starts this binary as one of children. Its standard output is returned; it is killed at the
// end of the test at the latest.
func child(t *testing.T, name, dir string, change ...func(*exec.Cmd)) (*exec.Cmd, io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), childEnv+"="+name+":"+dir)
	c.Stderr = os.Stderr
	for _, f := range change {
		f(c)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c, out
}

// holdUntilKilled opens a store, says so, and waits.
func holdUntilKilled(dir string) error {
	if _, err := jwtstore.OpenDir(context.Background(), jwtstore.Options{Dir: dir}); err != nil {
		return err
	}
	fmt.Println("open")
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, errors.New("not killed"))
}

const writers = 16

// writeUntilKilled stores and deletes ever newer versions of 16 accounts and prints "writer
// version" for each that is.
func writeUntilKilled(dir string) error {
	d, err := jwtstore.OpenDir(context.Background(), jwtstore.Options{Dir: dir, Shard: true,
		Announce: true})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	failed := make(chan error)
	for w, key := range writerKeys() {
		go func() {
			for n := versionOf(d, key) + 1; ; n++ {
				if err := store(d, key, w, n); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Printf("%d %d\n", w, n)
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

// version is what writer w stores as its nth version: of a size that changes, and recognisably
// whole.
func version(w, n int) []byte {
	return fmt.Appendf(nil, "writer %d version %d %s end %d", w, n,
		strings.Repeat("x", (n*997+w*131)%6000), n)
}

// Every fourth version is the tombstone of a Delete.
func isDelete(n int) bool { return n%4 == 0 }

// store makes version n of writer w what the store has.
func store(d *jwtstore.Dir, key string, w, n int) error {
	var err error
	if isDelete(n) {
		_, err = d.Delete(context.Background(), key, "test",
			jwtstoretest.WithTombstone(string(version(w, n))))
	} else {
		_, err = d.Put(context.Background(), key, "test", version(w, n), jwtstoretest.Always)
	}
	return err
}

// versionOf is what number is stored, or was deleted last; 0 if nothing is.
func versionOf(d *jwtstore.Dir, key string) int {
	jwt, _, _ := d.Load(key, jwtstore.Stamp{})
	if jwt == nil {
		jwt, _ = d.Tombstone(key)
	}
	return numberOf(jwt)
}

func numberOf(version []byte) (n int) {
	var w int
	_, _ = fmt.Sscanf(string(version), "writer %d version %d", &w, &n)
	return n
}

// acknowledged reads what a writer process prints until it is dead: the last version of each
// account.
func acknowledged(out io.Reader, last *[writers]int) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var w, n int
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &w, &n); err == nil {
			last[w] = n
		}
	}
}
