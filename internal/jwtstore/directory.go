package jwtstore

import (
	"errors"
	"fmt"
	"io/fs"
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
// take their new place when they are written.
type directory struct {
	root      string // ends in a separator
	preferred layout
	other     layout
	slots     chan struct{} // one for each file that a reader is busy with
}

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
	for _, l := range [...]layout{d.preferred, d.other, d.preferred} {
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
	return nil, Stamp{}, d.missing(key)
}

// missing tells an account that is not there from a directory that is not there: then it is not
// known whether the account is.
func (d *directory) missing(key string) error {
	switch _, err := statFile(d.root); {
	case err == nil:
		return unknown(key)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %v", errNoDirectory, err) // %v: the account may well exist
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
	for _, l := range [...]layout{d.other, d.preferred} {
		content, _, err := ReadFile(l.tombstone(d.root, key), Stamp{})
		switch {
		case err == nil:
			kept = content
		case !errors.Is(err, fs.ErrNotExist), l == d.preferred && errors.Is(err, syscall.ENOTDIR):
			return nil, fmt.Errorf("the tombstone can't be read: %w", err)
		}
	}
	return kept, nil
}

// target returns the file that a change is written to.
func (d *directory) target(r *record) string {
	if r.kind == kindDelete {
		return d.preferred.tombstone(d.root, r.key)
	}
	return d.preferred.path(d.root, r.key)
}

// otherFile returns the file of a change in the other layout.
func (d *directory) otherFile(r *record) string {
	if r.kind == kindDelete {
		return d.other.tombstone(d.root, r.key)
	}
	return d.other.path(d.root, r.key)
}

// canTake looks for reasons why the change could never be written to its file. It writes nothing.
func (d *directory) canTake(r *record) error {
	target := d.target(r)
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
	if err == nil && isFull(parent, len(r.body)) {
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

// walk is one run over the accounts that have a file. Its methods return false when the walk is
// over.
type walk struct {
	*directory
	seen  map[string]bool // keys that are not to be yielded, or not again
	yield func(string, error) bool
}

// all yields the accounts of both layouts. A file that takes its new place meanwhile goes from the
// other layout to the preferred one. A walk over the preferred one first could miss it in both.
func (w *walk) all() bool { return w.layout(w.other) && w.layout(w.preferred) }

func (w *walk) layout(l layout) bool {
	if !l.sharded {
		return w.files(l, "")
	}
	names, err := w.list(w.root)
	if err != nil {
		return w.yield("", err)
	}
	for _, e := range names {
		if isShard(e.Name()) && !w.files(l, e.Name()+string(filepath.Separator)) {
			return false
		}
	}
	return true
}

// files yields the accounts whose files are in a directory below the root.
func (w *walk) files(l layout, below string) bool {
	files, err := w.list(w.root + below)
	if below != "" && errors.Is(err, fs.ErrNotExist) {
		return true // its last file has just gone
	}
	if err != nil && !w.yield("", err) {
		return false
	}
	for _, e := range files {
		key, ok := l.name(below + e.Name())
		if !ok || trust.IsActivationHash(key) || w.seen[key] || !w.isFile(w.root+below, e) {
			continue
		}
		if l == w.other {
			w.seen[key] = true
		}
		if !w.yield(key, nil) {
			return false
		}
	}
	return true
}

// list reads the names in a directory in one go. So a slow consumer does not see a change twice
// that is made meanwhile. It returns what it could read beside an error.
func (w *walk) list(dir string) ([]fs.DirEntry, error) {
	w.slots <- struct{}{}
	defer func() { <-w.slots }()
	all, err := os.ReadDir(dir)
	return slices.CompactFunc(all, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }), err
}

// isFile reports whether e is a file, or a symbolic link to one.
func (w *walk) isFile(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	w.slots <- struct{}{}
	defer func() { <-w.slots }()
	state, err := statFile(dir + e.Name())
	return err == nil && state.regular
}
