package jwtstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"nats-account-server/internal/trust"
)

// maxOpenFiles bounds the files that readers of a directory are busy with, however many readers
// there are. Each is a descriptor, and while the disk does not answer a thread of the system too.
const maxOpenFiles = 32

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
	preferred layout
	other     layout
	slots     chan struct{}                      // one for each file that a reader is busy with
	newer     func(key string, a, b []byte) bool // see Options
	doubles   doubles
}

// newDirectory returns the files below root, which are written as sharded says.
func newDirectory(root string, sharded bool) *directory {
	return &directory{
		root:      filepath.Clean(root) + string(filepath.Separator),
		preferred: layout{sharded: sharded},
		other:     layout{sharded: !sharded},
		slots:     make(chan struct{}, maxOpenFiles),
	}
}

// load is Dir.Load for what has a file.
func (d *directory) load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	// The second look at the preferred layout is for a file that takes its new place between the
	// looks.
	looks := [...]layout{d.preferred, d.other, d.preferred}
	if d.doubles.isOtherNewer(d.preferred.path(d.root, key)) {
		looks = [...]layout{d.other, d.preferred, d.preferred}
	}
	for _, l := range looks {
		jwt, now, err = ReadFile(l.path(d.root, key), known)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return jwt, now, err
		}
	}
	// A file is where the shard should be: what was in the shard is not known.
	if errors.Is(err, syscall.ENOTDIR) {
		path := d.preferred.path(d.root, key)
		return nil, Stamp{}, &fs.PathError{Op: "load", Path: path, Err: syscall.ENOTDIR}
	}
	return nil, Stamp{}, cmp.Or(d.absent(), unknown(key))
}

// absent returns an error if the directory itself is not there or can't be read: then it is not
// known what is stored. The error is not fs.ErrNotExist.
func (d *directory) absent() error {
	switch _, err := statFile(d.root); {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %v", errNoDirectory, err)
	default:
		return fmt.Errorf("the store directory can't be read: %v", err)
	}
}

// tombstone returns the account's tombstone, nil if there is none.
func (d *directory) tombstone(key string) (kept []byte, err error) {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	// The preferred layout has the later one and comes last: a new one is there before the old one
	// goes from the other.
	looks := [...]layout{d.other, d.preferred}
	if d.doubles.isOtherNewer(d.preferred.tombstone(d.root, key)) {
		looks = [...]layout{d.preferred, d.other}
	}
	for _, l := range looks {
		content, _, err := ReadFile(l.tombstone(d.root, key), Stamp{})
		switch {
		case err == nil:
			kept = content
		case !errors.Is(err, fs.ErrNotExist), l == d.preferred && errors.Is(err, syscall.ENOTDIR):
			return nil, fmt.Errorf("the tombstone can't be read: %w", err)
		}
	}
	if kept == nil {
		return nil, d.absent()
	}
	return kept, nil
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

// keys yields the accounts that have a file in a layout.
func (d *directory) keys(l layout) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		dirs, err := d.dirs(l)
		if err != nil && !yield("", err) {
			return
		}
		for _, dir := range dirs {
			files, err := d.list(d.root + dir)
			if dir != "" && errors.Is(err, fs.ErrNotExist) {
				continue // its last file has just gone
			}
			if err != nil && !yield("", err) {
				return
			}
			for _, e := range files {
				key, ok := l.name(dir + e.Name())
				if !ok || trust.IsActivationHash(key) || !d.isFile(d.root+dir, e) {
					continue
				}
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

// dirs returns the directories that a layout has files in, below the root. Each is "" or ends in a
// separator.
func (d *directory) dirs(l layout) (dirs []string, err error) {
	if !l.sharded {
		return []string{""}, nil
	}
	names, err := d.list(d.root)
	for _, e := range names {
		if isShard(e.Name()) {
			dirs = append(dirs, e.Name()+string(filepath.Separator))
		}
	}
	return dirs, err
}

// list reads the names in a directory in one go. So a slow consumer does not see a change twice
// that is made meanwhile. It returns what it could read beside an error.
func (d *directory) list(dir string) ([]fs.DirEntry, error) {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	all, err := os.ReadDir(dir)
	return slices.CompactFunc(all, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }), err
}

// isFile reports whether e is a file, or a symbolic link to one.
func (d *directory) isFile(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	state, err := statFile(dir + e.Name())
	return err == nil && state.regular
}
