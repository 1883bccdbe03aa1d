package dirsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	*fsnotify.Watcher                        // nil before the first Watch, and if there is none
	directories       map[string]fs.FileInfo // by path
	unwatched         error                  // why changes in some may not be noticed; nil: all are
}

// Watch returns when something in the directories has changed and nothing has changed for quietTime
// since. It also returns when wake has a value, or when ctx ends, with the cause. While no change
// can be noticed it returns for these two reasons only, and Unwatched says so.
//
// Directories that have come since the last Watch, or that were replaced, are watched from then on.
// Watch returns at once then, as there may be changes in them already: a Scan must follow each
// Watch.
func (f *Folder) Watch(ctx context.Context, wake <-chan struct{}) error {
	if f.rewatch() {
		return nil
	}
	var quiet, enough <-chan time.Time // nil before the first change
	var events <-chan fsnotify.Event   // nil while no change can be noticed
	var failures <-chan error
	if w := f.watcher.Watcher; w != nil {
		events, failures = w.Events, w.Errors
	}
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
		case event := <-events:
			if !f.concerns(event.Name) {
				continue
			}
		case err := <-failures:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // an overflow means many changes
				f.watcher.unwatched = err
				events, failures = nil, nil // until the next Watch
				continue
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
	return path == f.top || filepath.Dir(path) != filepath.Dir(f.top)
}

// Unwatched says why changes in some directories are not noticed, nil if they are in all.
func (f *Folder) Unwatched() error { return f.watcher.unwatched }

// rewatch watches the directories of the last Scan: those that files can be in, and the parent of
// the Folder, which may be replaced as a whole. fresh says that they are not those that were
// watched before.
func (f *Folder) rewatch() (fresh bool) {
	w := &f.watcher
	w.unwatched = nil
	if w.Watcher == nil {
		if w.Watcher, w.unwatched = fsnotify.NewWatcher(); w.unwatched != nil {
			w.Watcher = nil
			return false
		}
		w.directories, fresh = map[string]fs.FileInfo{}, true
	}
	watched := w.WatchList() // the watch of a directory goes with it, and its inode may be used again
	for dir, info := range w.directories {
		now := f.directories[dir]
		if now == nil || !os.SameFile(now, info) || !slices.Contains(watched, dir) {
			_ = w.Remove(dir) // it fails if the watch is gone
			delete(w.directories, dir)
			fresh = true
		}
	}
	for dir, info := range f.directories {
		if w.directories[dir] != nil {
			continue
		}
		if err := w.Add(dir); err != nil {
			w.unwatched = fmt.Errorf("not every directory can be watched: %w", err)
			continue
		}
		w.directories[dir] = info
		fresh = true
	}
	return fresh
}

// Close ends the watch.
func (f *Folder) Close() {
	if f.watcher.Watcher != nil {
		_ = f.watcher.Close() // its events are not read any more
		f.watcher.Watcher = nil
	}
}
