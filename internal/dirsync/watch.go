package dirsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quietTime is how long nothing must have changed for Watch to return.
	quietTime = 150 * time.Millisecond
	// maxNoisyTime is how long Watch waits for that after the first change.
	maxNoisyTime = 2 * time.Second
)

// watcher is what a Folder watches.
type watcher struct {
	*fsnotify.Watcher                        // nil before the first Watch
	directories       map[string]fs.FileInfo // by path
	unwatched         error                  // why some can't be watched; nil: all are
}

// Watch returns when something in the directories has changed and nothing has changed for quietTime
// since. It also returns when wake has a value, or when ctx ends, with the cause. Any other error
// means that no changes are noticed.
//
// Directories that have come since the last Watch, or that were replaced, are watched from then on.
// Watch returns at once then, as there may be changes in them already: a Scan must follow each
// Watch.
func (f *Folder) Watch(ctx context.Context, wake <-chan struct{}) error {
	fresh, err := f.rewatch()
	if err != nil || fresh {
		return err
	}
	var quiet, enough <-chan time.Time // nil before the first change
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wake:
			return nil
		case <-quiet:
			return nil
		case <-enough:
			return nil
		case event := <-f.watcher.Events:
			if !f.concerns(event.Name) {
				continue
			}
		case err := <-f.watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // an overflow means many changes
				return err
			}
		}
		quiet = time.After(quietTime)
		if enough == nil {
			enough = time.After(maxNoisyTime)
		}
	}
}

// concerns reports whether a changed path is in the Folder. What else is in the parent directory
// may change all the time.
func (f *Folder) concerns(path string) bool {
	return path == f.top() || filepath.Dir(path) != filepath.Dir(f.top())
}

// Unwatched says why changes in some directories are not noticed, nil if they are in all.
func (f *Folder) Unwatched() error { return f.watcher.unwatched }

// rewatch watches the directories that are there now. fresh says that they are not those that were
// watched before.
func (f *Folder) rewatch() (fresh bool, err error) {
	w := &f.watcher
	if w.Watcher == nil {
		if w.Watcher, err = fsnotify.NewWatcher(); err != nil {
			return false, err
		}
		w.directories, fresh = map[string]fs.FileInfo{}, true
	}
	now := f.watchable()
	for dir, info := range w.directories {
		if now[dir] == nil || !os.SameFile(now[dir], info) {
			_ = w.Remove(dir) // it fails for a directory that is gone: the watch went with it
			delete(w.directories, dir)
			fresh = true
		}
	}
	w.unwatched = nil
	for _, dir := range slices.Sorted(maps.Keys(now)) {
		if w.directories[dir] != nil {
			continue
		}
		if err := w.Add(dir); err != nil {
			w.unwatched = fmt.Errorf("not every directory can be watched: %w", err)
			continue
		}
		w.directories[dir] = now[dir]
		fresh = true
	}
	return fresh, nil
}

// watchable are the directories whose changes are to be noticed: those that files can be in, and
// the parent of the Folder, which may be replaced as a whole.
func (f *Folder) watchable() map[string]fs.FileInfo {
	now := map[string]fs.FileInfo{}
	directories, _ := f.directories() // the next Scan returns the error
	for _, dir := range append(directories, filepath.Dir(f.top())) {
		if info, err := os.Stat(dir); err == nil {
			now[dir] = info
		}
	}
	return now
}

// Close ends the watch.
func (f *Folder) Close() {
	if f.watcher.Watcher != nil {
		_ = f.watcher.Close() // its events are not read any more
		f.watcher.Watcher = nil
	}
}
