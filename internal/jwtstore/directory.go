package jwtstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"nats-account-server/internal/trust"
)

// maxOpenFiles bounds the files that are read, or asked for their state, at a time, however many
// readers there are. Each is a descriptor, and while the disk does not answer a thread of the
// system too.
const maxOpenFiles = 32

// limits bounds what one kind of users of a directory does at a time. What needs the state of a
// file only does not wait for those that read: a disk, or a part of it, may answer from memory and
// hang otherwise.
type limits struct {
	stats, reads slots
	linked       func(path string) // is told of a file that has other names; nil: it is not told
}

// slots has one for each goroutine that may be busy at a time; nil: any number of them may be.
type slots chan struct{}

// take waits for a slot. The caller must give it back.
func (s slots) take() (giveBack func()) {
	if s == nil {
		return func() {}
	}
	s <- struct{}{}
	return s.giveBack
}

func (s slots) giveBack() { <-s }

// newLimits returns limits that are not used yet.
func newLimits() limits {
	return limits{stats: make(slots, maxOpenFiles), reads: make(slots, maxOpenFiles)}
}

// readFile is ReadFile within the limits.
func (l limits) readFile(path string, known Stamp) (content []byte, now Stamp, err error) {
	giveBack := l.stats.take()
	state, err := statFile(path)
	giveBack()
	if state.linked && l.linked != nil {
		l.linked(path)
	}
	switch {
	case err != nil:
		return nil, Stamp{}, absentOrIrregular(err)
	case state.coldStamp() == known:
		return nil, known, nil
	}
	if err := state.check(path); err != nil {
		return nil, Stamp{}, err
	}
	defer l.reads.take()()
	return readWhole(path)
}

// directory is the files of a store.
//
//	<dir>/YZ/AB…YZ.jwt           a JWT, sharded
//	<dir>/AB…YZ.jwt              a JWT, flat
//	<dir>/YZ/AB…YZ.jwt.deleted   a tombstone, sharded
//	<dir>/AB…YZ.jwt.deleted      a tombstone, flat
//
// Files are written as the preferred layout says. Those of the other layout are served too, and
// take their new place when they are written. Of an account that has a file in each, see double.
type directory struct {
	root      string // ends in a separator
	index     *Index // which of two files it knows counts, if neither is newer
	watch     *watch
	preferred layout
	other     layout
	readers   limits
	writers   limits                             // of Put, Delete and Touch
	lists     slots                              // for the names in a directory
	newer     func(key string, a, b []byte) bool // see Options
	issuedAt  func(jwt []byte) (int64, bool)     // see Options
	doubles   doubles
}

// newDirectory returns the files below a directory.
func newDirectory(root string, o Options, index *Index) *directory {
	root = filepath.Clean(root) + string(filepath.Separator)
	d := &directory{
		root:      root,
		index:     index,
		watch:     newWatch(root),
		preferred: layout{sharded: o.Shard},
		other:     layout{sharded: !o.Shard},
		newer:     o.Newer,
		issuedAt:  o.IssuedAt,
		readers:   newLimits(),
		writers:   newLimits(),
		lists:     make(slots, maxOpenFiles),
	}
	d.readers.linked = func(path string) { d.watch.distrust(shardOf(path[len(root):])) }
	return d
}

// changes is Dir.Changes for what has a file.
func (d *directory) changes(key string) uint64 {
	// Which of two files counts is decided without a change of either.
	if d.doubles.any.Load() {
		return 0
	}
	return d.watch.changes(shard(key))
}

// load is Dir.Load for what has a file.
func (d *directory) load(l limits, key string, known Stamp) (jwt []byte, now Stamp, err error) {
	// The second look at the preferred layout is for a file that takes its new place between the
	// looks.
	looks := [...]layout{d.preferred, d.other, d.preferred}
	preferred := d.preferred.path(d.root, key)
	if d.doubles.isOtherNewer(preferred) {
		looks = [...]layout{d.other, d.preferred, d.preferred}
	}
	for _, place := range looks {
		path := preferred
		if place != d.preferred {
			path = place.path(d.root, key)
		}
		jwt, now, err = l.readFile(path, known)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return jwt, now, err
		}
	}
	// A file is where the shard should be: what was in the shard is not known.
	if isInFile(preferred, err) {
		return nil, Stamp{}, &fs.PathError{Op: "load", Path: preferred, Err: syscall.ENOTDIR}
	}
	return nil, Stamp{}, unknown(key)
}

// has reports whether an account has a file in an open directory.
func (d *directory) has(dir *os.File, key string) bool {
	for _, l := range [...]layout{d.preferred, d.other} {
		if _, err := statIn(dir, l.path("", key)); err == nil {
			return true
		}
	}
	return false
}

// hasOlder reports whether the file of an account has a JWT that the index does not know, and that
// is not newer than the floor. So is one that was deleted.
func (d *directory) hasOlder(key string, known Version) (older bool) {
	for _, l := range [...]layout{d.preferred, d.other} {
		jwt, _, err := ReadFile(l.path(d.root, key), Stamp{})
		if err != nil {
			continue
		}
		if hash := trust.HashOf(jwt); known.Stored() && (hash == known.Hash || hash == known.Floor.Hash) {
			return false
		}
		at, ok := d.issuedAt(jwt)
		older = older || ok && at <= known.Floor.IssuedAt
	}
	return older
}

// tombstone returns the account's tombstone, nil if there is none.
func (d *directory) tombstone(l limits, key string) (kept []byte, err error) {
	// The preferred layout has the later one and comes last: a new one is there before the old one
	// goes from the other.
	looks := [...]layout{d.other, d.preferred}
	if d.doubles.isOtherNewer(d.preferred.tombstone(d.root, key)) {
		looks = [...]layout{d.preferred, d.other}
	}
	for _, place := range looks {
		path := place.tombstone(d.root, key)
		content, _, err := l.readFile(path, Stamp{})
		switch {
		case err == nil:
			kept = content
		case !errors.Is(err, fs.ErrNotExist), place == d.preferred && isInFile(path, err):
			return nil, fmt.Errorf("the tombstone can't be read: %w", err)
		}
	}
	return kept, nil
}

// newest returns the path and the content of the newer of two files, of which path is the one in
// each layout. The content is nil if there is none that can be read.
func (d *directory) newest(
	key string, path func(layout) string,
) (newest string, content []byte) {
	for _, l := range [...]layout{d.preferred, d.other} {
		found, _, err := ReadFile(path(l), Stamp{})
		if err == nil && (content == nil || d.newer(key, found, content)) {
			newest, content = path(l), found
		}
	}
	return newest, content
}

// file returns where the file of a change is in a layout.
func (d *directory) file(l layout, r *record) string {
	if r.kind == kindDelete {
		return l.tombstone(d.root, r.key)
	}
	return l.path(d.root, r.key)
}

// canTake looks for reasons why the change could never be written to its file. It writes nothing.
func (d *directory) canTake(r *record) error {
	defer d.writers.stats.take()()
	target := d.file(d.preferred, r)
	if err := notDir(target); err != nil {
		return err
	}
	parent := filepath.Dir(target)
	err := writable(parent)
	if errors.Is(err, fs.ErrNotExist) { // the flusher will make it
		parent = filepath.Clean(d.root)
		err = writable(parent)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the journal makes the root, or says why it can't
	}
	if err == nil && spaceAt(parent) < int64(len(r.body)) {
		err = &fs.PathError{Op: "write", Path: target, Err: syscall.ENOSPC}
	}
	if err == nil && r.kind == kindDelete {
		err = d.canRemove(r.key)
	}
	return err
}

// canRemove looks for reasons why the JWT of key could not be removed from where it is.
func (d *directory) canRemove(key string) error {
	for _, l := range [...]layout{d.preferred, d.other} {
		path := l.path(d.root, key)
		if err := notDir(path); err != nil {
			return err
		}
		if _, err := statFile(path); err != nil {
			continue // nothing is there
		}
		if err := writable(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}

// storedFile is a file of the store: by its name a JWT or a tombstone, and perhaps a directory or
// the like.
type storedFile struct {
	key         string
	isTombstone bool
	dir         string // in which it is; ends in a separator
	entry       fs.DirEntry
}

// path returns where the file is.
func (f storedFile) path() string { return f.dir + f.entry.Name() }

// files yields the files of a layout, in any order. What can't be read is left out.
func (d *directory) files(l layout) iter.Seq[storedFile] {
	return func(yield func(storedFile) bool) {
		dirs := []string{""} // below the root
		if l.sharded {
			dirs = []string{tokenShard + string(filepath.Separator)}
			for e, err := range d.list(d.root) {
				if err == nil && isShard(e.Name()) {
					dirs = append(dirs, e.Name()+string(filepath.Separator))
				}
			}
		}
		for _, dir := range dirs {
			for e, err := range d.list(d.root + dir) {
				if err != nil {
					break
				}
				name, isTombstone := strings.CutSuffix(e.Name(), deletedSuffix)
				key, ok := l.name(dir + name)
				if ok && !yield(storedFile{key, isTombstone, d.root + dir, e}) {
					return
				}
			}
		}
	}
}

// list yields the entries of a directory, in the order of the file system. It reads some at a time.
// An error is the last.
func (d *directory) list(dir string) iter.Seq2[fs.DirEntry, error] {
	return func(yield func(fs.DirEntry, error) bool) {
		f, err := os.Open(dir)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		for {
			giveBack := d.lists.take()
			entries, err := f.ReadDir(scanSize)
			giveBack()
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(nil, err)
				return
			}
		}
	}
}

// isFile reports whether that is a file, or a symbolic link to one.
func (d *directory) isFile(f storedFile) bool {
	if f.entry.Type()&fs.ModeSymlink == 0 {
		return f.entry.Type().IsRegular()
	}
	defer d.readers.stats.take()()
	state, err := statFile(f.path())
	return err == nil && state.regular
}
