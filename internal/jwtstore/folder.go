package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

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
	known   map[string]Stamp // by path, of what was given
	watcher *fsnotify.Watcher
	watched map[string]fs.FileInfo
}

// File is a file of a Folder.
type File struct {
	Path string
	Key  string // as its name has it: of an account, or the hash of an activation token; "" if only the JWT says whose it is
	JWT  []byte
}

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
	return &Folder{root: filepath.Clean(dir) + string(filepath.Separator), nsc: nsc, known: map[string]Stamp{}}
}

// Forget has the next Scan give every file.
func (f *Folder) Forget() { f.forget.Store(true) }

// Scan gives every file that is not as it was the last time, and the paths of those that are gone. settled is false if
// a file has just been written to: then the next Scan gives it again if it is another one by then. If a directory can't
// be read nothing counts as gone.
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
			key, ok := f.key(path)
			if !ok {
				continue
			}
			seen[path] = true
			calm, failed := f.look(path, key, give)
			settled = settled && calm
			if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = failed
			}
		}
	}
	if err != nil {
		return nil, settled, err
	}
	for path := range f.known {
		if !seen[path] {
			delete(f.known, path)
			gone = append(gone, path)
		}
	}
	return gone, settled, nil
}

// look gives a file if it has changed.
func (f *Folder) look(path, key string, give func(File)) (settled bool, err error) {
	jwt, now, err := load(path, f.known[path])
	if err != nil || jwt == nil {
		return true, err
	}
	f.known[path] = now
	give(File{Path: path, Key: key, JWT: jwt})
	return now[0] >= 0, nil
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

// Watch waits until something in the directories changes, or until ctx ends. Directories that have come since the
// last Watch, or have been put in the place of others, are watched from then on: a Scan must follow each Watch. An error
// means that changes are not noticed.
func (f *Folder) Watch(ctx context.Context) error {
	fresh, err := f.rewatch()
	if err != nil || fresh {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-f.watcher.Events:
		return nil
	case err := <-f.watcher.Errors:
		return err
	}
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
	for dir := range now {
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
