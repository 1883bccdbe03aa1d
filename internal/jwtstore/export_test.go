package jwtstore

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

// Path and Key map a key to its path and back; Path returns "" for what has no file.
func Path(shard bool, key string) string {
	if !IsName(key) {
		return ""
	}
	return layout{sharded: shard}.path("", key)
}

// TombstonePath is Path for the tombstone.
func TombstonePath(shard bool, key string) string {
	return layout{sharded: shard}.tombstone("", key)
}

func Key(shard bool, path string) (string, bool) { return layout{sharded: shard}.name(path) }

// RenameIn and RemoveIn rename and remove in an open directory.
var (
	RenameIn = renameIn
	RemoveIn = removeIn
)

// JournalOf returns a journal file with these puts, one after the other, and where each of them
// ends.
func JournalOf(keys []string, jwt []byte) (data []byte, ends []int) {
	var events []Event
	for _, key := range keys {
		events = append(events, Event{Key: key, JWT: string(jwt)})
	}
	return JournalOfEvents(events...)
}

// Event is a Put of a JWT, a Delete with a tombstone, a Touch of a key alone, or the mark alone.
type Event struct {
	Key, JWT, Tombstone string
	Mark                uint64
}

func (e Event) record(seq uint64) *record {
	switch {
	case e.JWT != "":
		return &record{kind: kindPut, seq: seq, key: e.Key, origin: "test", body: []byte(e.JWT)}
	case e.Tombstone != "":
		return &record{kind: kindDelete, seq: seq, key: e.Key, origin: "test",
			body: []byte(e.Tombstone)}
	case e.Key != "":
		return &record{kind: kindTouch, seq: seq, key: e.Key, origin: "test"}
	}
	return &record{kind: kindMark, seq: e.Mark}
}

// JournalOfEvents returns a journal file with these events, numbered from 1, and where each of them
// ends.
func JournalOfEvents(events ...Event) (data []byte, ends []int) {
	data = appendFileHead(nil, 3, 0)
	records := []*record{{kind: kindSnapshot, body: emptySnapshot()}}
	for i, e := range events {
		records = append(records, e.record(uint64(i+1)))
	}
	for i, r := range records {
		r.at = time.Unix(1, 0)
		data = r.append(data, 3)
		if i > 0 {
			ends = append(ends, len(data))
		}
	}
	return data, ends
}

// JournalOfVersion returns an empty journal file of a later format.
func JournalOfVersion(version byte) []byte {
	head := appendFileHead(nil, 1, 0)
	head[8] = version
	binary.LittleEndian.PutUint32(head[12:], headSum(head))
	return head
}

// Replay returns the puts in a journal file by key, and what is said about damage.
func Replay(data []byte) (puts map[string][]byte, pending []Change, complaint string, err error) {
	puts = map[string][]byte{}
	events, pending, complaint, err := ReplayEvents(data)
	for _, e := range events {
		puts[e.Key] = []byte(e.JWT)
	}
	return puts, pending, complaint, err
}

// ReplayEvents is Replay with the deletes, in the order in which they are to be carried out.
func ReplayEvents(data []byte) (events []Event, pending []Change, complaint string, err error) {
	r, err := replay(bytes.Clone(data))
	if err != nil {
		return nil, nil, "", err
	}
	for _, c := range r.unflushed.all() {
		e := Event{Key: c.key, JWT: string(c.body)}
		if c.kind == kindDelete {
			e = Event{Key: c.key, Tombstone: string(c.body)}
		}
		events = append(events, e)
	}
	return events, newOutbox(r.outbox, false, nil).Pending(), strings.Join(r.damage, ", "), nil
}

// BreakJournal lets the next append go to f.
func (d *Dir) BreakJournal(f *os.File) {
	d.journal.token <- struct{}{}
	defer func() { <-d.journal.token }()
	d.journal.file.Close()
	d.journal.file = f
}

// Unflushed is how many JWTs and tombstones are committed whose files are not written.
func (d *Dir) Unflushed() int { return len(d.unflushed.all()) }

// Flush writes the files of what is unflushed, at once.
func (d *Dir) Flush() { _, _ = d.flusher.flush(nil) }

// HoldFiles calls f while nothing is flushed.
func (d *Dir) HoldFiles(f func()) {
	d.flusher.flushing.Lock()
	defer d.flusher.flushing.Unlock()
	f()
}

// SetMaxUnflushed bounds the bytes that are unflushed, before the first Put.
func (d *Dir) SetMaxUnflushed(n int64) { d.unflushed.room = semaphore.NewWeighted(n) }

// emptySnapshot is the body of a snapshot of a store in which nothing has happened.
func emptySnapshot() []byte {
	return newOutboxState().append(binary.AppendUvarint(nil, 0))
}

// NewIndex returns an empty index without a store.
func NewIndex() *Index { return newIndex() }

// Commit records a change of an account: a Put of what v says, or a Delete if v has no hash.
func (x *Index) Commit(key string, v Version) {
	r := &record{kind: kindDelete, key: key, seq: v.Seq}
	if v.Hash != (Hash{}) {
		r.kind, r.version = kindPut, indexEntry{Version: v}.append(nil)
	}
	x.commit(r)
}

// MaxServers is how many servers an outbox knows at most.
const MaxServers = maxServers

// The tests have the gaps between pending changes closed often.
func init() { maxGaps = 8 }

// NewOutbox returns an outbox without a store.
func NewOutbox() *Outbox { return newOutbox(newOutboxState(), true, nil) }

// Commit is a Put of key.
func (o *Outbox) Commit(seq uint64, key string) {
	o.commit(&record{kind: kindPut, seq: seq, key: key, at: time.Unix(int64(seq), 0)})
}

// Delete is a Delete of key.
func (o *Outbox) Delete(seq uint64, key string) {
	o.commit(&record{kind: kindDelete, seq: seq, key: key})
}

// Reload writes a snapshot of the outbox and reads it.
func (o *Outbox) Reload() (*Outbox, error) {
	s, err := restoreOutbox(o.Snapshot())
	return newOutbox(s, true, nil), err
}

// RestoreOutbox returns how many changes are pending in a snapshot.
func RestoreOutbox(snapshot []byte) (changes int, err error) {
	s, err := restoreOutbox(snapshot)
	if err != nil {
		return 0, err
	}
	return s.pending.count(), nil
}

// Reading is how many files are being read, and how many may be.
func (d *Dir) Reading() (n, max int) {
	reads := d.directory.readers.reads
	return len(reads), cap(reads)
}

// OpenIndex opens the index in a directory without a store.
func OpenIndex(dir string, warn func(format string, args ...any)) (*Index, error) {
	return openIndex(dir, 0, make(chan struct{}, 1), warn)
}

// Save writes what the file lacks.
func (x *Index) Save() error { return x.save() }

// Batch looks for what the file lacks, and writes nothing.
func (x *Index) Batch() (entries int, err error) {
	b, err := x.batch()
	return len(b.entries), err
}

// Close ends the use of the file.
func (x *Index) Close() { x.close() }

// Checkpoint begins a new journal.
func (d *Dir) Checkpoint() {
	d.journal.token <- struct{}{}
	defer func() { <-d.journal.token }()
	_ = d.journal.checkpointLocked()
}

// IsBusy reports whether files wait for commits that have come within a time.
func IsBusy(commits uint64, spent, elapsed time.Duration) bool {
	return pace{commits, spent, time.Unix(0, 0).Add(elapsed)}.isBusySince(pace{at: time.Unix(0, 0)})
}

// SetSyncFileSystem replaces the sync of a file system until the function that it returns is called.
func SetSyncFileSystem(do func(dir *os.File) error) (undo func()) {
	sync, can := syncFileSystem, canSyncFileSystem
	syncFileSystem = do
	canSyncFileSystem = func(*os.File) bool { return true }
	return func() { syncFileSystem, canSyncFileSystem = sync, can }
}

// SetRacyDirectory sets how long after a change the times of a directory may not tell the next one.
func SetRacyDirectory(window time.Duration) (before time.Duration) {
	before, racyDirectory = racyDirectory, window
	return before
}

// Directories returns the stamps of the directories whose files are known.
func (x *Index) Directories() map[string]Stamp { return x.directories() }

// SetDirectories replaces them.
func (x *Index) SetDirectories(known map[string]Stamp) { x.setDirectories(known) }

// SaveSome writes one batch.
func (x *Index) SaveSome() error {
	b, err := x.batch()
	if err == nil {
		err = b.file.put(b.values(), b.state.append(nil))
		x.recordSaved(b, err)
	}
	return err
}

// Unsaved returns how many versions the file lacks.
func (x *Index) Unsaved() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.recent)
}

// Snapshot returns a snapshot of the outbox.
func (o *Outbox) Snapshot() []byte {
	snapshot, _ := o.appendSnapshot(nil)
	return snapshot
}
