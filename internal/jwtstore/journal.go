package jwtstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	journalName = "journal"
	nextName    = "journal.next"

	leastLimit = 1 << 20   // bytes; a journal below is not worth a checkpoint
	zeroChunk  = 256 << 10 // bytes that are zeroed ahead of the end
)

// journal is the file that commits are appended to.
//
//	<dir>/.journal/journal
//	┌──────┬──────────┬───────────────┬─────┬─────┬──────┬─────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//	│ head │ snapshot │ unwritten put │ put │ put │ mark │ put │ zeros, written ahead
//	└──────┴──────────┴───────────────┴─────┴─────┴──────┴─────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//	  what was known when the file      what came since          ^ end              ^ zeroed
//	  was begun
//
// What is said of a put here goes for a delete too. A file is begun by a checkpoint: everything that is known goes into
// a new file, which then takes the old one's name. So there is one whole journal at any moment, also for who copies the directory. A checkpoint is made
//
//   - when the first record is written after a start: what an earlier process left is never appended to;
//   - when the file has become large;
//   - when a sync failed, after which nobody knows what of the file is on the disk;
//   - when the file is not at its path any more, because somebody removed the directory.
//
// The zeros make an append overwrite blocks that the file has, so that a sync writes data only and does not wait
// for the file system's own journal.
//
// An embedded database would do as well for one client at a time, but syncs two pages for each commit that shares
// nothing, and would be a file that has to be emptied at each stop; this is one record and one sync.
//
// A journal has no lock: one goroutine at a time uses it.
type journal struct {
	dir     string                    // <dir>/.journal
	prepare func() error              // makes dir, and sees that it is ours
	state   func() ([]record, func()) // everything that is known, and who wants to hear that it is saved

	file       *os.File // nil before the first record
	info       os.FileInfo
	generation uint64 // of file, or of what an earlier process left
	end        int64  // where the next record goes
	zeroed     int64  // the file's size
	limit      int64  // when end passes it a checkpoint is due
	stale      bool   // memory knows what records will not say: a checkpoint is due
	broken     error  // why nothing may be appended to file
	buf        []byte
}

func (j *journal) path() string { return filepath.Join(j.dir, journalName) }

// append writes the records, and syncs them if durable. After an error they are not in the journal, as far as that
// can be had from a failing disk. It comes after a ready that returned nil.
func (j *journal) append(records []record, durable bool) error {
	j.buf = j.buf[:0]
	for _, r := range records {
		r.generation = j.generation
		j.buf = r.append(j.buf)
	}
	j.zeroAhead(int64(len(j.buf)))
	if _, err := j.file.WriteAt(j.buf, j.end); err != nil {
		j.cutBack()
		return fmt.Errorf("writing the journal: %w", err)
	}
	if durable {
		if err := syncData(j.file); err != nil {
			j.broken = err
			j.cutBack()
			return fmt.Errorf("syncing the journal: %w", err)
		}
	}
	j.end += int64(len(j.buf))
	j.zeroed = max(j.zeroed, j.end)
	if cap(j.buf) > leastLimit {
		j.buf = nil
	}
	return nil
}

// cutBack removes what was written past the end.
func (j *journal) cutBack() {
	err := j.file.Truncate(j.end)
	if err != nil && j.broken == nil {
		j.broken = err
	}
	if j.broken != nil {
		_ = j.file.Sync() // it may well work now, and then what failed does not come back after a crash
	}
	j.zeroed = j.end
}

// ready sees that file can be appended to.
func (j *journal) ready() error {
	if j.file == nil || j.broken != nil || !j.atItsPath() {
		return j.checkpoint()
	}
	if j.end <= j.limit && !j.stale {
		return nil
	}
	err := j.checkpoint()
	if err != nil && j.file != nil && j.broken == nil {
		j.limit, j.stale = max(leastLimit, j.end+j.end/4), false // the old file will do for some more
		return nil
	}
	return err
}

// atItsPath is false when somebody removed the directory, or put something else there.
func (j *journal) atItsPath() bool {
	now, err := os.Stat(j.path())
	return err == nil && os.SameFile(now, j.info)
}

// checkpoint begins a new file with everything that is known. If it fails, the file at the path is whole,
// the old one or the new one, and the next append makes another.
func (j *journal) checkpoint() error {
	if err := j.prepare(); err != nil {
		return err
	}
	known, saved := j.state()
	b := appendFileHead(nil, j.generation+1)
	for _, r := range known {
		r.generation = j.generation + 1
		b = r.append(b)
	}
	next := filepath.Join(j.dir, nextName)
	if err := writeSynced(next, b); err != nil {
		return fmt.Errorf("beginning a journal: %w", err)
	}
	if err := j.replaceBy(next); err != nil {
		_ = os.Remove(next)
		return fmt.Errorf("beginning a journal: %w", err)
	}
	j.generation++
	j.end, j.zeroed = int64(len(b)), int64(len(b))
	j.limit, j.stale = max(leastLimit, 4*j.end), false
	if j.broken = syncDir(j.dir); j.broken == nil {
		saved()
	}
	return j.broken
}

// replaceBy gives the file next the journal's name and opens it. Nothing may be open meanwhile, for Windows.
func (j *journal) replaceBy(next string) error {
	j.close()
	if err := os.Rename(next, j.path()); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if j.info, err = f.Stat(); err != nil {
		f.Close()
		return err
	}
	j.file = f
	return nil
}

// zeroAhead sees that the file has blocks for n more bytes, if they are few and the disk has plenty of room. Whether it works does
// not matter.
func (j *journal) zeroAhead(n int64) {
	if j.end+n <= j.zeroed || n > zeroChunk || freeSpace(j.dir) < 64*zeroChunk {
		return
	}
	if _, err := j.file.WriteAt(make([]byte, zeroChunk), j.zeroed); err == nil {
		j.zeroed += zeroChunk
	}
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}

// writeSynced makes a file with this content on stable storage. If it fails there is no file.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}
