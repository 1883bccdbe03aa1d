package jwtstore

import (
	"cmp"
	"os"
	"path/filepath"
)

const (
	// minWholeSync is how many files make it worth to sync the whole file system.
	minWholeSync = 16
	// maxSyncs bounds the files that are synced at a time. The file system does that in one go.
	maxSyncs = 16
)

// syncFileSystem and canSyncFileSystem are variables for tests.
var (
	// syncFileSystem makes everything durable that has been written to the file system of an open
	// directory. The error may be about any file that was written since the directory was opened.
	syncFileSystem = syncAll
	// canSyncFileSystem reports whether syncFileSystem can be relied on there.
	canSyncFileSystem = canSyncAll
)

// batchSync makes durable what a batch writes: each file and directory by itself, or all of the
// file system at once. For a thousand files that is half the work.
type batchSync struct {
	whole  bool
	dir    *os.File // of the store
	device int64    // of dir
}

// newBatchSync returns how n files are synced. After a fault each is synced by itself: it may be
// about a file of another program.
func (f *flusher) newBatchSync(dir *os.File, n int) batchSync {
	b := batchSync{dir: dir}
	if n < minWholeSync || f.standingFault() != nil || !canSyncFileSystem(dir) {
		return b
	}
	state, err := statOpen(dir)
	temps, failed := statFile(f.journal.dir)
	b.device = state.device
	b.whole = err == nil && failed == nil && temps.device == b.device
	return b
}

// writeTemps makes the temp files of a batch, on stable storage.
func (b batchSync) writeTemps(steps []flushStep) {
	if !b.whole {
		parallel(len(steps), func(i int) {
			s := &steps[i]
			s.state, s.err = writeNew(s.temp, s.body, true)
		})
		return
	}
	for i := range steps {
		s := &steps[i]
		s.state, s.err = writeNew(s.temp, s.body, false)
	}
	if err := syncFileSystem(b.dir); err != nil {
		failAll(steps, err)
	}
}

// directories makes durable what has changed in the directories of the steps that have not failed.
// A step fails if one of its directories can't be synced by itself. The error is about all of them.
func (b batchSync) directories(steps []flushStep) error {
	faults := map[string]error{} // by directory
	var single []string          // the directories that are synced by themselves
	for i := range steps {
		for _, dir := range steps[i].dirs() {
			if _, known := faults[dir]; !known {
				faults[dir] = nil
				if !b.covers(dir) {
					single = append(single, dir)
				}
			}
		}
	}
	if b.whole && len(faults) > 0 {
		if err := syncFileSystem(b.dir); err != nil {
			return err
		}
	}
	errs := make([]error, len(single))
	parallel(len(single), func(i int) { errs[i] = syncDir(single[i]) })
	for i, dir := range single {
		faults[dir] = errs[i]
	}
	for i := range steps {
		for _, dir := range steps[i].dirs() {
			steps[i].err = cmp.Or(steps[i].err, faults[dir])
		}
	}
	return nil
}

// covers reports whether the sync of the whole file system is one of this directory.
func (b batchSync) covers(dir string) bool {
	if !b.whole {
		return false
	}
	state, err := statFile(dir)
	return err == nil && state.device == b.device
}

// dirs returns the directories that a step has changed.
func (s *flushStep) dirs() []string {
	target := filepath.Dir(s.target)
	switch {
	case s.err != nil:
		return nil
	case s.other == "":
		return []string{target}
	}
	return []string{target, s.other}
}
