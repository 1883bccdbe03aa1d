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
}

// File is a file of a Folder.
type File struct {
	Path string
	Key  string // as its name has it: of an account, or the hash of an activation token; "" if only the JWT says whose it is
	JWT  []byte // nil if Err is set
	Err  error  // why it can't be read
	Hot  bool   // somebody has just written to it: it will be given again
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

// Scan gives every file that is not as it was the last time, and the paths of those that have been away for a moment. settled is
// false if a file has just been written to, or has just gone: then the next Scan may tell more. The error is that of a
// directory that can't be read: then nothing counts as gone.
func (f *Folder) Scan(give func(File)) (gone []string, settled bool, err error) {
	if f.forget.Swap(false) {
		for path := range f.known {
			f.known[path] = Stamp{}
		}
	}
	seen := map[string]bool{}
	settled = true
	for _, dir := range f.directories() {
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
	jwt, now, err := load(file.Path, f.known[file.Path])
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
	file.JWT, file.Hot = jwt, now[0] < 0
	*settled = *settled && !file.Hot
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

// directories are those that files can be in.
func (f *Folder) directories() []string {
	all := []string{f.top()}
	entries, _ := os.ReadDir(f.top()) // Scan finds out
	for _, e := range entries {
		if path := filepath.Join(f.top(), e.Name()); f.nsc || isShard(e.Name()) || e.Name() == tokenShard {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				all = append(all, path)
			}
		}
	}
	return all
}

// key says whether a path is that of a JWT, and whose it is if the path says so.
func (f *Folder) key(path string) (key string, ok bool) {
	if f.nsc {
		dir, name := filepath.Split(path)
		return "", name == filepath.Base(dir)+suffix && dir != f.root+"accounts"+string(filepath.Separator)
	}
	below := strings.TrimPrefix(path, f.root)
	for _, c := range [...]codec{{shard: true}, {shard: false}} {
		if key, ok := c.name(below); ok {
			return key, true
		}
	}
	return "", false
}

// Watch waits until something in the directories has changed and nothing changes any more for a moment, or until ctx ends.
// Directories that have come since the last Watch, or have been put in the place of others, are watched from then on: a Scan must
// follow each Watch. An error means that changes are not noticed.
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

// rewatch watches the directories that are there now, if they are not those that are watched, and says so.
func (f *Folder) rewatch() (fresh bool, err error) {
	now := map[string]fs.FileInfo{}
	for _, dir := range append(f.directories(), filepath.Dir(f.top())) {
		if info, err := os.Stat(dir); err == nil {
			now[dir] = info
		}
	}
	if f.watcher != nil && sameDirectories(now, f.watched) {
		return false, nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return false, err
	}
	for _, dir := range slices.Sorted(maps.Keys(now)) {
		if err := watcher.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = watcher.Close()
			return false, fmt.Errorf("%s can't be watched: %w", dir, err)
		}
	}
	f.Close()
	f.watcher, f.watched = watcher, now
	return true, nil
}

func sameDirectories(a, b map[string]fs.FileInfo) bool {
	for dir, info := range a {
		if had := b[dir]; had == nil || !os.SameFile(had, info) {
			return false
		}
	}
	return len(a) == len(b)
}

// Close ends the watch.
func (f *Folder) Close() {
	if f.watcher != nil {
		_ = f.watcher.Close() // nobody hears its events any more
		f.watcher = nil
	}
}
