package jwtstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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

func TestADamagedRecordDoesNotHideLaterOnes(t *testing.T) {
	keys := writerKeys()
	whole, ends := jwtstore.JournalOf(keys, []byte("the JWT"))
	for name, c := range map[string]struct {
		damage func(data []byte) []byte
		lost   []string // accounts
		warned string
	}{
		"nothing": {func(b []byte) []byte { return b }, nil, ""},
		"zeros at the end": {func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
			nil, ""},
		"a torn end": {func(b []byte) []byte { return b[:len(b)-9] }, keys[15:], ""},
		"a bit in a record": {func(b []byte) []byte { b[ends[3]+60] ^= 4; return b }, keys[4:5],
			fmt.Sprintf("%d bytes at offset %d", ends[4]-ends[3], ends[3])},
		"a record's length": {func(b []byte) []byte { b[ends[3]+10] = 0xff; return b },
			keys[4:5], "damaged"},
		"two records": {func(b []byte) []byte { clear(b[ends[3]:ends[5]]); return b },
			keys[4:6], "damaged"},
		"the head":     {func(b []byte) []byte { clear(b[:32]); return b }, nil, "head"},
		"the snapshot": {func(b []byte) []byte { b[40] ^= 1; return b }, nil, "beginning"},
		"everything": {func(b []byte) []byte {
			return bytes.Repeat([]byte("junk"),
				1000)
		}, keys, "nothing in it"},
		"another generation's": {func(b []byte) []byte { return append(b, b[ends[3]:ends[4]]...) },
			nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			puts, pending, complaint, err := jwtstore.Replay(c.damage(bytes.Clone(whole)))
			if err != nil {
				t.Fatal(err)
			}
			if len(puts) != len(keys)-len(c.lost) || len(pending) != len(puts) {
				t.Errorf("%d JWTs, %d of them pending", len(puts), len(pending))
			}
			for _, key := range c.lost {
				if puts[key] != nil {
					t.Errorf("%s is there", key)
				}
			}
			if (complaint == "") != (c.warned == "") || !strings.Contains(complaint, c.warned) {
				t.Errorf("complaint %q, want %q", complaint, c.warned)
			}
		})
	}
}

// TestReplayOfDeletes has a journal with every order of Put, Delete and mark that matters.
func TestReplayOfDeletes(t *testing.T) {
	key := writerKeys()[0]
	jwt := func(text string) jwtstore.Event { return jwtstore.Event{Key: key, JWT: text} }
	gone := func(text string) jwtstore.Event { return jwtstore.Event{Key: key, Tombstone: text} }
	mark := func(seq uint64) jwtstore.Event { return jwtstore.Event{Mark: seq} }
	again := jwtstore.Event{Key: key}
	type events []jwtstore.Event
	for name, c := range map[string]struct {
		told, left events
		pending    uint64
	}{
		"deleted":             {events{jwt("1"), gone("2")}, events{gone("2")}, 0},
		"touched and deleted": {events{jwt("1"), again, gone("3")}, events{gone("3")}, 0},
		"put again": {events{jwt("1"), gone("2"), jwt("3")},
			events{gone("2"), jwt("3")}, 3},
		"deleted again": {events{jwt("1"), gone("2"), jwt("3"), gone("4")},
			events{gone("4")}, 0},
		"put twice": {events{jwt("1"), gone("2"), jwt("3"), jwt("4")},
			events{gone("2"), jwt("4")}, 4},
		"written": {events{jwt("1"), gone("2"), mark(2)}, events{}, 0},
		"written and put": {events{jwt("1"), gone("2"), jwt("3"), mark(2)},
			events{jwt("3")}, 3},
		"everything is written": {events{jwt("1"), gone("2"), jwt("3"),
			mark(3)}, events{}, 3},
		"the mark is before the delete": {events{jwt("1"), gone("2"), mark(1)},
			events{gone("2")}, 0},
		"written, put and deleted again": {events{jwt("1"), gone("2"), mark(2), jwt("4"),
			gone("5")}, events{gone("5")}, 0},
		"deleted, nothing else was stored": {events{gone("1")}, events{gone("1")}, 0},
	} {
		data, _ := jwtstore.JournalOfEvents(c.told...)
		left, pending, complaint, err := jwtstore.ReplayEvents(data)
		if err != nil || complaint != "" || !slices.Equal(left, c.left) {
			t.Errorf("%s: left are %v, %q, %v, want %v", name, left, complaint, err, c.left)
		}
		if len(pending) > 1 || (len(pending) == 0) != (c.pending == 0) || len(pending) == 1 &&
			pending[0].Seq != c.pending {
			t.Errorf("%s: pending are %v, want %d", name, pending, c.pending)
		}
	}
}

func TestADamagedJournalIsUsedAndWarnedOf(t *testing.T) {
	dir, keys := t.TempDir(), writerKeys()
	data, ends := jwtstore.JournalOf(keys, []byte("the JWT"))
	data[ends[0]+50] ^= 1
	path := filepath.Join(dir, ".journal", "journal")
	write(t, path, string(data))
	write(t, filepath.Join(dir, ".journal", "aside-1"), "half a J")
	write(t, filepath.Join(dir, ".journal", "journal.next"), "half a journal")
	o := options(t, dir)
	var warnings []string
	o.Warn = func(format string, args ...any) {
		warnings = append(warnings,
			fmt.Sprintf(format, args...))
	}
	d := open(t, o)
	if len(warnings) != 1 || !strings.Contains(warnings[0], path) {
		t.Errorf("warnings: %q", warnings)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("beside the journal are left: %v", left)
	}
	loads(t, d, keys[0], "the JWT")
	loads(t, d, keys[1], "")
	loads(t, d, keys[2], "the JWT")
	content, err := os.ReadFile(filepath.Join(dir, jwtstore.Path(true, keys[2])))
	if string(content) != "the JWT" {
		t.Errorf("the file has %q, %v", content, err)
	}
}

func TestAJournalOfANewerProgramIsRefused(t *testing.T) {
	if _, _, _, err := jwtstore.Replay(jwtstore.JournalOfVersion(3)); err == nil {
		t.Error("replayed")
	}
}

// TestAJournalThatFails breaks the journal, by a file that can't be written to, and by one that
// can't be synced. After a Put or Delete that fails nothing has changed, and the next Puts work.
func TestAJournalThatFails(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	put(t, d, key, "old")
	for round := range 6 {
		path, mode := filepath.Join(dir, ".journal", "journal"), os.O_RDONLY
		if round%2 == 1 {
			path, mode = os.DevNull, os.O_RDWR
		}
		broken, err := os.OpenFile(path, mode, 0)
		if err != nil {
			t.Fatal(err)
		}
		d.BreakJournal(broken)
		if round < 3 {
			_, err = d.Put(t.Context(), key, "test", []byte("new"), jwtstoretest.Always)
		} else {
			_, err = d.Delete(t.Context(), key, "test", jwtstoretest.WithTombstone("gone"))
		}
		if err == nil {
			t.Error("it succeeds")
		}
		loads(t, d, key, "old")
		keeps(t, d, key, "")
		copied := t.TempDir()
		copyTree(t, dir, copied)
		c := open(t, options(t, copied))
		loads(t, c, key, "old")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { put(t, d, jwtstoretest.Key(t), "jwt") })
		}
		all.Wait()
		put(t, d, key, "old")
	}
}

// TestTheJournalStaysSmall writes many times its limit.
func TestTheJournalStaysSmall(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	d.Outbox().Register("s1", time.Now())
	jwt := strings.Repeat("x", 100_000)
	for n := range 60 {
		put(t, d, key, fmt.Sprint(n, jwt))
		if n%7 == 0 {
			d.Outbox().Acknowledge("s1", d.Outbox().Pending()[0].Seq)
		}
	}
	info, err := os.Stat(filepath.Join(dir, ".journal", "journal"))
	if err != nil || info.Size() > 3<<20 {
		t.Errorf("the journal has %d bytes, %v", info.Size(), err)
	}
	copied := t.TempDir()
	copyTree(t, dir, copied)
	c := open(t, options(t, copied))
	loads(t, c, key, "59"+jwt)
	if !c.Outbox().IsPending("s1", c.Outbox().Pending()[0].Seq) {
		t.Error("nothing is pending for s1")
	}
}

// TestManyAcknowledgementsAtOnce are more than wait for the next commit.
func TestManyAcknowledgementsAtOnce(t *testing.T) {
	dir, key := t.TempDir(), jwtstoretest.Key(t)
	d := open(t, options(t, dir))
	seq := put(t, d, key, "jwt")
	name := func(n int) string { return fmt.Sprint(strings.Repeat("server", 15), n) }
	for n := range 4000 {
		d.Outbox().Register(name(n), time.Now())
	}
	d.Outbox().Acknowledge(name(3999), seq)
	last := put(t, d, jwtstoretest.Key(t), "jwt")
	d.Outbox().Acknowledge(name(0), last)
	written(t, d)
	copied := t.TempDir()
	copyTree(t, dir, copied)
	c := open(t, options(t, copied))
	if n := len(c.Outbox().Servers()); n != 4000 {
		t.Errorf("%d servers are known", n)
	}
	if c.Outbox().IsPending(name(3999), seq) || !c.Outbox().IsPending(name(3998), seq) {
		t.Error("what is pending for which server is wrong")
	}
}

// TestWhatACheckpointSaysIsNotSaidAgain has events that would mean something else after a
// checkpoint that knows them already.
func TestWhatACheckpointSaysIsNotSaidAgain(t *testing.T) {
	dir := t.TempDir()
	d := open(t, options(t, dir))
	d.Outbox().Register("s1", time.Now())
	d.Outbox().Register("s2", time.Now())
	seq := put(t, d, jwtstoretest.Key(t), "jwt")
	written(t, d)
	d.Outbox().Acknowledge("s1", seq)
	d.Outbox().Forget("s1")
	d.Outbox().Forget("s2")
	d.Outbox().Register("s1", time.Now())
	if err := os.RemoveAll(filepath.Join(dir, ".journal")); err != nil {
		t.Fatal(err)
	}
	put(t, d, jwtstoretest.Key(t), "jwt")
	copied := t.TempDir()
	copyTree(t, dir, copied)
	if c := open(t, options(t, copied)); !c.Outbox().IsPending("s1", seq) {
		t.Error("a change that is pending is lost")
	}
}

func TestMemoryForWhatIsNotWrittenIsBounded(t *testing.T) {
	d := open(t, options(t, t.TempDir()))
	d.SetMaxUnflushed(1 << 20)
	var all sync.WaitGroup
	for range 100 {
		key := jwtstoretest.Key(t)
		all.Go(func() { put(t, d, key, strings.Repeat("x", 100_000)) })
	}
	all.Wait()
	if n := d.Unflushed(); n > 10 {
		t.Errorf("%d JWTs of 100 kB are in memory", n)
	}
}

// TestAStartAfterAnEarlierVersionWasKilled opens what the version of this program left that wrote
// the temp file before the commit: files, a journal with every kind of record and those temp files.
func TestAStartAfterAnEarlierVersionWasKilled(t *testing.T) {
	dir, keys := t.TempDir(), writerKeys()
	copyTree(t, filepath.Join("testdata", "killed-with-aside-files"), dir)
	d := open(t, options(t, dir))
	// The index is new.
	if left, err := os.ReadDir(filepath.Join(dir, ".journal")); err != nil || len(left) != 2 {
		t.Errorf("beside the journal are left: %v, %v", left, err)
	}
	stored := []string{"flushed, then touched", "the replacement", "", "acknowledged by both",
		"put again", "the last"}
	tombstones := []string{"", "", "the tombstone", "", "the tombstone before", ""}
	check := func(what string) {
		t.Helper()
		for n := range stored {
			path := filepath.Join(dir, jwtstore.Path(true, keys[n]))
			for file, want := range map[string]string{path: stored[n],
				path + ".deleted": tombstones[n]} {
				content, err := os.ReadFile(file)
				if string(content) != want || errors.Is(err, fs.ErrNotExist) != (want == "") {
					t.Errorf("%s, the file %s has %q, %v, want %q", what, filepath.Base(file),
						content, err, want)
				}
			}
			loads(t, d, keys[n], stored[n])
			keeps(t, d, keys[n], tombstones[n])
		}
	}
	check("after the start")
	var pending []uint64
	for _, c := range d.Outbox().Pending() {
		pending = append(pending, c.Seq)
		for server, want := range map[string]bool{"s1": c.Seq != 5, "s2": true} {
			if got := d.Outbox().IsPending(server, c.Seq); got != want {
				t.Errorf("change %d is pending for %s: %v", c.Seq, server, got)
			}
		}
	}
	if want := []uint64{5, 7, 10, 11}; !slices.Equal(pending, want) {
		t.Errorf("pending are %v, want %v", pending, want)
	}
	if seen := d.Outbox().LastSeen("s1"); seen.Unix() != 1_700_000_000 {
		t.Errorf("s1 was last seen at %v", seen)
	}
	if servers := d.Outbox().Servers(); len(servers) != 2 {
		t.Errorf("servers %q", servers)
	}
	if seq := put(t, d, keys[5], "new"); seq != 12 {
		t.Errorf("the next sequence number is %d", seq)
	}
	stored[5] = "new"
	closeStore(t, d)
	d = open(t, options(t, dir))
	check("after a stop")
}

// TestAPutThatWaitsForRoomEnds with its context and with the store.
func TestAPutThatWaitsForRoomEnds(t *testing.T) {
	d := open(t, options(t, t.TempDir()))
	d.SetMaxUnflushed(10)
	closed := make(chan error)
	d.HoldFiles(func() {
		put(t, d, jwtstoretest.Key(t), "123456789")
		over, cancel := context.WithCancel(context.Background())
		errs := make(chan error)
		wait := func(ctx context.Context, key string) {
			_, err := d.Put(ctx, key, "test", []byte("no room"), jwtstoretest.Always)
			errs <- err
		}
		go wait(over, jwtstoretest.Key(t))
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("with its context: %v", err)
		}
		go wait(context.Background(), jwtstoretest.Key(t))
		go func() { closed <- d.Close() }()
		if err := <-errs; !errors.Is(err, jwtstore.ErrClosed) {
			t.Errorf("with the store: %v", err)
		}
	})
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
