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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
)

const (
	// settleTime is how long a commit waits for its file: newer versions may come, and one sync
	// does for many.
	settleTime    = 200 * time.Millisecond
	retryInterval = time.Second // from a failed flush to the next
	batchSize     = 256         // changes that are flushed before the journal is told
	// maxSyncs bounds the files that are synced at a time. The file system does that in one go.
	maxSyncs   = 16
	tempPrefix = "temp-"
)

// flusher writes the files of unflushed changes.
//
//	from        when                             to
//	idle        a change is committed            settling
//	settling    after settleTime, or flushNow    flushing
//	flushing    everything is written            idle
//	flushing    something can't be written       failing
//	failing     after retryInterval, or flushNow flushing
//
// Changes are flushed in batches. Each step is taken for a whole batch:
//
//  1. temp files are written and synced
//  2. they are renamed to their place; deleted JWTs are removed
//  3. the directories are synced
//  4. what is left of the accounts in the other layout is removed
//  5. the journal gets the mark, and the changes are flushed
//
// A change whose file can't be written stays unflushed: it is served from memory and is in the
// journal. The reason is a standing fault until a flush succeeds, and refuses later changes at the
// same place.
type flusher struct {
	directory *directory
	journal   *journal
	unflushed *unflushed
	warn      func(format string, args ...any)

	wake     chan struct{} // of capacity 1: there is something to flush
	flushNow chan struct{} // of capacity 1: a Put waits for room
	waiting  atomic.Int64  // how many Puts wait for room
	retries  singleflight.Group

	flushing sync.Mutex      // held during a flush; guards what follows
	temps    int             // numbers the temp files
	rootNew  bool            // a directory was made in the root whose name is not durable yet
	warned   map[string]bool // causes of faults since all was well

	mu     sync.RWMutex
	faults map[string]error // by path of a file or directory: why nothing can be written there
}

// flushStep is one change of a batch on its way.
type flushStep struct {
	*record
	target string
	temp   string   // path of the temp file, "" if there is none
	dirs   []string // to be synced
	err    error    // why it failed
}

// run flushes what is unflushed until ctx ends.
func (f *flusher) run(ctx context.Context) {
	wait := settleTime
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(wait):
		case <-f.flushNow:
		case <-ctx.Done():
			return
		}
		wait = settleTime
		if f.flush() != nil {
			wait = retryInterval
			signal(f.wake)
		}
		f.journal.saveEvents()
		if f.waiting.Load() > 0 {
			signal(f.flushNow)
		}
	}
}

// flush writes everything that is unflushed. The error is one of the faults that are left.
func (f *flusher) flush() (fault error) {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	faults := map[string]error{}
	for batch := range slices.Chunk(f.unflushed.all(), batchSize) {
		f.flushBatch(batch, faults)
	}
	f.mu.Lock()
	f.faults = faults
	f.mu.Unlock()
	for path, err := range faults {
		f.warnOnce(path, err)
		fault = err
	}
	if fault == nil {
		f.warned = map[string]bool{}
	}
	return fault
}

// warnOnce warns of each cause once until all is well again. The text of an error is no cause: it
// may name a temp file. f.flushing must be held.
func (f *flusher) warnOnce(path string, err error) {
	cause := err.Error()
	if number := syscall.Errno(0); errors.As(err, &number) {
		cause = number.Error()
	}
	if !f.warned[cause] {
		f.warned[cause] = true
		f.warn("JWTs can't be written to %s and stay in the journal until they can: %s", path, err)
	}
}

// check returns the standing fault at a place, if there is one. It flushes first, to see whether
// the fault is gone.
func (f *flusher) check(target string) error {
	if f.fault(target) == nil {
		return nil
	}
	_, _, _ = f.retries.Do("", func() (any, error) { return nil, f.flush() })
	return f.fault(target)
}

// fault is the standing fault of a file or of its directory.
func (f *flusher) fault(target string) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.faults[target]; err != nil {
		return err
	}
	return f.faults[filepath.Dir(target)]
}

// makeRoom has changes flushed now. It returns a standing fault, which may keep room from being
// made.
func (f *flusher) makeRoom() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, err := range f.faults {
		return err
	}
	signal(f.flushNow)
	signal(f.wake)
	return nil
}

// flushBatch flushes some changes and adds the faults to faults.
func (f *flusher) flushBatch(batch []*record, faults map[string]error) {
	steps := make([]flushStep, len(batch))
	for i, r := range batch {
		f.temps++
		temp := filepath.Join(f.journal.dir, fmt.Sprint(tempPrefix, f.temps))
		steps[i] = flushStep{record: r, target: f.directory.target(r), temp: temp}
	}
	parallel(len(steps), func(i int) { steps[i].err = f.writeTemp(&steps[i]) })
	for i := range steps {
		if s := &steps[i]; s.err == nil {
			s.err = f.place(s)
		}
	}
	f.syncDirectories(steps, faults)
	var done []*record
	for i := range steps {
		s := &steps[i]
		if s.err != nil {
			_ = os.Remove(s.temp)
			continue
		}
		f.removeOther(s.record)
		done = append(done, s.record)
	}
	if len(done) > 0 {
		f.journal.flushed(done)
	}
}

// writeTemp writes and syncs the temp file.
func (f *flusher) writeTemp(s *flushStep) error {
	if f.journal.lock.owned() {
		err := writeSynced(s.temp, s.body)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// The journal's directory is not there, or not known to be ours.
	if err := f.journal.prepare(); err != nil {
		return err
	}
	return writeSynced(s.temp, s.body)
}

// place renames the temp file to its place. Of a Delete it removes the JWT then.
func (f *flusher) place(s *flushStep) error {
	s.dirs = []string{filepath.Dir(s.target)}
	if err := errors.Join(notDir(s.target), f.makeParent(s.target)); err != nil {
		return err
	}
	err := os.Rename(s.temp, s.target)
	if errors.Is(err, syscall.EXDEV) {
		err = replaceFrom(s.temp, s.target, s.body)
	}
	// If the Delete is not the last change any more, a later Put's file may be there already.
	if err != nil || s.kind != kindDelete || f.unflushed.last(s.key) != s.record {
		return err
	}
	root := f.directory.root
	jwt, other := f.directory.preferred.path(root, s.key), f.directory.other.path(root, s.key)
	// A file that was removed from the other layout before, without a sync, must not come back
	// either.
	if dir := filepath.Dir(other); isDir(dir) == nil {
		s.dirs = append(s.dirs, dir)
	}
	return errors.Join(removeFile(jwt), removeFile(other))
}

// replaceFrom puts a file into a directory on another file system, behind a symbolic link.
func replaceFrom(temp, target string, content []byte) error {
	near := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".new")
	if err := writeSynced(near, content); err != nil {
		return err
	}
	_ = os.Remove(temp)
	return os.Rename(near, target)
}

// makeParent sees to it that the directory of a file is there and can be written to.
func (f *flusher) makeParent(target string) error {
	parent := filepath.Dir(target)
	err := writable(parent)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(parent, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f.rootNew = true
	return nil
}

// syncDirectories makes the names in the directories of a batch durable, and those of new
// directories. Steps whose directories can't be synced have failed. It adds every failure to
// faults.
func (f *flusher) syncDirectories(steps []flushStep, faults map[string]error) {
	var paths []string
	for i := range steps {
		if steps[i].err == nil {
			paths = append(paths, steps[i].dirs...)
		}
	}
	failed := f.syncAll(slices.Compact(slices.Sorted(slices.Values(paths))))
	maps.Copy(faults, failed)
	for i := range steps {
		s := &steps[i]
		if s.err != nil {
			faults[s.blame()] = s.err
			continue
		}
		for _, dir := range s.dirs {
			s.err = errors.Join(s.err, failed[dir])
		}
	}
}

// syncAll syncs directories and returns those that failed. If the root fails, and a directory in it
// is new, all have.
func (f *flusher) syncAll(paths []string) (failed map[string]error) {
	errs := make([]error, len(paths))
	parallel(len(paths), func(i int) { errs[i] = syncDir(paths[i]) })
	var root error
	if f.rootNew {
		root = syncDir(f.directory.root)
		f.rootNew = root != nil
	}
	failed = map[string]error{}
	for i, path := range paths {
		if err := errors.Join(errs[i], root); err != nil {
			failed[path] = err
		}
	}
	return failed
}

// blame returns what a failure stands for: the file, if only that can be the cause, else its
// directory. The cause of a failed Delete may be in another directory, and refuses no other
// changes.
func (s *flushStep) blame() string {
	if errors.Is(s.err, syscall.EISDIR) || s.kind == kindDelete {
		return s.target
	}
	return filepath.Dir(s.target)
}

// removeOther removes the file of the other layout, and its directory if it was the last.
func (f *flusher) removeOther(r *record) {
	path := f.directory.otherFile(r)
	if os.Remove(path) == nil && f.directory.other.sharded {
		_ = os.Remove(filepath.Dir(path)) // fails as long as something is in it
	}
}

// removeTemps removes what a crash left beside the journal, also of versions that had other temp
// files.
func (f *flusher) removeTemps() {
	left, err := os.ReadDir(f.journal.dir)
	if err != nil {
		return // there is none, or it can't be read: what is in it does no harm
	}
	for _, file := range left {
		if file.Name() != journalName {
			_ = os.RemoveAll(filepath.Join(f.journal.dir, file.Name()))
		}
	}
}

// parallel calls do for every number below n, a few at a time.
func parallel(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(maxSyncs)
	for i := range n {
		group.Go(func() error { do(i); return nil })
	}
	_ = group.Wait()
}

// signal wakes the goroutine that receives from c, a channel of capacity 1, now or at its next
// receive.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
