package jwtstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// numbered is the nth version of an account.
func numbered(n int64) string { return fmt.Sprintf("version %d", n) }

func numberIn(text []byte) (n int64) {
	_, _ = fmt.Sscanf(string(text), "version %d", &n)
	return n
}

// putNumbered puts version n, and makes it the floor.
func putNumbered(t *testing.T, d *jwtstore.Dir, key string, n int64) {
	t.Helper()
	putAfter(t, d, key, n, func(f jwtstore.Floor, n int64) jwtstore.Floor {
		return f.After(n, sha256.Sum256([]byte(numbered(n))))
	})
}

// putAfter puts a numbered version, and the index gets the floor after it.
func putAfter(
	t *testing.T, d *jwtstore.Dir, key string, n int64, floorAfter func(jwtstore.Floor, int64) jwtstore.Floor,
) {
	t.Helper()
	text := []byte(numbered(n))
	_, err := d.Put(context.Background(), key, "test", text,
		func(now jwtstore.Stored) (jwtstore.Version, error) {
			f := floorAfter(now.Floor, n)
			return jwtstore.Version{Hash: sha256.Sum256(text), IssuedAt: f.IssuedAt, Floor: f}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
}

// crashed is a copy of a directory whose process was killed.
type crashed struct {
	dir      string
	earlier  string // a copy of the same directory, from before: its index, and the journal before that
	accounts map[string]string
}

// file is the path of what is kept of an account.
func (c crashed) file(name string) string {
	return filepath.Join(c.dir, jwtstore.Path(true, c.accounts[name]))
}

// state is the path of a file beside the journal.
func (c crashed) state(name string) string { return filepath.Join(c.dir, ".journal", name) }

// crash returns a copy of a store in which everything has happened once:
//
//	flushed    version 2 in its file; it was version 1 before
//	deleted    version 1 was deleted, and that is flushed
//	put        version 3 in the journal; version 1 in its file
//	new        version 3 in the journal; no file
//	deleting   a deletion in the journal; version 3 in its file
func crash(t *testing.T) crashed {
	t.Helper()
	o := options(t, t.TempDir())
	d := open(t, o)
	c := crashed{dir: t.TempDir(), earlier: t.TempDir(), accounts: map[string]string{}}
	for _, name := range []string{"flushed", "deleted", "put", "new", "deleting"} {
		c.accounts[name] = jwtstoretest.Key(t)
	}
	for name, n := range map[string]int64{"flushed": 1, "deleted": 1, "put": 1, "deleting": 3} {
		putNumbered(t, d, c.accounts[name], n)
	}
	journal, err := os.ReadFile(filepath.Join(o.Dir, ".journal", "journal"))
	if err != nil {
		t.Fatal(err)
	}
	d.Flush()
	d.HoldFiles(func() { copyTree(t, o.Dir, c.earlier) })
	write(t, filepath.Join(c.earlier, ".journal", "journal"), string(journal))
	putNumbered(t, d, c.accounts["flushed"], 2)
	del(t, d, c.accounts["deleted"], numbered(1))
	d.Flush()
	d.HoldFiles(func() {
		putNumbered(t, d, c.accounts["put"], 3)
		putNumbered(t, d, c.accounts["new"], 3)
		del(t, d, c.accounts["deleting"], numbered(3))
		copyTree(t, o.Dir, c.dir)
	})
	return c
}

// replace puts a version into the directory, as an administrator does.
func (c crashed) replace(t *testing.T, name string, n int64) {
	t.Helper()
	temp := filepath.Join(c.dir, "copied")
	write(t, temp, numbered(n))
	write(t, c.file(name), "") // makes its directory
	if err := os.Rename(temp, c.file(name)); err != nil {
		t.Fatal(err)
	}
}

// restore takes a file beside the journal from the earlier copy.
func (c crashed) restore(t *testing.T, name string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.earlier, ".journal", name))
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.state(name), string(content))
}

func (c crashed) remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestIndexAndFilesDisagree opens what a crash left after something was changed by hand or by the
// disk. Each row says what is served then, and the floors, where they differ from those after a
// mere crash. The index is told nothing else: it is the caller's Rescan that raises the floors of
// an index that was lost.
func TestIndexAndFilesDisagree(t *testing.T) {
	served := map[string]int64{"flushed": 2, "deleted": 0, "put": 3, "new": 3, "deleting": 0}
	floors := map[string]int64{"flushed": 2, "deleted": 1, "put": 3, "new": 3, "deleting": 3}
	lost := map[string]int64{"flushed": 0, "deleted": 0} // floors that only the index had
	for _, row := range []struct {
		name   string
		change func(t *testing.T, c crashed)
		served map[string]int64
		floors map[string]int64
		warn   string
	}{
		{name: "nothing", change: func(*testing.T, crashed) {}},
		{name: "the index is gone", floors: lost, warn: "made anew",
			change: func(t *testing.T, c crashed) { c.remove(t, c.state("index")) }},
		{name: "the index is empty", floors: lost, warn: "made anew",
			change: func(t *testing.T, c crashed) { write(t, c.state("index"), "") }},
		{name: "the index is a directory", floors: lost, warn: "made anew",
			change: func(t *testing.T, c crashed) {
				c.remove(t, c.state("index"))
				write(t, filepath.Join(c.state("index"), "file"), "")
			}},
		{name: "the index is cut", floors: lost, warn: "made anew",
			change: func(t *testing.T, c crashed) {
				if err := os.Truncate(c.state("index"), 30); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "the index is an earlier one", warn: "older than the journal", // what it knows stays
			change: func(t *testing.T, c crashed) { c.restore(t, "index") },
			floors: map[string]int64{"flushed": 1}},
		{name: "the journal is an earlier one", // what was in the journal alone is lost with it
			change: func(t *testing.T, c crashed) { c.restore(t, "journal") },
			served: map[string]int64{"put": 1, "new": 0, "deleting": 3},
			floors: map[string]int64{"put": 1, "new": 0}},
		{name: "the journal is gone",
			change: func(t *testing.T, c crashed) { c.remove(t, c.state("journal")) },
			served: map[string]int64{"put": 1, "new": 0, "deleting": 3},
			floors: map[string]int64{"put": 1, "new": 0}},
		{name: "both are gone",
			change: func(t *testing.T, c crashed) {
				c.remove(t, c.state("journal"))
				c.remove(t, c.state("index"))
			},
			served: map[string]int64{"put": 1, "new": 0, "deleting": 3},
			floors: map[string]int64{"flushed": 0, "deleted": 0, "put": 0,
				"new": 0, "deleting": 0}},
		{name: "a file is gone",
			change: func(t *testing.T, c crashed) { c.remove(t, c.file("flushed")) },
			served: map[string]int64{"flushed": 0}},
		{name: "an older file was put there", // by hand: it is served, and the floor stays
			change: func(t *testing.T, c crashed) { c.replace(t, "flushed", 1) },
			served: map[string]int64{"flushed": 1}},
		{name: "a newer file was put there",
			change: func(t *testing.T, c crashed) { c.replace(t, "flushed", 9) },
			served: map[string]int64{"flushed": 9}},
		{name: "a newer file than what is in the journal", warn: "it stays and is served",
			change: func(t *testing.T, c crashed) {
				c.replace(t, "put", 9)
				c.replace(t, "new", 9)
			},
			served: map[string]int64{"put": 9, "new": 9}},
		{name: "an older file than what is in the journal",
			change: func(t *testing.T, c crashed) {
				c.replace(t, "put", 2)
				c.replace(t, "new", 2)
			}},
		{name: "the file that is to be replaced is gone",
			change: func(t *testing.T, c crashed) { c.remove(t, c.file("put")) }},
		{name: "the file that is to be removed is gone",
			change: func(t *testing.T, c crashed) { c.remove(t, c.file("deleting")) }},
		{name: "a newer file than what is deleted in the journal", warn: "it stays and is served",
			change: func(t *testing.T, c crashed) { c.replace(t, "deleting", 9) },
			served: map[string]int64{"deleting": 9}},
		{name: "an older file than what is deleted in the journal",
			change: func(t *testing.T, c crashed) { c.replace(t, "deleting", 2) }},
		{name: "a file of what was deleted",
			change: func(t *testing.T, c crashed) { c.replace(t, "deleted", 9) },
			served: map[string]int64{"deleted": 9}},
		{name: "the index is gone, and newer files were put there", floors: lost, warn: "made anew",
			change: func(t *testing.T, c crashed) {
				c.remove(t, c.state("index"))
				c.replace(t, "put", 9)
				c.replace(t, "new", 9)
				c.replace(t, "deleting", 9)
			},
			served: map[string]int64{"put": 9, "new": 9, "deleting": 9}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := crash(t)
			row.change(t, c)
			for range 2 { // a start, and the next one
				c.matches(t, row.warn, with(served, row.served), with(floors, row.floors))
				row.warn = ""
			}
		})
	}
}

// with returns a table with some values changed.
func with(table, changed map[string]int64) map[string]int64 {
	all := map[string]int64{}
	for name, n := range table {
		all[name] = n
		if c, ok := changed[name]; ok {
			all[name] = c
		}
	}
	return all
}

// matches opens the store, and compares what is served and the floors. warn is in the only warning.
func (c crashed) matches(t *testing.T, warn string, served, floors map[string]int64) {
	t.Helper()
	o := options(t, c.dir)
	o.Newer = func(_ string, a, b []byte) bool { return numberIn(a) > numberIn(b) }
	var warnings []string
	o.Warn = func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf(format, args...))
	}
	d := open(t, o)
	defer closeStore(t, d)
	if text := strings.Join(warnings, "\n"); warn == "" && text != "" ||
		!strings.Contains(text, warn) {
		t.Errorf("the warnings are %q, want %q", warnings, warn)
	}
	for _, when := range []string{"at the start", "after a flush"} {
		for name, key := range c.accounts {
			jwt, _, err := d.Load(key, jwtstore.Stamp{})
			if n := numberIn(jwt); n != served[name] || n == 0 && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s: version %d is served, want %d: %v", when, name,
					n, served[name], err)
			}
			if floor := d.Index().Get(key).Floor.IssuedAt; floor != floors[name] {
				t.Errorf("%s: %s: the floor is %d, want %d", when, name, floor, floors[name])
			}
		}
		d.Flush()
	}
}

// TestAnIndexThatIsInUse is no reason to forget the floors: the store does not open.
func TestAnIndexThatIsInUse(t *testing.T) {
	t.Parallel() // it waits
	c := crash(t)
	f, err := jwtstore.OpenIndexFile(c.state("index"))
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, c.dir)
	if _, err := jwtstore.OpenDir(t.Context(), o); err == nil {
		t.Error("it was opened without the index")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d := open(t, o)
	if floor := d.Index().Get(c.accounts["deleted"]).Floor.IssuedAt; floor != 1 {
		t.Errorf("the floor is %d", floor)
	}
	closeStore(t, d)
}

// TestNumbersThatBeginAnew lose nothing: an index of before has greater sequence numbers than what
// a crash left in the journal, but older versions.
func TestNumbersThatBeginAnew(t *testing.T) {
	o := options(t, t.TempDir())
	o.Announce = false
	put, deleted, newer := jwtstoretest.Key(t), jwtstoretest.Key(t), jwtstoretest.Key(t)
	d := open(t, o)
	for n := range int64(9) {
		for _, key := range []string{put, deleted, newer} {
			putNumbered(t, d, key, n+1)
		}
	}
	closeStore(t, d) // the journal goes, the index stays
	index, aside := filepath.Join(o.Dir, ".journal", "index"), filepath.Join(t.TempDir(), "aside")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(index, aside)
	file, fileAside := filepath.Join(o.Dir, jwtstore.Path(true, newer)), filepath.Join(t.TempDir(), "file")
	move(file, fileAside)
	o.StateDir = t.TempDir()
	d = open(t, o)
	killed := t.TempDir()
	d.HoldFiles(func() {
		putNumbered(t, d, put, 10)
		putNumbered(t, d, newer, 8) // version 9 is known neither from its file nor from the index then
		del(t, d, deleted, numbered(9))
		copyTree(t, o.Dir, killed)
	})
	o.Dir, o.StateDir = killed, ""
	move(aside, filepath.Join(killed, ".journal", "index"))
	move(fileAside, filepath.Join(killed, jwtstore.Path(true, newer)))
	o.Newer = func(_ string, a, b []byte) bool { return numberIn(a) > numberIn(b) }
	for range 2 { // a start, and the next one
		d = open(t, o)
		for key, want := range map[string]int64{put: 10, newer: 9, deleted: 0} {
			jwt, _, _ := d.Load(key, jwtstore.Stamp{})
			if n := numberIn(jwt); n != want {
				t.Errorf("version %d is served, want %d", n, want)
			}
			if floor := d.Index().Get(key).Floor.IssuedAt; floor != max(want, 9) && want > 0 {
				t.Errorf("the floor is %d, want %d", floor, want)
			}
		}
		closeStore(t, d)
	}
}

// TestTheIndexMovesToTheStateDirectory when that is configured later, also on another file system.
func TestTheIndexMovesToTheStateDirectory(t *testing.T) {
	for _, state := range []string{t.TempDir(), fastDir(t)} {
		o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
		d := open(t, o)
		putVersion(t, d, key, "1")
		closeStore(t, d)
		o.StateDir = filepath.Join(state, "state")
		for range 2 {
			d = open(t, o)
			if v := d.Index().Get(key); v.Floor.IssuedAt != 1 || d.Index().Lost() != 0 {
				t.Errorf("the index has %+v", v)
			}
			closeStore(t, d)
		}
		if exists(filepath.Join(o.Dir, ".journal", "index")) ||
			!exists(filepath.Join(o.StateDir, "index")) {
			t.Error("the index is where it was")
		}
	}
}

// TestTheIndexFollowsTheConfiguration to a state directory, to another one, and back beside the
// journal. None of these processes but the first commits anything, and none leaves a journal.
func TestTheIndexFollowsTheConfiguration(t *testing.T) {
	o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
	o.Announce = false
	o.Warn = func(format string, args ...any) { t.Errorf(format, args...) }
	d := open(t, o)
	putVersion(t, d, key, "1")
	putVersion(t, d, key, "1b")
	floor := d.Index().Get(key).Floor
	closeStore(t, d)
	for _, o.StateDir = range []string{"", t.TempDir(), filepath.Join(t.TempDir(), "new"), ""} {
		d = open(t, o)
		if got := d.Index().Get(key).Floor; got != floor || d.Index().Lost() > 0 {
			t.Errorf("in %q the floor is %+v, want %+v", o.StateDir, got, floor)
		}
		closeStore(t, d)
	}
	left, _ := os.ReadDir(filepath.Join(o.Dir, ".journal"))
	if len(left) != 1 || left[0].Name() != "index" {
		t.Errorf("left are %v", left)
	}
}

// TestAStoreThatBeganWithAStateDirectory goes on without it, and knows what it knew. It says so if
// the state directory is away, and finds it when it is back.
func TestAStoreThatBeganWithAStateDirectory(t *testing.T) {
	o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
	o.Announce, o.StateDir = false, filepath.Join(t.TempDir(), "state")
	var warnings []string
	o.Warn = func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	d := open(t, o)
	putVersion(t, d, key, "1")
	putVersion(t, d, key, "1b")
	closeStore(t, d)
	state, away := o.StateDir, o.StateDir+".away"
	if err := os.Rename(state, away); err != nil {
		t.Fatal(err)
	}
	o.StateDir = ""
	d = open(t, o)
	putVersion(t, d, jwtstoretest.Key(t), "1")
	closeStore(t, d)
	if len(warnings) != 1 || !strings.Contains(warnings[0], state) {
		t.Errorf("the warnings are %q", warnings)
	}
	if err := os.Rename(away, state); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d = open(t, o)
		if !d.Index().Get(key).Floor.HasReplaced(sha256.Sum256([]byte("1"))) {
			t.Error("it is forgotten what was replaced")
		}
		closeStore(t, d)
	}
	if len(warnings) != 1 || exists(filepath.Join(state, "index")) {
		t.Errorf("the warnings are %q", warnings)
	}
}

// TestACopyLeavesTheIndexOfAStore in its state directory, and says so.
func TestACopyLeavesTheIndexOfAStore(t *testing.T) {
	o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
	o.Announce, o.StateDir = false, t.TempDir()
	d := open(t, o)
	putVersion(t, d, key, "1")
	closeStore(t, d)
	index := filepath.Join(o.StateDir, "index")
	before, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	copied, warned := o, ""
	copied.Dir, copied.StateDir = t.TempDir(), ""
	copied.Warn = func(format string, args ...any) { warned += fmt.Sprintf(format, args...) }
	copyTree(t, o.Dir, copied.Dir)
	for range 2 {
		d = open(t, copied)
		putVersion(t, d, key, "2")
		closeStore(t, d)
	}
	if after, err := os.ReadFile(index); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the index is changed: %v", err)
	}
	if strings.Count(warned, o.StateDir) != 1 {
		t.Errorf("the warnings are %q", warned)
	}
}

// TestTwoIndexesAreOne: the configuration had a state directory, then it had none while that was
// away, and now has it again. Each index knows what the other one lacks. The journal says that the
// first one is an older one.
func TestTwoIndexesAreOne(t *testing.T) {
	o, state := options(t, t.TempDir()), t.TempDir()
	warnings := 0
	o.Warn = func(string, ...any) { warnings++ }
	floors := map[string]jwtstore.Floor{}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, o.StateDir = range []string{state, ""} {
		if o.StateDir == "" {
			move(state, state+".away")
		}
		d, key := open(t, o), jwtstoretest.Key(t)
		putVersion(t, d, key, "1")
		putVersion(t, d, key, "1b")
		floors[key] = d.Index().Get(key).Floor
		closeStore(t, d)
	}
	o.StateDir = state
	move(state+".away", state)
	for range 2 {
		d := open(t, o)
		for key, want := range floors {
			if got := d.Index().Get(key).Floor; got != want ||
				!got.HasReplaced(sha256.Sum256([]byte("1"))) {
				t.Errorf("the floor is %+v, want %+v", got, want)
			}
		}
		closeStore(t, d)
	}
	left, _ := filepath.Glob(filepath.Join(o.Dir, ".journal", "index*"))
	old, _ := filepath.Glob(filepath.Join(state, "index?*"))
	if len(left)+len(old) > 0 || warnings != 3 {
		t.Errorf("left are %q and %q, and there are %d warnings", left, old, warnings)
	}
}

// TestAnEarlierJournal is restored, with greater sequence numbers, after the directory beside the files was
// removed and the numbers have begun anew. What was accepted since then stays, also what was deleted.
func TestAnEarlierJournal(t *testing.T) {
	o := options(t, t.TempDir())
	o.Newer = func(_ string, a, b []byte) bool { return numberIn(a) > numberIn(b) }
	state, keys := filepath.Join(o.Dir, ".journal"), map[string]string{}
	for _, name := range []string{"put", "deleted", "deletes", "one second", "new"} {
		keys[name] = jwtstoretest.Key(t)
	}
	d := open(t, o)
	for n := range int64(5) {
		putNumbered(t, d, keys["put"], n)
	}
	putNumbered(t, d, keys["deleted"], 6)
	putNumbered(t, d, keys["deletes"], 6)
	d.Flush()
	earlier := t.TempDir()
	d.HoldFiles(func() {
		putNumbered(t, d, keys["put"], 6)
		putNumbered(t, d, keys["deleted"], 7)
		del(t, d, keys["deletes"], numbered(6))
		putVersion(t, d, keys["one second"], "1")
		putNumbered(t, d, keys["new"], 6)
		copyTree(t, o.Dir, earlier)
	})
	closeStore(t, d)
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	d = open(t, o)
	putNumbered(t, d, keys["put"], 7)
	putNumbered(t, d, keys["deleted"], 7)
	del(t, d, keys["deleted"], numbered(7))
	putNumbered(t, d, keys["deletes"], 7)
	putVersion(t, d, keys["one second"], "2")
	closeStore(t, d)
	if err := os.Remove(filepath.Join(o.Dir, jwtstore.Path(true, keys["new"]))); err != nil {
		t.Fatal(err)
	}
	journal, err := os.ReadFile(filepath.Join(earlier, ".journal", "journal"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(state, "journal"), string(journal))
	for range 2 { // a start, and the next one
		d = open(t, o)
		for name, want := range map[string]string{"put": numbered(7), "deleted": "", "deletes": numbered(7),
			"one second": "2", "new": numbered(6)} {
			if jwt, _, _ := d.Load(keys[name], jwtstore.Stamp{}); string(jwt) != want {
				t.Errorf("%s: %q is served, want %q", name, jwt, want)
			}
		}
		closeStore(t, d)
	}
}

// TestAnOlderVersionThatWasLetIn is served after a crash, or stays deleted, whatever came after it, whether
// a checkpoint has left out what it came after, and whether the index is lost.
func TestAnOlderVersionThatWasLetIn(t *testing.T) {
	for _, versions := range [][]int64{ // 0 is a Delete
		{3}, {3, 1}, {3, 4}, {1, 2, 3}, {6, 4}, {3, 0}, {3, 4, 0},
	} {
		for _, mode := range []string{"", "checkpoints", "no index"} {
			o, key := options(t, t.TempDir()), jwtstoretest.Key(t)
			o.Newer = func(_ string, a, b []byte) bool { return numberIn(a) > numberIn(b) }
			d, killed := open(t, o), t.TempDir()
			putNumbered(t, d, key, 5)
			d.Flush()
			d.HoldFiles(func() {
				last := int64(0)
				for _, n := range versions {
					if n == 0 {
						del(t, d, key, numbered(last))
					} else {
						putNumbered(t, d, key, n)
					}
					if last = n; mode == "checkpoints" {
						d.Checkpoint()
					}
				}
				copyTree(t, o.Dir, killed)
			})
			if mode == "no index" {
				o.Warn = func(string, ...any) {}
				if err := os.Remove(filepath.Join(killed, ".journal", "index")); err != nil {
					t.Fatal(err)
				}
			}
			o.Dir = killed
			d = open(t, o)
			want := versions[len(versions)-1]
			if jwt, _, _ := d.Load(key, jwtstore.Stamp{}); numberIn(jwt) != want {
				t.Errorf("after %v, %s, %q is served", versions, mode, jwt)
			}
			if floor := d.Index().Get(key).Floor.IssuedAt; want > 0 && floor != want {
				t.Errorf("after %v, %s, the floor is %d", versions, mode, floor)
			}
		}
	}
}

// TestAFloorThatOnlyMemoryHas was raised by a file that was put there by hand. What was decided against it
// is served after a crash, whichever of the floors the index file has.
func TestAFloorThatOnlyMemoryHas(t *testing.T) {
	second := func(n int64) int64 { return min(n, 10) } // from version 10 on all are of one second
	floorAfter := func(f jwtstore.Floor, n int64) jwtstore.Floor {
		return f.After(second(n), sha256.Sum256([]byte(numbered(n))))
	}
	for _, row := range []struct {
		had   int64
		hand  []int64 // versions that are put there and found, one after the other
		put   int64   // 0: a deletion
		saved int     // after so many of them the index is saved
	}{
		{had: 10, hand: []int64{11}, put: 12},
		{had: 4, hand: []int64{5}, put: 3},
		{had: 10, hand: []int64{11}},
		{had: 10, hand: []int64{11, 12}, put: 13},
		{had: 10, hand: []int64{11, 12}, put: 13, saved: 1},
		{had: 4, hand: []int64{5, 6}, put: 3, saved: 1},
		{had: 4, hand: []int64{5, 6}},
	} {
		o, key, killed := options(t, t.TempDir()), jwtstoretest.Key(t), t.TempDir()
		o.Newer = func(_ string, a, b []byte) bool { return second(numberIn(a)) > second(numberIn(b)) }
		d := open(t, o)
		putAfter(t, d, key, row.had, floorAfter)
		d.Flush()
		d.HoldFiles(func() {
			for i, n := range row.hand {
				rename(t, filepath.Join(o.Dir, jwtstore.Path(true, key)), n)
				old := d.Index().Get(key)
				found := old
				if found.Floor = floorAfter(old.Floor, n); !d.Index().Swap(key, old, found) {
					t.Fatal("the floor is not raised")
				}
				if i+1 == row.saved && d.Index().Save() != nil {
					t.Fatal("the index is not saved")
				}
			}
			if row.put > 0 {
				putAfter(t, d, key, row.put, floorAfter)
			} else {
				del(t, d, key, numbered(row.hand[len(row.hand)-1]))
			}
			copyTree(t, o.Dir, killed)
		})
		o.Dir = killed
		d = open(t, o)
		if jwt, _, _ := d.Load(key, jwtstore.Stamp{}); numberIn(jwt) != row.put {
			t.Errorf("after %+v %q is served", row, jwt)
		}
	}
}
