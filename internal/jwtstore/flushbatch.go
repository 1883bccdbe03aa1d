package jwtstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// flushStep is one change of a batch on its way. Its fields are filled in by the functions of
// flushBatch in their order.
type flushStep struct {
	*record
	target string    // path of the file
	temp   string    // path of the temp file
	state  fileState // of the temp file, once it is written
	other  string    // the directory of the other layout that is to be synced, "" for none
	err    error     // why it failed
}

// flushBatch flushes some changes. The error is that of the first one that can't be flushed. One
// goroutine at a time flushes.
//
// A crash between two steps leaves temp files, which the next start removes, or files in their
// places that are newer than the mark. The journal still has all changes of the batch, and the next
// start writes them once more. An error before the first temp file is for the whole batch. Later
// ones are for single changes, unless they are about a sync.
//
// Files are renamed and removed in the directory that was opened, whatever is at its path meanwhile.
func (f *flusher) flushBatch(batch []*record) (fault error) {
	if err := f.journal.prepare(); err != nil {
		return err
	}
	place := f.presence.place()
	dir, err := f.presence.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	steps := f.steps(batch)
	sync := f.newBatchSync(dir, len(steps))
	sync.writeTemps(steps)
	f.makeShards(steps)
	for i := range steps {
		f.place(dir, &steps[i])
	}
	f.syncDirectories(sync, steps)
	f.recordCleared(steps)
	if err := f.presence.checkPlace(place); err != nil {
		failAll(steps, err) // the files may be in another directory
	}
	return f.finish(dir, steps)
}

// steps returns the steps of a batch, which have not begun.
func (f *flusher) steps(batch []*record) []flushStep {
	steps := make([]flushStep, len(batch))
	temp := filepath.Join(f.journal.dir, tempPrefix)
	for i, r := range batch {
		f.temps++
		target := f.directory.file(f.directory.preferred, r)
		steps[i] = flushStep{record: r, target: target, temp: temp + strconv.Itoa(f.temps)}
	}
	return steps
}

// finish makes the steps that have not failed part of the index, and records them as flushed. A
// change counts as flushed only when the index knows its file. The index is saved before the
// journal gets the mark. In the other order a crash between them would leave floors that neither
// has.
func (f *flusher) finish(dir *os.File, steps []flushStep) (fault error) {
	var done []*record
	for i := range steps {
		s := &steps[i]
		if s.err != nil {
			_ = os.Remove(s.temp)
			fault = cmp.Or(fault, fmt.Errorf("%s: %w", s.target, s.err))
			continue
		}
		done = append(done, s.record)
		f.index.flushed(s.record, f.stamp(dir, s))
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

// makeShards makes the directories of the files that are not there. They are made durable by
// syncDirectories.
func (f *flusher) makeShards(steps []flushStep) {
	if !f.directory.preferred.sharded {
		return
	}
	made := map[string]error{} // by path
	for i := range steps {
		shard := filepath.Dir(steps[i].target)
		err, isMade := made[shard]
		if !isMade && !f.shards.has(shard) {
			if err = os.Mkdir(shard, 0o700); errors.Is(err, fs.ErrExist) {
				err = nil
			}
		}
		made[shard] = err
		steps[i].err = cmp.Or(steps[i].err, err)
	}
}

// place moves the file of a step to its place, and removes what the account has in the other
// layout.
func (f *flusher) place(dir *os.File, s *flushStep) {
	if s.err = f.placeFile(dir, s); s.err == nil {
		s.err = f.removeOther(dir, s)
	}
}

// placeFile renames the temp file to its place. Of a Delete it removes the JWT then. If a newer
// JWT has been put into the directory, that stays, whether the temp file could be written or not.
func (f *flusher) placeFile(dir *os.File, s *flushStep) error {
	kept, err := f.keepNewer(s.record)
	if err = cmp.Or(err, s.err); kept && s.kind == kindPut {
		return removeFile(s.temp)
	}
	if err == nil {
		err = f.moveToPlace(dir, s)
	}
	switch {
	case err != nil:
		return err
	case s.kind == kindPut:
		return nil
	case f.unflushed.last(s.key) != s.record: // the file is that of a later Put, or is kept
		return nil
	}
	jwt, other := f.directory.preferred.path("", s.key), f.directory.other.path("", s.key)
	delete(f.cleared, filepath.Dir(f.directory.root+other)) // removeOther has it synced
	return errors.Join(removeFileIn(dir, jwt), removeFileIn(dir, other))
}

// removeOther removes the file of the other layout. If there is none, an earlier process may have
// removed it without a sync. A directory in its place is no file of the account.
func (f *flusher) removeOther(dir *os.File, s *flushStep) error {
	path := f.directory.file(f.directory.other, s.record)
	shard := filepath.Dir(path)
	switch err := absentOrIrregular(removeIn(dir, f.nameIn(path))); {
	case err == nil:
		delete(f.cleared, shard)
		s.other = shard
	case !errors.Is(err, fs.ErrNotExist) && notDir(path) == nil:
		return fmt.Errorf("the older file %s can't be removed: %w", path, err)
	case !f.cleared[shard]:
		if state, err := statFile(shard); err == nil && state.dir {
			s.other = shard
		}
	}
	return nil
}

// nameIn returns the name of a file of the store in the open directory.
func (f *flusher) nameIn(path string) string { return strings.TrimPrefix(path, f.directory.root) }

// stamp returns the stamp of the file of a step in its place. If another file has been put there
// since, the index looks again. A rename may have changed the ctime.
func (f *flusher) stamp(dir *os.File, s *flushStep) Stamp {
	now, _ := statIn(dir, f.nameIn(s.target))
	if s.state.ctime = now.ctime; now != s.state {
		return hotStamp()
	}
	return now.coldStamp()
}

// syncDirectories makes the names in the directories of a batch durable, and those of the shards. A
// shard that was there before may have been made by a process that was killed before it could sync
// the root.
func (f *flusher) syncDirectories(sync batchSync, steps []flushStep) {
	unsure := map[string]bool{}
	for i := range steps {
		s := &steps[i]
		shard := filepath.Dir(s.target)
		if s.err == nil && f.directory.preferred.sharded && !unsure[shard] && !f.shards.has(shard) {
			unsure[shard] = true
		}
	}
	err := sync.directories(steps)
	if err == nil && len(unsure) > 0 && !sync.whole {
		err = syncDir(f.directory.root)
	}
	if err != nil {
		failAll(steps, err)
		return
	}
	for shard := range unsure {
		f.shards.add(shard)
	}
}

// recordCleared records what a batch has removed from the other layout. A shard goes when its last
// file has gone.
func (f *flusher) recordCleared(steps []flushStep) {
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

// failAll fails the steps that have not failed yet.
func failAll(steps []flushStep, err error) {
	for i := range steps {
		steps[i].err = cmp.Or(steps[i].err, err)
	}
}

// parallel calls do for every number below n, a few at a time, and returns after the last. do is
// called from several goroutines.
func parallel(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(maxSyncs)
	for i := range n {
		group.Go(func() error { do(i); return nil })
	}
	_ = group.Wait()
}
