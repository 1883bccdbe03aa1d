package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Folder is a directory of JWTs that somebody else writes: a store directory that is kept in a repository, or the
// folder of nsc. It is only read. What is in it counts once it stands still: a file that is being written is looked at
// again a moment later.
//
//	OpenFolder   <dir>/YZ/AB…YZ.jwt and <dir>/AB…YZ.jwt, and activation tokens in the same way
//	OpenNSC      <dir>/accounts/<name>/<name>.jwt
//
// A Folder is for one goroutine at a time, but for Forget.
type Folder struct {
	forget  atomic.Bool
	root    string // ends in a separator
	nsc     bool
	known   map[string]Stamp     // by path, of what was given
	missing map[string]time.Time // by path: since when it is not there
	watcher *fsnotify.Watcher
	watched map[string]fs.FileInfo
	deaf    error // why some directories are not watched
}

// File is a file of a Folder.
type File struct {
	Path string
	Key  string // as its name has it: of an account, or the hash of an activation token; "" if only the JWT says whose it is
	JWT  []byte // nil if Err is set
	Err  error  // why it can't be read
}

const (
	// goneAfter is how long a file must not have been there to count as gone: git, and whoever renames a directory, takes a
	// file away before the new one is in its place.
	goneAfter = 100 * time.Millisecond
	// quiet is how long nothing must have changed for a Watch to return, and mostNoise how long it waits for that.
	quiet     = 150 * time.Millisecond
	mostNoise = 2 * time.Second
)

// OpenFolder opens a directory of JWTs by key.
func OpenFolder(dir string) (*Folder, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the path [%s] doesn't exist", dir)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("the path [%s] is not a directory", dir)
	}
	return newFolder(dir, false), err
}

// OpenNSC opens the folder in which nsc keeps an operator.
func OpenNSC(dir string) (*Folder, error) {
	if _, err := os.Stat(filepath.Join(dir, ".nsc")); err != nil {
		return nil, fmt.Errorf("%q is not a valid configuration directory", dir)
	}
	_, err := os.ReadDir(filepath.Join(dir, "accounts"))
	return newFolder(dir, true), err
}

func newFolder(dir string, nsc bool) *Folder {
	return &Folder{root: filepath.Clean(dir) + string(filepath.Separator), nsc: nsc, known: map[string]Stamp{}, missing: map[string]time.Time{}}
}

// Forget has the next Scan give every file. Again has it give one.
func (f *Folder) Forget()           { f.forget.Store(true) }
func (f *Folder) Again(path string) { f.known[path] = Stamp{} }

// Scan gives every file that is not as it was the last time and stands still, and the paths of those that have been away for a
// moment. settled is false if a file has just been written to, or has just gone: then the next Scan may tell more. The error is
// that of a directory that can't be read: then nothing counts as gone.
func (f *Folder) Scan(give func(File)) (gone []string, settled bool, err error) {
	if f.forget.Swap(false) {
		for path := range f.known {
			f.known[path] = Stamp{}
		}
	}
	seen := map[string]bool{}
	settled = true
	directories, err := f.directories()
	for _, dir := range directories {
		entries, failed := os.ReadDir(dir)
		if failed != nil && !(dir != f.top() && errors.Is(failed, fs.ErrNotExist)) {
			err = failed
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if key, ok := f.key(path); ok && f.look(File{Path: path, Key: key}, give, &settled) {
				seen[path] = true
			}
		}
	}
	if err != nil {
		return nil, settled, err
	}
	gone = f.gone(seen, &settled)
	return gone, settled, nil
}

// look gives a file if it has changed, and says whether it is there.
func (f *Folder) look(file File, give func(File), settled *bool) (there bool) {
	jwt, now, err := ReadFile(file.Path, f.known[file.Path])
	switch {
	case errors.Is(err, fs.ErrNotExist): // also a symbolic link that leads nowhere
		return false
	case err != nil:
		f.known[file.Path] = Stamp{}
		file.Err = err
		give(file)
		return true
	case jwt == nil:
		return true
	}
	f.known[file.Path] = now
	if hot := now[0] < 0; hot {
		*settled = false
		return true
	}
	file.JWT = jwt
	give(file)
	return true
}

// gone returns the files that were there once and have been away for a moment.
func (f *Folder) gone(seen map[string]bool, settled *bool) (gone []string) {
	now := time.Now()
	for path := range f.known {
		since, missed := f.missing[path]
		switch {
		case seen[path]:
			delete(f.missing, path)
		case !missed:
			f.missing[path] = now
			*settled = false
		case now.Sub(since) < goneAfter:
			*settled = false
		default:
			delete(f.missing, path)
			delete(f.known, path)
			gone = append(gone, path)
		}
	}
	return gone
}

// top is the directory whose absence means that nothing is known.
func (f *Folder) top() string {
	if f.nsc {
		return f.root + "accounts"
	}
	return strings.TrimSuffix(f.root, string(filepath.Separator))
}

// directories are those that files can be in. The error is that of one of which nobody knows whether it is one.
func (f *Folder) directories() (all []string, err error) {
	all = []string{f.top()}
	entries, err := os.ReadDir(f.top())
	for _, e := range entries {
		path := filepath.Join(f.top(), e.Name())
		if !f.nsc && !isShard(e.Name()) && e.Name() != tokenShard {
			continue
		}
		info, failed := os.Stat(path)
		switch failed = absentOrIrregular(failed); {
		case failed != nil && !errors.Is(failed, fs.ErrNotExist) && !errors.Is(failed, errIrregular):
			err = failed
		case failed == nil && info.IsDir():
			all = append(all, path)
		}
	}
	return all, err
}

// key says whether a path is that of a JWT, and whose it is if the path says so.
func (f *Folder) key(path string) (key string, ok bool) {
	if f.nsc {
		dir, name := filepath.Split(path)
		return "", name == filepath.Base(dir)+suffix && dir != f.root+"accounts"+string(filepath.Separator)
	}
	return KeyOf(strings.TrimPrefix(path, f.root))
}

// Watch waits until something in the directories has changed and nothing changes any more for a moment, or until ctx ends.
// Directories that have come since the last Watch, or have been put in the place of others, are watched from then on: a Scan must
// follow each Watch. An error means that no changes are noticed.
func (f *Folder) Watch(ctx context.Context) error {
	fresh, err := f.rewatch()
	if err != nil || fresh {
		return err
	}
	changed := false
	calm, enough := make(<-chan time.Time), make(<-chan time.Time)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-calm:
			return nil
		case <-enough:
			return nil
		case event := <-f.watcher.Events:
			if !f.concerns(event.Name) {
				continue
			}
		case err := <-f.watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // more changes than it can tell
				return err
			}
		}
		calm = time.After(quiet)
		if !changed {
			changed, enough = true, time.After(mostNoise)
		}
	}
}

// concerns says whether a change is one of the folder's: what else lies beside it may change all the time.
func (f *Folder) concerns(path string) bool {
	return path == f.top() || filepath.Dir(path) != filepath.Dir(f.top())
}

// Deaf says why changes in some directories are not noticed, nil if they are in all.
func (f *Folder) Deaf() error { return f.deaf }

// rewatch watches the directories that are there now, and says whether they are others than those that were watched.
func (f *Folder) rewatch() (fresh bool, err error) {
	if f.watcher == nil {
		if f.watcher, err = fsnotify.NewWatcher(); err != nil {
			return false, err
		}
		f.watched, fresh = map[string]fs.FileInfo{}, true
	}
	now := f.watchable()
	for dir := range f.watched {
		if now[dir] == nil || !os.SameFile(now[dir], f.watched[dir]) {
			_ = f.watcher.Remove(dir) // it may be gone, and its watch with it
			delete(f.watched, dir)
			fresh = true
		}
	}
	f.deaf = nil
	for _, dir := range slices.Sorted(maps.Keys(now)) {
		if f.watched[dir] != nil {
			continue
		}
		if err := f.watcher.Add(dir); err != nil {
			f.deaf = fmt.Errorf("not every directory can be watched: %w", err)
			continue
		}
		f.watched[dir] = now[dir]
		fresh = true
	}
	return fresh, nil
}

// watchable are the directories whose changes are to be noticed: those that files can be in, and the one that the folder is in, for
// it may be exchanged.
func (f *Folder) watchable() map[string]fs.FileInfo {
	now := map[string]fs.FileInfo{}
	directories, _ := f.directories() // Scan finds out
	for _, dir := range append(directories, filepath.Dir(f.top())) {
		if info, err := os.Stat(dir); err == nil {
			now[dir] = info
		}
	}
	return now
}

// Close ends the watch.
func (f *Folder) Close() {
	if f.watcher != nil {
		_ = f.watcher.Close() // nobody hears its events any more
		f.watcher = nil
	}
}
