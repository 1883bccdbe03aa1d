package jwtstore

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stateDirsName is the name of a file beside the journal: the state directories that have, or had, the index
// of this store, one a line. So it is found again when the configuration has another StateDir, or none. A
// start takes it along, and what both know counts if one is in the new place too.
const stateDirsName = "state-dirs"

// stateDirs returns the state directories that the directory of a journal names.
func stateDirs(dir string) []string {
	content, _, _ := ReadFile(filepath.Join(dir, stateDirsName), Stamp{})
	return slices.DeleteFunc(strings.Split(string(content), "\n"), func(s string) bool { return s == "" })
}

// setStateDirs makes the directory of a journal name these state directories, durably.
func setStateDirs(dir string, names []string) error {
	if slices.Equal(names, stateDirs(dir)) {
		return nil
	}
	path := filepath.Join(dir, stateDirsName)
	if len(names) == 0 {
		return errors.Join(removeFile(path), syncDir(dir))
	}
	next := path + ".next"
	err := writeSynced(next, []byte(strings.Join(names, "\n")+"\n"))
	if err == nil {
		err = os.Rename(next, path)
	}
	return errors.Join(err, syncDir(dir))
}

// openMovedIndex opens the index of a store, and takes it along from where it was before. It returns the
// state directories that are to be named from now on: one whose index is missing is looked for again.
func openMovedIndex(
	dir string, o Options, saves uint64, wake chan struct{},
) (x *Index, names []string, err error) {
	state, named := cmp.Or(o.StateDir, dir), stateDirs(dir)
	names = slices.DeleteFunc(named, func(name string) bool { return name == o.StateDir })
	before := slices.Clone(names)
	if o.StateDir != "" {
		_ = os.MkdirAll(state, 0o700) // what can't be made is said when the index is saved
		names = append(names, state)
		if before = append(before, dir); hasIndex(dir) == nil {
			_ = setStateDirs(dir, names) // before it is moved
		}
	}
	for _, other := range before {
		isThere := hasIndex(other) == nil
		adoptIndex(other, state, o.Warn)
		if isThere && hasIndex(other) != nil {
			names = slices.DeleteFunc(names, func(name string) bool { return name == other })
		}
	}
	if missing := hasIndex(state); missing != nil && len(before) > 0 && before[0] != dir {
		o.Warn("the index of this store was in the state directory %s, and can't be found there: it is made "+
			"anew from the files, and has forgotten what was replaced within a second, and the accounts whose "+
			"files were removed by hand; if that directory is only away, bring it back and restart the server",
			strings.Join(before, " or "))
	}
	if x, err = openIndex(state, saves, wake, o.Warn); err != nil {
		return nil, nil, err
	}
	for _, other := range before {
		isThere := hasIndex(other) == nil
		if err := x.adopt(filepath.Join(other, indexName)); err != nil {
			o.Warn("the index that was in %s before can't be used: %s", other, err)
		} else if isThere {
			names = slices.DeleteFunc(names, func(name string) bool { return name == other })
		}
	}
	if len(before) > 0 && before[0] != dir {
		_ = setStateDirs(dir, names) // otherwise before the first commit
	}
	return x, names, nil
}

// hasIndex returns nil if there is an index in a directory.
func hasIndex(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, indexName))
	return err
}

// adoptIndex moves the index from one directory to another, if it is still in the first one.
func adoptIndex(from, to string, warn func(format string, args ...any)) {
	if hasIndex(from) != nil || !errors.Is(hasIndex(to), fs.ErrNotExist) {
		return // there is none, or it was moved before
	}
	err := os.MkdirAll(to, 0o700)
	if err == nil {
		err = moveDurable(filepath.Join(from, indexName), filepath.Join(to, indexName))
	}
	if err != nil {
		warn("the index can't be moved from %s to %s: %s", from, to, err)
	}
}
