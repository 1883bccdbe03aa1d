package jwtstore

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	journalDir  = ".journal"
	cursorName  = "kv-cursor"
	journalName = "journal"
	nextName    = "journal.next" // a checkpoint, until it is whole

	minCheckpointSize = 1 << 20   // bytes; a smaller journal is not worth a checkpoint
	zeroChunk         = 256 << 10 // bytes that are zeroed ahead of the end
)

var zeros [zeroChunk]byte

// journal is the file that commits are appended to.
//
//	<dir>/.journal/journal
//	┌──────┬──────────┬───────────────┬─────┬─────┬──────┬─────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//	│ head │ snapshot │ unflushed put │ put │ put │ mark │ put │ zeros, written ahead
//	└──────┴──────────┴───────────────┴─────┴─────┴──────┴─────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//	  what was known when the file      what came since          ^ end              ^ zeroed
//	  was begun
//
// What is said of a put goes for a delete too. A mark says up to which change everything is in its
// file.
//
// A checkpoint begins a file: all that is known goes into a new file, which then takes the old
// one's name. So there is one whole journal at any moment, also for a copy of the directory. A
// checkpoint is made
//
//   - when the first record is written after a start: nothing is appended to the file of an
//     earlier process;
//   - when the file has become large;
//   - when a sync failed: then it is not known what of the file is on the disk;
//   - when the file is not at its path any more, because it was removed, or a copy has taken the
//     directory's place, or the lock is not, so that another process may have begun to use the
//     directory.
//
// The zeros make an append overwrite blocks that the file has. So a sync writes data only, and does
// not wait for the file system's own journal.
//
// An embedded database would do as well for one client at a time, but syncs two pages for each
// commit that shares nothing, and would be a file that has to be emptied at each stop. This is one
// record and one sync.
//
// Commits wait in a queue. The first that gets the commit token writes and syncs for all that have
// queued up by then.
type journal struct {
	dir       string    // <dir>/.journal
	presence  *presence // of <dir>
	lock      *dirLock
	outbox    *Outbox    // numbers the changes; a checkpoint has its snapshot
	unflushed *unflushed // gets what is committed; a checkpoint has its records
	// committed is Options.Committed.
	committed func(changes int, took time.Duration)
	fault     commitFault
	spent     atomic.Int64 // ns that all commits have taken
	index     *Index       // gets what is committed
	stateDirs []string     // that are to be named beside the journal

	preparing sync.Mutex   // held by prepare; guards names
	names     durableNames // dir, once its name and those of its parents are durable

	queueMu sync.Mutex
	queue   []*record // changes that wait for their group, guarded by queueMu

	// token is of capacity 1. The holder of the commit token, which has put something in, may use
	// what follows.
	token      chan struct{}
	buffer     []byte      // to be used again for the next records
	file       *os.File    // nil before the first record
	info       os.FileInfo // of file, to notice that it was removed
	generation uint64      // of file, or of what an earlier process left
	count      uint32      // durable changes in file
	known      int64       // the size of the snapshot at its beginning
	end        int64       // where the next record goes
	zeroed     int64       // the file's size
	limit      int64       // when end passes it a checkpoint is due
	stale      bool        // records are missing for what memory has: a checkpoint is due
	closed     bool        // nothing is committed any more
	broken     bool        // it is not known what of file is on the disk: nothing may be appended
}

// path returns where the file is.
func (j *journal) path() string { return filepath.Join(j.dir, journalName) }

// commit appends a change and returns its sequence number once it is on stable storage and visible.
// It can't be called off. r belongs to the journal from now on. An error means that the change is
// not in it.
func (j *journal) commit(r *record) (seq uint64, err error) {
	r.done = make(chan struct{})
	j.queueMu.Lock()
	j.queue = append(j.queue, r)
	j.queueMu.Unlock()
	select {
	case <-r.done:
	case j.token <- struct{}{}:
		select {
		case <-r.done: // by the holder of the token before
		default:
			j.commitGroupLocked()
		}
		<-j.token
	}
	if <-r.done; r.err != nil {
		return 0, r.err
	}
	return r.seq, nil
}

// commitGroupLocked commits everything that is queued. The caller must hold the commit token.
//
// The journal is made ready before the records are: what a checkpoint says must not be said again.
// The events go before the changes: what was acknowledged is older than what is committed now.
//
// The order after the sync: the count in the head, then what readers see, then index and outbox,
// and the clients last. A crash before the sync may keep or lose the group, and no client was
// answered. A crash after it keeps the group: the next start replays it.
func (j *journal) commitGroupLocked() {
	began, err := time.Now(), ErrClosed
	if !j.closed {
		err = j.readyLocked()
	}
	j.queueMu.Lock()
	// Changes that came while the journal was made ready are in the group too.
	changes := j.queue
	j.queue = nil
	j.queueMu.Unlock()
	j.outbox.number(time.Now(), changes)
	events := j.outbox.unsaved()
	if err == nil {
		err = j.appendLocked(append(eventRecords(events), changes...), true)
	}
	if err == nil {
		j.countLocked(len(changes))
		// Readers see a change before the outbox has it: what is announced for a change is never
		// the JWT before it.
		j.unflushed.apply(changes)
		j.outbox.recordSaved(len(events))
		for _, r := range changes {
			j.index.commit(r)
			j.outbox.commit(r)
		}
	}
	j.reportLocked(len(changes), time.Since(began), err)
	for _, r := range changes {
		r.err = err
		close(r.done)
	}
}

// countLocked records that n more changes of the file are durable. Where it can't be written, a
// missing end is not noticed. The caller must hold the commit token.
func (j *journal) countLocked(n int) {
	if n == 0 {
		return
	}
	j.count += uint32(n)
	_, _ = j.file.WriteAt(appendCount(nil, j.generation, j.count), countAt)
}

// reportLocked records how long a group has taken, or why it failed. A group without changes has
// only events.
func (j *journal) reportLocked(changes int, took time.Duration, err error) {
	if changes == 0 {
		return
	}
	j.spent.Add(int64(took))
	if j.fault.set(err); err == nil {
		j.committed(changes, took)
	}
}

// eventRecords returns what is to be appended for events: one record or none.
func eventRecords(events []byte) []*record {
	if len(events) == 0 {
		return nil
	}
	return []*record{{kind: kindEvents, at: time.Now(), body: events}}
}

// saveEvents writes down what was learned of nats-servers since the last commit. If it fails the
// next commit takes it along.
func (j *journal) saveEvents() {
	if len(j.outbox.unsaved()) > 0 {
		j.token <- struct{}{}
		j.commitGroupLocked()
		<-j.token
	}
}

// recordFlushed records that the files of changes are durable, and appends the mark that says so.
// The mark is not synced: a crash of this process does not lose it. If it can't be appended the
// next checkpoint has it. Until then a crash only makes a start write these files once more.
// changes must be durable in their files, and in the index, before it is called.
func (j *journal) recordFlushed(changes []*record) {
	j.token <- struct{}{}
	defer func() { <-j.token }()
	j.unflushed.recordFlushed(changes)
	// What is in its file by now needs no room in the journal, nor time at a start after a crash.
	j.limit = min(j.limit, max(minCheckpointSize, 4*(j.known+j.unflushed.size())))
	err := j.readyLocked()
	if err == nil {
		mark := &record{kind: kindMark, seq: j.markLocked(), at: time.Now(),
			version: j.savesOfIndex()}
		err = j.appendLocked([]*record{mark}, false)
	}
	j.stale = j.stale || err != nil
}

// savesOfIndex is what a mark and a snapshot say of the index.
func (j *journal) savesOfIndex() []byte { return binary.AppendUvarint(nil, j.index.saves()) }

// markLocked returns the sequence number up to which everything is in its file, or superseded by
// something later.
func (j *journal) markLocked() uint64 {
	if oldest := j.unflushed.oldest(); oldest > 0 {
		return oldest - 1
	}
	return j.outbox.lastSeq()
}

// appendLocked writes the records, and syncs them if durable. After an error they are not in the
// journal, as far as that can be had from a failing disk. It comes after a readyLocked that
// returned nil. The records are of this generation from now on.
func (j *journal) appendLocked(records []*record, durable bool) error {
	b := j.buffer[:0]
	for _, r := range records {
		b = r.append(b, j.generation)
	}
	// A buffer that has grown for one large group is not kept.
	if cap(b) <= zeroChunk {
		j.buffer = b
	}
	j.zeroAheadLocked(int64(len(b)))
	_, err := j.file.WriteAt(b, j.end)
	if err == nil && durable {
		err = syncData(j.file)
		j.broken = err != nil
	}
	if err != nil {
		// What failed must not come back after a crash. The sync may well work now.
		j.broken = j.file.Truncate(j.end) != nil || j.broken
		_ = j.file.Sync()
		j.zeroed = j.end
		return fmt.Errorf("writing the journal: %w", err)
	}
	j.end += int64(len(b))
	j.zeroed = max(j.zeroed, j.end)
	return nil
}

// zeroAheadLocked sees to it that the file has blocks for n more bytes, if they are few and the
// disk has plenty of room. Whether it works does not matter. More than zeroChunk are written
// without: a checkpoint follows soon.
func (j *journal) zeroAheadLocked(n int64) {
	if j.end+n <= j.zeroed || n > zeroChunk || spaceAt(j.dir) < 64*zeroChunk {
		return
	}
	if _, err := j.file.WriteAt(zeros[:], j.zeroed); err == nil {
		j.zeroed += zeroChunk
	}
}
