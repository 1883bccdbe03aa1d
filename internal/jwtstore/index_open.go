package jwtstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// indexName is the name of the index file.
const indexName = "index"

// openMovedIndex opens the index of a store, and takes it along from where it was before. It
// returns the state directories that are to be named from now on: one whose index is missing is
// looked for again.
func openMovedIndex(
	dir string, o Options, saves uint64, wake chan struct{},
) (x *Index, names []string, err error) {
	state := cmp.Or(o.StateDir, dir)
	named, areOurs := stateDirs(dir)
	if areOurs {
		names = without(named, state)
	}
	before := slices.Clone(names)
	if o.StateDir != "" {
		_ = os.MkdirAll(state, 0o700) // what can't be made is said when the index is saved
		names = append(names, state)
		if before = append(before, dir); hasIndex(dir) {
			_ = setStateDirs(dir, names) // before it is moved
		}
	}
	for _, other := range before {
		if moveIndex(other, state, o.Warn) {
			names = without(names, other)
		}
	}
	if isAnother := len(names) > 1 || !areOurs; isAnother || o.StateDir == "" {
		warnOfMissing(named, state, o.Warn)
	}
	if x, err = openIndex(state, saves, wake, o.Warn); err != nil {
		return nil, nil, err
	}
	for _, other := range before {
		isThere := hasIndex(other)
		if err := x.adopt(filepath.Join(other, indexName)); err != nil {
			o.Warn("the index that was in %s before can't be used: %s", other, err)
		} else if isThere {
			names = without(names, other)
		}
	}
	if areOurs {
		_ = setStateDirs(dir, names) // otherwise before the first commit
	}
	return x, names, nil
}

// stateDirsName is the name of a file beside the journal. It has the path of the store, and then
// the state directories that have, or had, its index, one a line. So that is found again when the
// configuration has another StateDir, or none. A start takes it along, and what both know counts if
// one is in the new place too. A copy of the store, which has another path, leaves it where it is.
const stateDirsName = "state-dirs"

// stateDirs returns the state directories that the directory of a journal names, and whether it
// does so for the store that it is in.
func stateDirs(dir string) (names []string, areOurs bool) {
	content, _, _ := ReadFile(filepath.Join(dir, stateDirsName), Stamp{})
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	return lines[1:], lines[0] == filepath.Dir(dir)
}

// setStateDirs makes the directory of a journal name these state directories, durably.
func setStateDirs(dir string, names []string) error {
	if now, areOurs := stateDirs(dir); slices.Equal(names, now) && (areOurs || len(names) == 0) {
		return nil
	}
	path := filepath.Join(dir, stateDirsName)
	if len(names) == 0 {
		return errors.Join(removeFile(path), syncDir(dir))
	}
	lines := append([]string{filepath.Dir(dir)}, names...)
	err := ReplaceFile(path, []byte(strings.Join(lines, "\n")+"\n"))
	return errors.Join(err, syncDir(dir))
}

// without returns names without one of them.
func without(names []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == one })
}

// warnOfMissing warns if there is no index in a directory although one of others has had it.
func warnOfMissing(others []string, dir string, warn func(format string, args ...any)) {
	if len(others) > 0 && !hasIndex(dir) {
		warn("the index of this store was in the state directory %s, and is not taken from there: "+
			"it is made anew from the files, and has forgotten what was replaced within a second, "+
			"and the accounts whose files were removed by hand; bring that directory back, or "+
			"copy its index to %s, and restart the server", strings.Join(others, " or "), dir)
	}
}

// hasIndex reports whether there is an index in a directory.
func hasIndex(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, indexName))
	return err == nil
}

// moveIndex moves the index from one directory to another, if it is in the first one only. It
// reports whether it did.
func moveIndex(from, to string, warn func(format string, args ...any)) bool {
	_, missing := os.Lstat(filepath.Join(to, indexName))
	if !hasIndex(from) || !errors.Is(missing, fs.ErrNotExist) {
		return false
	}
	err := os.MkdirAll(to, 0o700)
	if err == nil {
		err = moveDurable(filepath.Join(from, indexName), filepath.Join(to, indexName))
	}
	if err != nil {
		warn("the index can't be moved from %s to %s: %s", from, to, err)
	}
	return err == nil
}

// openIndex opens the index of a store's directory, which is the file dir/index. saves is how often
// the index was saved according to the journal: one that was saved less often is an older one. An
// index that is damaged or older is made anew. The error is for one that may be whole, and can't be
// opened now: without it the floors would be forgotten. The caller closes it.
func openIndex(
	dir string, saves uint64, wake chan struct{}, warn func(format string, args ...any),
) (*Index, error) {
	x := newIndex()
	x.path, x.wake, x.warn = filepath.Join(dir, indexName), wake, warn
	_, err := os.Lstat(x.path)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		err = x.open(saves)
	case saves == 0:
		return x, nil // there never was one
	}
	x.saved.saves = max(x.saved.saves, saves)
	switch {
	case errors.Is(err, errOldIndex): // its floors have been accepted, whatever came later
		old := x.path + ".old"
		if os.Rename(x.path, old) == nil {
			defer func() { _ = x.adopt(old) }() // one that can't be read is made anew
		}
		x.loseLocked(err)
	case errors.Is(err, errIndexDamaged) || errors.Is(err, fs.ErrNotExist):
		x.loseLocked(err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", x.path, err)
	}
	return x, nil
}

// errOldIndex is why an index is not used that was saved less often than the journal says.
var errOldIndex = errors.New("it is older than the journal")

// open opens the file and reads its state.
func (x *indexEntries) open(saves uint64) error {
	file, err := openIndexFile(x.path)
	if err != nil {
		return err
	}
	note, err := file.note()
	if err == nil {
		x.saved, err = decodeState(note)
	}
	var dirs []byte
	if err == nil {
		dirs, err = file.get(directoriesKey)
	}
	if err == nil {
		x.dirs, err = decodeDirectories(dirs)
	}
	if err == nil && x.saved.saves < saves {
		err = errOldIndex
	}
	if err != nil {
		_ = file.close()
		return fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	x.file, x.live = file, x.saved
	x.expiring.rest = x.saved.nextExpiry
	return nil
}

// adopt takes the floors of another index file, and removes it: for some time the configuration had
// another StateDir, or none. It does nothing if the file is not there. With an error some floors
// may have been taken, which does no harm.
func (x *Index) adopt(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	file, err := openIndexFile(path)
	if err != nil {
		return err
	}
	defer file.close()
	for after, more := directoriesKey, true; more; {
		keys, values, err := file.scan(after, scanSize, filter{})
		more = len(keys) == scanSize
		for i := 0; i < len(keys) && err == nil; i++ {
			after = keys[i]
			err = x.adoptFloor(keys[i], values[i])
		}
		if err != nil {
			return err
		}
	}
	if err := x.save(); err != nil {
		return err
	}
	_ = file.close()
	return removeFile(path)
}

// adoptFloor raises the floor of an account by that of an entry of another index.
func (x *Index) adoptFloor(key string, entry []byte) error {
	other, err := decodeEntry(entry)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	had := x.getLocked(key)
	e := had
	if e.Floor = had.Floor.join(other.Floor); e.Floor != had.Floor {
		x.setLocked(key, had, e)
	}
	return nil
}
