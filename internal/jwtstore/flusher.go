package jwtstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/pause"
)

const (
	// settleTime is how long a commit waits for its file: newer versions may come, and one sync
	// does for many.
	settleTime    = 200 * time.Millisecond
	retryInterval = time.Second // from a failed flush to the next
	batchSize     = 1000        // changes that are flushed before the journal is told
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
//  2. they are renamed to their place, and deleted JWTs are removed, unless a newer JWT is there that the
//     commit did not know: it was put there since, and stays
//  3. the directories are synced
//  4. what is left of the accounts in the other layout is removed, and that is synced
//  5. the index is saved with the stamps of the files
//  6. the journal gets the mark, and the changes are flushed
//
// A change whose file can't be written stays unflushed, and so does one whose older file can't be
// removed from the other layout: it is served from memory and is in the journal. The first reason is
// the standing fault until all changes can be flushed.
type flusher struct {
	directory *directory
	journal   *journal // is told what is flushed; its directory has the temp files
	unflushed *unflushed
	index     *Index
	warn      func(format string, args ...any) // see Options

	wake     chan struct{} // of capacity 1: there is something to flush
	flushNow chan struct{} // of capacity 1: a Put waits for room

	fault atomic.Pointer[error] // the standing fault; nil, or of nil: all is well

	flushing sync.Mutex   // held during a flush; guards what follows
	shards   durableNames // the shards whose names in the root are durable
	// cleared is the directories of the other layout in which every removal is durable, also those of
	// earlier processes.
	cleared map[string]bool
	temps   int    // temp files so far: what a failure has left is never taken for a later one
	warned  string // the cause that was warned of last, "" since all is well
}

// flushStep is one change of a batch on its way.
type flushStep struct {
	*record
	target string    // path of the file
	temp   string    // path of the temp file
	state  fileState // of the temp file, once it is written
	before fileState // of the target before that
	// removed is the path of the JWT that a Delete has removed, and jwt its state before that.
	removed string
	jwt     fileState
	dirs    []string // to be synced
	other   string   // the directory of the other layout that is to be synced, "" for none
	err     error    // why it failed
}

// run flushes what is unflushed until ctx ends. What is left then is for Close.
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
		if fault, unsaved := f.flush(); fault != nil || unsaved != nil {
			wait = retryInterval
			pause.Wake(f.wake)
		}
		f.journal.saveEvents()
	}
}

// hurry has changes flushed without waiting for them to settle.
func (f *flusher) hurry() {
	pause.Wake(f.flushNow)
	pause.Wake(f.wake)
}

// flush writes everything that is unflushed, and what the index has learned otherwise: a file was put
// there by hand. The fault is the first that is left of the changes.
func (f *flusher) flush() (fault, unsaved error) {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	if fault = f.directory.presence.check(); fault == nil {
		for batch := range slices.Chunk(f.unflushed.all(), batchSize) {
			fault = cmp.Or(fault, f.flushBatch(batch))
		}
		unsaved = f.index.save()
		f.warnOf(fault)
	}
	f.fault.Store(&fault)
	return fault, unsaved
}

// warnOf warns of a standing fault when its cause has changed. The text of an error is no cause: it
// may name a temp file. f.flushing must be held.
func (f *flusher) warnOf(fault error) {
	cause := ""
	if number := syscall.Errno(0); errors.As(fault, &number) {
		cause = number.Error()
	} else if fault != nil {
		cause = fault.Error()
	}
	if cause != "" && cause != f.warned {
		f.warn("JWTs can't be written and stay in the journal until they can: %s", fault)
	}
	f.warned = cause
}

// flushBatch flushes some changes. The error is that of the oldest change that can't be flushed.
func (f *flusher) flushBatch(batch []*record) (fault error) {
	if err := f.journal.prepare(); err != nil {
		return err
	}
	place := f.directory.presence.place()
	dir, err := f.directory.presence.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	steps := make([]flushStep, len(batch))
	for i, r := range batch {
		f.temps++
		temp := filepath.Join(f.journal.dir, fmt.Sprint(tempPrefix, f.temps))
		target := f.directory.file(f.directory.preferred, r)
		steps[i] = flushStep{record: r, target: target, temp: temp}
	}
	parallel(len(steps), func(i int) { steps[i].err = writeSynced(steps[i].temp, steps[i].body) })
	for i := range steps {
		s := &steps[i]
		s.before = f.stateIn(dir, s.target)
		if s.kind == kindDelete {
			s.jwt = f.stateIn(dir, f.directory.preferred.path(f.directory.root, s.key))
		}
		s.err = f.place(s)
	}
	f.syncDirectories(steps)
	f.clearOther(steps)
	for i := range steps {
		if s := &steps[i]; s.err == nil && f.isElsewhere(dir, s) {
			s.err = errElsewhere
		}
	}
	if err := f.directory.presence.checkPlace(place); err != nil {
		failAll(steps, err) // the files may be in another directory
	}
	var done []*record
	for _, s := range steps {
		if s.err != nil {
			_ = os.Remove(s.temp)
			fault = cmp.Or(fault, fmt.Errorf("%s: %w", s.target, s.err))
			continue
		}
		done = append(done, s.record)
		f.index.flushed(s.record, s.stamp())
	}
	if len(done) == 0 {
		return fault
	}
	if err := f.index.save(); err != nil {
		return cmp.Or(fault, fmt.Errorf("%s: %w", f.index.path, err))
	}
	f.journal.recordFlushed(done)
	return fault
}

// place renames the temp file to its place. Of a Delete it removes the JWT then. If a newer JWT has been
// put into the directory, that stays, whether the temp file could be written or not.
func (f *flusher) place(s *flushStep) error {
	parent := filepath.Dir(s.target)
	s.dirs = []string{parent}
	if f.directory.preferred.sharded && !f.shards.has(parent) {
		if err := os.Mkdir(parent, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return cmp.Or(s.err, err)
		}
	}
	kept, err := f.keepNewer(s.record)
	if err = cmp.Or(err, s.err); kept && s.kind == kindPut {
		return removeFile(s.temp)
	}
	if err == nil {
		s.state, err = statFile(s.temp)
	}
	if err == nil {
		err = f.moveToPlace(s)
	}
	switch {
	case err != nil:
		return err
	case s.kind == kindPut:
		return nil
	case f.unflushed.last(s.key) != s.record: // the file is that of a later Put, or is kept
		return nil
	}
	root := f.directory.root
	jwt, other := f.directory.preferred.path(root, s.key), f.directory.other.path(root, s.key)
	delete(f.cleared, filepath.Dir(other)) // clearOther syncs it
	s.removed = jwt
	return errors.Join(removeFile(jwt), removeFile(other))
}

// stateIn returns the state of a file of the store, found in the open directory; zero if there is none.
func (f *flusher) stateIn(dir *os.File, path string) fileState {
	state, _ := statIn(dir, strings.TrimPrefix(path, f.directory.root))
	return state
}

// isElsewhere reports whether what a step has written or removed is as it was before in the open directory.
// A file that was put there by hand in the meantime is neither.
func (f *flusher) isElsewhere(dir *os.File, s *flushStep) bool {
	if s.state == (fileState{}) {
		return false // nothing was written
	}
	if s.removed != "" && s.jwt.regular && f.stateIn(dir, s.removed) == s.jwt {
		return true
	}
	now := f.stateIn(dir, s.target)
	return !s.isWritten(now) && now == s.before
}

// isWritten reports whether a state is that of the file which the step has written. A rename may have
// changed the ctime.
func (s *flushStep) isWritten(now fileState) bool {
	written := s.state
	written.ctime = now.ctime
	return now == written
}

// stamp returns the stamp of the file in its place. If another file has been put there since, the index
// looks again.
func (s *flushStep) stamp() Stamp {
	now, _ := statFile(s.target)
	if !s.isWritten(now) {
		return hotStamp()
	}
	return now.coldStamp()
}

// syncDirectories makes the names in the directories of a batch durable, and those of the shards. A
// shard that was there before may have been made by a process that was killed before it could sync
// the root.
func (f *flusher) syncDirectories(steps []flushStep) {
	syncEach(steps, func(s *flushStep) []string { return s.dirs })
	if !f.directory.preferred.sharded {
		return
	}
	var unsure []string
	for _, s := range steps {
		if shard := filepath.Dir(s.target); s.err == nil && !f.shards.has(shard) {
			unsure = append(unsure, shard)
		}
	}
	if len(unsure) == 0 {
		return
	}
	if err := syncDir(f.directory.root); err != nil {
		failAll(steps, err)
		return
	}
	for _, shard := range unsure {
		f.shards.add(shard)
	}
}

// clearOther removes the files that accounts have in the other layout, and makes that durable. A
// shard goes when its last file has gone.
func (f *flusher) clearOther(steps []flushStep) {
	for i := range steps {
		if s := &steps[i]; s.err == nil {
			s.err = f.removeOther(s)
		}
	}
	syncEach(steps, func(s *flushStep) []string {
		if s.other == "" {
			return nil
		}
		return []string{s.other}
	})
	for i := range steps {
		s := &steps[i]
		if s.err != nil {
			continue
		}
		f.directory.doubles.forget(s.target)
		if s.other == "" {
			continue
		}
		f.cleared[s.other] = true
		if f.directory.other.sharded {
			_ = os.Remove(s.other) // fails as long as something is in it
		}
	}
}

// removeOther removes the file of the other layout. If there is none, an earlier process may have
// removed it without a sync. A directory in its place is no file of the account.
func (f *flusher) removeOther(s *flushStep) error {
	path := f.directory.file(f.directory.other, s.record)
	dir := filepath.Dir(path)
	if notDir(path) != nil {
		return nil
	}
	switch err := absentOrIrregular(os.Remove(path)); {
	case err == nil:
		delete(f.cleared, dir)
		s.other = dir
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the older file can't be removed: %w", err)
	case !f.cleared[dir] && isDir(dir) == nil:
		s.other = dir
	}
	return nil
}

// syncEach syncs the directories of all steps that have not failed, each once. A step fails if one of
// its directories can't be synced.
func syncEach(steps []flushStep, dirs func(s *flushStep) []string) {
	syncs := map[string]func() error{} // by directory
	for i := range steps {
		for _, dir := range dirs(&steps[i]) {
			syncs[dir] = sync.OnceValue(func() error { return syncDir(dir) })
		}
	}
	parallel(len(steps), func(i int) {
		s := &steps[i]
		for _, dir := range dirs(s) {
			if s.err == nil {
				s.err = syncs[dir]()
			}
		}
	})
}

// failAll fails the steps that have not failed yet.
func failAll(steps []flushStep, err error) {
	for i := range steps {
		steps[i].err = cmp.Or(steps[i].err, err)
	}
}

// removeTemps removes what a crash left beside the journal, also of versions that had other temp
// files.
func (f *flusher) removeTemps() {
	left, _ := os.ReadDir(f.journal.dir) // what can't be read does no harm
	for _, file := range left {
		if !slices.Contains([]string{journalName, indexName, stateDirsName}, file.Name()) {
			_ = os.RemoveAll(filepath.Join(f.journal.dir, file.Name()))
		}
	}
}

// parallel calls do for every number below n, a few at a time, and returns after the last.
func parallel(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(maxSyncs)
	for i := range n {
		group.Go(func() error { do(i); return nil })
	}
	_ = group.Wait()
}
