package jwtstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// readyLocked sees to it that file can be appended to. It makes the checkpoint that is due. If that
// fails, on a full disk for instance, the old file is used as long as nothing is wrong with it.
func (j *journal) readyLocked() error {
	usable := j.file != nil && !j.broken && isAt(j.path(), j.info) && j.lock.isCurrent()
	if usable && j.end <= j.limit && !j.stale {
		return nil
	}
	err := j.checkpointLocked()
	if err != nil && usable && j.file != nil && !j.broken {
		// The old file will do for some more records.
		j.limit, j.stale = max(minCheckpointSize, j.end+j.end/4), false
		return nil
	}
	return err
}

// prepare makes the journal's directory, and sees to it that its name is durable and that it is
// ours. The directory of the store has to be there. It is called before each checkpoint, and before
// each batch of files.
func (j *journal) prepare() error {
	j.preparing.Lock()
	defer j.preparing.Unlock()
	if err := j.presence.check(); err != nil {
		return err
	}
	if err := os.Mkdir(j.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := writable(j.dir); err != nil {
		return err
	}
	if !j.names.has(j.dir) {
		if err := setStateDirs(j.dir, j.stateDirs); err != nil {
			return err
		}
		if err := syncNames(j.dir); err != nil {
			return err
		}
		j.names.add(j.dir)
	}
	return j.lock.ensure()
}

// checkpointLocked begins a new file with everything that is known. If it fails, the file at the
// path is whole, the old one or the new one, and the next append makes another. It writes as much
// as is unflushed and pending, which readers do not wait for.
//
// The order: directory and lock are checked, the new file is whole and synced beside the old one,
// it takes the name, and it must be in the directory that was opened. Then the directory is synced.
// A crash before the rename leaves the old file, and removeTemps of the next start removes the new
// one. A crash after it may bring back the old file, which has the same changes as long as nothing
// was appended to the new one. That is why a failed sync of the directory counts as broken.
func (j *journal) checkpointLocked() error {
	if err := j.prepare(); err != nil {
		return err
	}
	dir, err := j.presence.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	content, events := j.snapshotLocked(j.generation + 1)
	next := filepath.Join(j.dir, nextName)
	err = writeSynced(next, content)
	if err == nil {
		j.closeLocked() // Windows renames nothing over an open file
		err = os.Rename(next, j.path())
	}
	if err == nil {
		j.file, err = openFile(j.path(), os.O_RDWR)
	}
	if err == nil {
		j.info, err = j.file.Stat()
	}
	if err == nil && !isIn(dir, filepath.Join(journalDir, journalName), j.file) {
		j.closeLocked()
		err = errElsewhere
	}
	if err != nil {
		_ = os.Remove(next)
		return fmt.Errorf("beginning a journal: %w", err)
	}
	// The number changes only now, so that a failed checkpoint uses it again.
	j.generation++
	j.count = parseCount(content, j.generation)
	j.end, j.zeroed = int64(len(content)), int64(len(content))
	j.limit, j.stale = max(minCheckpointSize, 4*j.known+2*(j.end-j.known)), false
	err = syncDir(j.dir)
	if j.broken = err != nil; !j.broken {
		j.outbox.recordSaved(events)
	}
	return err
}

// snapshotLocked returns the content of a new file: the snapshot and the changes that are
// unflushed. events is how many bytes of the outbox's events are in it.
func (j *journal) snapshotLocked(generation uint64) (content []byte, events int) {
	body, events := j.outbox.appendSnapshot(binary.AppendUvarint(nil, j.markLocked()))
	first := &record{kind: kindSnapshot, seq: j.outbox.lastSeq(), at: time.Now(),
		version: j.savesOfIndex(), body: body}
	changes := j.unflushed.all()
	size := fileHead + first.size()
	for _, r := range changes {
		size += r.size()
	}
	content = appendFileHead(make([]byte, 0, size), generation, uint32(len(changes)))
	j.known = int64(len(content) + first.size())
	for _, r := range slices.Insert(changes, 0, first) {
		content = r.append(content, generation)
	}
	return content, events
}

// closeLocked closes the file, if it is open.
func (j *journal) closeLocked() {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}

// close ends commits, after the one that is on its way.
func (j *journal) close() {
	j.token <- struct{}{}
	j.closed = true
	<-j.token
}

// leave ends the use of the journal. If the journal has what the directory lacks, a checkpoint
// writes all of it, else the journal is removed. On a disk that can't be written to, what an
// earlier process left stays as it is. It comes after close, and after the last flush.
func (j *journal) leave() error {
	j.token <- struct{}{}
	defer func() { <-j.token }()
	defer j.closeLocked()
	needed := !j.unflushed.isEmpty() || j.outbox.isNeeded()
	switch {
	case j.file != nil && needed:
		return j.checkpointLocked()
	case j.file != nil:
		return j.removeLocked()
	case needed && len(j.outbox.unsaved()) > 0:
		_ = j.checkpointLocked() // the file says all but which servers were seen since
	case !needed && j.lock.owned():
		_ = j.removeLocked()
	}
	return nil
}

// removeLocked removes the journal, if it is there. The index stays, and its directory with it.
func (j *journal) removeLocked() error {
	j.closeLocked()
	if _, err := os.Lstat(j.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := errors.Join(removeFile(j.path()), syncDir(j.dir)); err != nil {
		return err
	}
	if os.Remove(j.dir) != nil {
		return nil // the index is there
	}
	return syncDir(filepath.Dir(j.dir))
}
