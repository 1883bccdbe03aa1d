package jwtstore

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
)

// Keys yields every account that something is stored for, each once, in any order. A directory that can't be read is
// yielded as an error, and the walk goes on. The names in one directory are read at a time.
//
// What is stored all the while is yielded. What is put or deleted meanwhile may be yielded or not, so that a Load of
// it may say fs.ErrNotExist.
func (d *Dir) Keys() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		w := walk{Dir: d, seen: map[string]bool{}, yield: yield}
		// A file that takes its new place meanwhile goes from the other place to the preferred one. Who looked at the
		// preferred one first could miss it in both.
		_ = w.pending() && w.place(d.other) && w.place(d.preferred)
	}
}

// walk is one run of Keys. Its methods are false when nobody wants to hear more.
type walk struct {
	*Dir
	seen  map[string]bool // keys that may be met once more
	yield func(string, error) bool
}

// pending yields what is committed and not in its file yet. What is deleted and still in its file counts as seen.
func (w *walk) pending() bool {
	w.mu.RLock()
	var stored []string
	for key, v := range w.Dir.pending {
		w.seen[key] = true
		if v.kind == kindPut && !isHash(key) {
			stored = append(stored, key)
		}
	}
	w.mu.RUnlock()
	for _, key := range stored {
		if !w.yield(key, nil) {
			return false
		}
	}
	return true
}

// place yields the accounts that have a file where c puts it.
func (w *walk) place(c codec) bool {
	if !c.shard {
		return w.directory(c, "")
	}
	names, err := w.list(w.root)
	if err != nil {
		return w.yield("", err)
	}
	for _, e := range names {
		if isShard(e.Name()) && !w.directory(c, e.Name()+string(filepath.Separator)) {
			return false
		}
	}
	return true
}

// directory yields the accounts whose files are in a directory below the root.
func (w *walk) directory(c codec, below string) bool {
	files, err := w.list(w.root + below)
	if below != "" && errors.Is(err, fs.ErrNotExist) {
		return true // its last file has just gone
	}
	if err != nil && !w.yield("", err) {
		return false
	}
	for _, e := range files {
		key, ok := c.key(below + e.Name())
		if !ok || w.seen[key] || !w.isFile(w.root+below, e) {
			continue
		}
		if c == w.other {
			w.seen[key] = true
		}
		if !w.yield(key, nil) {
			return false
		}
	}
	return true
}

// list reads the names in a directory, in one go: who is slow to take them does not make a change meanwhile show
// twice. It returns what it could read beside an error.
func (w *walk) list(dir string) ([]fs.DirEntry, error) {
	w.files <- struct{}{}
	defer func() { <-w.files }()
	all, err := os.ReadDir(dir)
	return slices.CompactFunc(all, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }), err
}

// isFile says whether e is a file, or a symbolic link to one.
func (w *walk) isFile(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	w.files <- struct{}{}
	defer func() { <-w.files }()
	state, err := statFile(dir + e.Name())
	return err == nil && state.regular
}

// isShard says whether name can be that of a directory with sharded files.
func isShard(name string) bool {
	return len(name) == 2 && ofKey(name[0]) && ofKey(name[1])
}
