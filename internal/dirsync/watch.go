package dirsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quietTime is how long nothing must have changed for Watch to return.
	quietTime = 150 * time.Millisecond
	// maxNoisyTime is how long Watch waits for that after the first change.
	maxNoisyTime = 2 * time.Second
)

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
	// Files often change many at a time. One Scan shall see them all.
	var quiet, enough <-chan time.Time // nil before the first change
	var events <-chan fsnotify.Event   // nil while no change can be noticed
	var failures <-chan error
	if f.watcher != nil {
		events, failures = f.watcher.Events, f.watcher.Errors
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
			if !f.note(event) {
				continue
			}
		case err := <-failures:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // an overflow means many changes
				f.unwatched = err
				events, failures = nil, nil // until the next Watch
				continue
			}
		}
		quiet = time.After(quietTime)
		// Later changes do not move this end, so that constant changes can't prevent every Scan.
		if enough == nil {
			enough = time.After(maxNoisyTime)
		}
	}
}

// note notes a change, and reports whether it is in the Folder. What else is in the parent directory
// may change all the time. The parent is watched because the top directory itself may be replaced.
func (f *Folder) note(event fsnotify.Event) (isInside bool) {
	// The watch of a directory ends with it. A new one may have the same inode.
	if event.Has(fsnotify.Remove | fsnotify.Rename) {
		delete(f.watched, event.Name)
	}
	return event.Name == f.top || filepath.Dir(event.Name) != filepath.Dir(f.top)
}

// Unwatched says why changes in some directories are not noticed, nil if they are in all.
func (f *Folder) Unwatched() error {
	if f.unwatched == nil {
		return nil
	}
	return fmt.Errorf("changes are noticed every %s only: %w", scanInterval, f.unwatched)
}

// rewatch watches the directories of the last Scan: those that files can be in, and the parent of
// the Folder. fresh says that they are not those that were watched before.
func (f *Folder) rewatch() (fresh bool) {
	f.unwatched = nil
	if f.watcher == nil {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			f.unwatched = err
			return false
		}
		f.watcher, f.watched, fresh = w, map[string]fs.FileInfo{}, true
	}
	for dir, info := range f.watched {
		// A symbolic link in the path may have been replaced, which ends no watch.
		now, err := os.Stat(dir)
		if err == nil && os.SameFile(now, info) {
			continue
		}
		_ = f.watcher.Remove(dir) // it fails for a directory that is gone: its watch has ended
		delete(f.watched, dir)
		fresh = true
	}
	for _, dir := range f.directories {
		if f.watched[dir] != nil {
			continue
		}
		info, err := os.Stat(dir)
		if err == nil {
			err = f.watcher.Add(dir)
		}
		switch {
		case err == nil:
			// info was read before the watch began. If the directory was replaced in between, the
			// next Watch sees it.
			f.watched[dir], fresh = info, true
		case !errors.Is(err, fs.ErrNotExist): // otherwise it is gone since the Scan
			f.unwatched = fmt.Errorf("not every directory can be watched: %w", err)
		}
	}
	return fresh
}

// Close ends the watch. It may be called before the first Watch.
func (f *Folder) Close() {
	if f.watcher != nil {
		_ = f.watcher.Close() // its events are not read any more
		f.watcher = nil
	}
}
