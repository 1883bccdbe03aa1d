package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// The power is cut under the store alone here, driven by a process that is this test's binary:
// deletions are not what the program does on its own.

const (
	partEnv  = "POWERCUT_PART" // the part of deletions that this process is to play
	partKeys = "POWERCUT_KEYS"
	stepDone = "this step is durable\n"
)

// step is a Put of a JWT or a Delete with a tombstone.
type step struct {
	key            int
	jwt, tombstone string
	shardMade      bool // another program makes the shard before, and syncs nothing
	written        bool // wait until it is in its file
}

// part is what one process does with the store, and how it ends.
type part struct {
	shard, kill bool
	steps       []step
}

var deletions = []part{
	{shard: false, steps: []step{{key: 0, jwt: "a1"}, {key: 1, jwt: "b1"}}},
	{shard: true, kill: true, steps: []step{
		{key: 0, tombstone: "a1 is gone", written: true}, // its file is flat
		{key: 1, jwt: "b2", written: true},               // takes its new place
		{key: 1, tombstone: "b2 is gone", written: true}, // and b1 does not come back to the old one
		{key: 2, jwt: "c1", shardMade: true, written: true},
		{key: 0, jwt: "a2"},
		{key: 0, tombstone: "a2 is gone"},
		{key: 0, jwt: "a3"},
	}},
	{shard: true, steps: []step{{key: 0, tombstone: "a3 is gone", written: true}}},
}

// playPart is the life of one of the processes.
func playPart() error {
	n, err := strconv.Atoi(os.Getenv(partEnv))
	if err != nil {
		return err
	}
	p, keys := deletions[n], bytes.Fields([]byte(os.Getenv(partKeys)))
	store, err := jwtstore.OpenDir(context.Background(),
		jwtstore.Options{Dir: "store", Shard: p.shard})
	if err != nil {
		return err
	}
	for _, s := range p.steps {
		if err := s.do(store, string(keys[s.key]), p.shard); err != nil {
			return err
		}
		if _, err := os.Stdout.WriteString(stepDone); err != nil {
			return err
		}
	}
	if p.kill {
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		return self.Kill()
	}
	return store.Close()
}

func (s step) do(store *jwtstore.Dir, key string, shard bool) (err error) {
	if s.shardMade {
		if err := makeShard(key); err != nil {
			return err
		}
	}
	if s.jwt != "" {
		_, err = store.Put(context.Background(), key, "test", []byte(s.jwt),
			func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil })
	} else {
		_, err = store.Delete(context.Background(), key, "test", func(jwtstore.Stored) ([]byte,
			error) {
			return []byte(s.tombstone), nil
		})
	}
	for s.written && err == nil && !s.isWritten(key) {
		time.Sleep(10 * time.Millisecond)
	}
	if s.written {
		time.Sleep(50 * time.Millisecond) // for the mark; nothing depends on it
	}
	return err
}

// makeShard makes the directory of an account; the trace needs its whole path.
func makeShard(key string) error {
	path, err := filepath.Abs(filepath.Join("store", key[54:]))
	if err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // that of another account
}

// isWritten says whether the step can be seen in the directory.
func (s step) isWritten(key string) bool {
	flat, sharded := filepath.Join("store", key+".jwt"),
		filepath.Join("store", key[54:], key+".jwt")
	_, gone := os.Stat(flat)
	content, err := os.ReadFile(sharded)
	return os.IsNotExist(gone) && (string(content) == s.jwt && err == nil || s.jwt == "" &&
		os.IsNotExist(err))
}

// record is what the store is to have after each step.
type record struct {
	keys   []string
	states []map[string]step // the last Put or Delete of each account, and its last tombstone
}

// runDeletions plays the deletions and returns what that did to the disk.
func runDeletions(t *testing.T) (*disk, *record) {
	t.Helper()
	tr, dir := newTrace(t), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &record{states: []map[string]step{{}}}
	names := ""
	for range 3 {
		r.keys = append(r.keys, jwttest.NewAccount(t).ID)
		names += r.keys[len(r.keys)-1] + " "
	}
	tr.leaveDirectories(dir, r.keys[0][54:])
	for n, p := range deletions {
		c := tr.startOther(self, dir, []string{fmt.Sprintf("%s=%d", partEnv, n), partKeys + "=" +
			names})
		<-c.end
		if text := c.log.String(); len(text) != len(p.steps)*len(stepDone) {
			t.Fatalf("part %d says %q", n, text)
		}
		for _, s := range p.steps {
			r.add(s)
		}
	}
	return readDisk(dir, tr.calls()), r
}

func (r *record) add(s step) {
	key, next := r.keys[s.key], map[string]step{}
	for k, v := range r.states[len(r.states)-1] {
		next[k] = v
	}
	if s.jwt != "" {
		s.tombstone = next[key].tombstone
	}
	next[key] = s
	r.states = append(r.states, next)
}

// layouts has both: a file that comes back to its old place must not count there either.
func (r *record) layouts() []bool { return []bool{true, false} }

// kept says what is wrong with a store of which this many steps were acknowledged: each account is
// as it was then, or as the next step makes it.
func (r *record) kept(store *jwtstore.Dir, answered int) string {
	for _, key := range r.keys {
		jwt, _, err := store.Load(key, jwtstore.Stamp{})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err.Error()
		}
		tombstone, err := store.Tombstone(key)
		if err != nil {
			return err.Error()
		}
		is := func(n int) bool {
			want := r.states[min(n, len(r.states)-1)][key]
			return string(jwt) == want.jwt && string(tombstone) == want.tombstone
		}
		if !is(answered) && !is(answered+1) {
			return fmt.Sprintf("after step %d the store has of %s the JWT %q and the tombstone %q",
				answered, key[:6], jwt, tombstone)
		}
	}
	return ""
}

func TestAPowerCutAtAnyMomentBringsBackNothingThatWasDeleted(t *testing.T) {
	d, r := runDeletions(t) // alone, see TestAPowerCutAtAnyMomentLosesNothingThatWasAcknowledged
	t.Parallel()
	if len(d.answers) != len(r.states)-1 {
		t.Fatalf("%d answers in the trace, %d steps", len(d.answers), len(r.states)-1)
	}
	fault, looked := d.worst(t, r, -1)
	if fault != "" {
		t.Error(fault)
	}
	t.Logf("%d changes, %d syncs, %d answers, %d states", len(d.changes), len(d.barriers),
		len(d.answers), looked)
	if looked < 100 {
		t.Errorf("only %d states were looked at", looked)
	}
	d.needed(t, r)
}
