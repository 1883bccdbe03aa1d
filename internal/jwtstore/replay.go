package jwtstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// replayed is what a journal file says. It is what OpenDir begins with. Without a journal all of it
// is empty.
//
// readJournal fills it, newDir takes its parts over, and it is not used after that. One goroutine
// uses it.
type replayed struct {
	generation uint64
	mark       uint64 // up to here everything is in its file
	saves      uint64 // how often the index was saved, at least
	outbox     *outboxState
	unflushed  *unflushed
	changes    uint32 // that were found in the file
	// damage is what was skipped, for the log. Acknowledged changes may be among it.
	damage []string
}

// readJournal replays the journal of an earlier process. Without one, nothing has happened. The
// file may be in use by a server that goes on writing to it. It needs no lock, and may read a part
// of the last record then. An error is one of the system, or of a newer format.
func readJournal(path string) (*replayed, error) {
	f, err := openFile(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return replay(nil)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return nil, err
	}
	// A process that was killed may have written records without a sync, and readers see them from
	// now on. If this fails they are durable when their files are.
	_ = syncData(f)
	s, err := replay(data)
	// A journal is renamed to its name when it is whole, so this program leaves no empty one.
	if err == nil && len(data) == 0 {
		s.damage = append(s.damage, "it is empty")
	}
	return s, err
}

// openJournal is readJournal for the store itself. Damage is no error: a store with a damaged
// journal serves all that can be read.
func openJournal(path string, warn func(format string, args ...any)) (*replayed, error) {
	found, err := readJournal(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(found.damage) > 0 {
		warn("the journal %s is damaged: %s; everything else in it is used",
			path, strings.Join(found.damage, ", "))
	}
	return found, nil
}

// readAll reads a file, in room that has its size at once. The journal of a million pending changes
// has some 75 MB.
func readAll(f *os.File) ([]byte, error) {
	var b bytes.Buffer
	if info, err := f.Stat(); err == nil {
		b.Grow(int(info.Size()) + bytes.MinRead)
	}
	_, err := b.ReadFrom(f)
	return b.Bytes(), err
}

// replay reads a journal file. After damage it goes on at the next multiple of 8 at which a record
// is. So one bad record does not take the later ones with it. What is torn at the end is no damage
// as such: a crash leaves that, and no client was told that it is stored. But if fewer changes are
// there than were durable, acknowledged ones are missing. data may be empty. An error is that of a
// newer format only.
//
// The order: the head says which generation counts, all records are applied, and the count in the
// head is compared with what was found. Flushed changes go at the end, because a mark may come
// after the records that it is about.
func replay(data []byte) (*replayed, error) {
	version, generation, whole := parseFileHead(data)
	if whole && version > formatVersion {
		return nil, fmt.Errorf("the journal has format %d, this program knows %d",
			version, formatVersion)
	}
	s := &replayed{
		generation: generation,
		outbox:     newOutboxState(),
		unflushed:  newUnflushed(),
	}
	if !whole && len(data) > 0 {
		for r := range records(data) {
			// Records of earlier files may be among the data. A generation is higher than the one
			// before, so the highest is that of the file.
			s.generation = max(s.generation, r.generation) // stands in for what the head said
		}
		s.damage = append(s.damage, "its head is damaged")
	}
	s.scan(data)
	if whole { // a damaged head has no count that can be relied on
		s.compareCount(parseCount(data, generation))
	}
	// From here on no body is a part of data, so that memory is free again.
	s.unflushed.endReplay(s.mark)
	return s, nil
}

// records yields the whole records of data and where they start. The body of a record is a part of
// data. It skips what is no record, byte by byte up to the next magic. What it skipped is for the
// caller to notice: the next start is behind the end of the record before.
func records(data []byte) iter.Seq2[*record, int] {
	return func(yield func(*record, int) bool) {
		for at := 0; at < len(data); {
			next := bytes.Index(data[at:], []byte(magic))
			if next < 0 {
				return
			}
			// A magic at another place is a part of a body, or damaged.
			at = min((at+next+7)&^7, len(data)) // a record starts at a multiple of 8
			parsed, ok := parseRecord(data[at:])
			if !ok {
				at += 8
				continue
			}
			r, start := parsed, at // only what is yielded is on the heap
			// The body is passed over, so that a JWT which has the magic in it is no record.
			at += r.size()
			if !yield(&r, start) {
				return
			}
		}
	}
}

// scan applies every record of the file. Records of other generations are of a file that had these
// blocks before. The zeros behind the last record are room that was reserved.
//
// Damage is noted with its offset and its size in bytes, counted from the beginning of the file. It
// ends nothing: later records are applied all the same.
func (s *replayed) scan(data []byte) {
	end := fileHead
	seen := false
	for r, at := range records(data) {
		if r.generation != s.generation {
			continue
		}
		if at > end {
			s.damage = append(s.damage,
				fmt.Sprintf("%d bytes at offset %d are damaged", at-end, end))
		}
		// A file begins with a snapshot, see journal.checkpointLocked. Without it the outbox begins
		// empty, and later records are used.
		if !seen && r.kind != kindSnapshot {
			s.damage = append(s.damage, "what was known at its beginning is lost")
		}
		seen, end = true, at+r.size()
		s.apply(r)
	}
	if !seen && bytes.ContainsFunc(data, func(c rune) bool { return c != 0 }) {
		s.damage = append(s.damage, "nothing in it can be read")
	}
}

// apply applies a whole record. A kind that this program does not know is left out. A later program
// may have written other kinds. The order of the file is that of the commits, so that a later
// record replaces what an earlier one said. r.body is a part of the file's bytes.
func (s *replayed) apply(r *record) {
	if r.kind == kindSnapshot || r.kind == kindMark {
		d := decoder{rest: r.version}
		// Records of an earlier format have no number here, which reads as 0.
		s.saves = max(s.saves, d.uvarint())
	}
	switch r.kind {
	case kindSnapshot:
		s.restore(r.body)
	case kindPut, kindDelete, kindTouch:
		s.changes++
		s.applyChange(r)
	case kindMark:
		s.mark = max(s.mark, r.seq)
	case kindEvents:
		s.outbox.replay(r.body)
	}
}

// applyChange applies a change. Of an account only later ones count. A snapshot is followed by
// changes that its outbox knows already. A record whose key is no name is left out without a word:
// this program has not written it.
func (s *replayed) applyChange(r *record) {
	if !IsName(r.key) || len(r.body) > maxJWT {
		return
	}
	if before := s.unflushed.latest[r.key]; before == nil || before.seq < r.seq {
		s.unflushed.applyLocked(r)
	}
	// What the snapshot knows may be acknowledged already, and would be pending once more.
	if r.seq > s.outbox.last {
		s.outbox.committed(r)
	}
}

// restore applies a snapshot: the mark and the outbox. The mark is the first number of the body.
// After damage the outbox stays what it was, which is empty at the beginning of a file.
func (s *replayed) restore(body []byte) {
	d := decoder{rest: body}
	mark := d.uvarint()
	outbox, err := restoreOutbox(d.rest)
	if d.bad || err != nil {
		s.damage = append(s.damage, "the outbox is damaged")
		return
	}
	s.mark, s.outbox = mark, outbox
}

// replay makes what a crash left in the journal part of the index. It compares as every other way
// in does, with the index and with the files: the journal may be an earlier one that was restored.
// Sequence numbers say nothing, since they may have begun anew. An older version comes after a
// newer one only if it was allowed to follow that one. A newer file that was put there since is
// neither overwritten nor removed.
//
// superseded are the Puts in whose place a newer file is. It is called before any Put.
//
// The records come in the order of their numbers, and an account may have two: a tombstone and a
// later Put. Each is compared with what the index had before the first of them. Otherwise the
// second would be compared with the first, and not with what came from elsewhere. Nothing is
// written to the index file here: the flush saves it.
func (d *Dir) replay() (superseded []*record) {
	before := make(map[string]Version) // what the index had of each account
	for _, r := range d.unflushed.all() {
		known, ok := before[r.key]
		if !ok {
			known = d.index.Get(r.key)
			before[r.key] = known
		}
		if known.supersedes(r) || d.isBarred(r, known) {
			// The change is not served any more, but for the tombstone of a Delete. The journal
			// still has it, so the next start decides again after a crash.
			d.unflushed.leave(r)
			continue
		}
		// The index may know a higher number from before the journal was restored, and commit would
		// take the record for an earlier change.
		d.index.forgetSeq(r.key)
		r.floor = d.index.Get(r.key).Floor
		d.index.commit(r)
		// The file must be durable before the record counts as superseded: a power cut could take
		// both otherwise.
		if newer := d.flusher.newerFile(r); newer != "" && makeDurable(newer) == nil {
			d.flusher.supersede(r, newer)
			if r.kind == kindPut {
				superseded = append(superseded, r)
			}
		}
	}
	return superseded
}

// isBarred reports whether a tombstone in the directory bars a Put of the journal. The owner of
// another directory may have brought back what was deleted. A tombstone that can't be read bars
// nothing, so the Put is served then.
func (d *Dir) isBarred(r *record, known Version) bool {
	isBroughtBack := known.Floor != Floor{} && r.mayFollow(known.Floor.Hash)
	if r.kind != kindPut || d.directory.newer == nil || isBroughtBack {
		return false
	}
	tombstone, err := d.fileTombstone(d.directory.readers, r.key)
	return err == nil && tombstone != nil && !d.directory.newer(r.key, r.body, tombstone)
}

// compareCount records as damage that fewer changes were found than are durable.
func (s *replayed) compareCount(count uint32) {
	if s.changes < count {
		s.damage = append(s.damage, fmt.Sprintf("%d acknowledged changes or more are missing: "+
			"push the latest JWTs again, or copy their files into the directory", count-s.changes))
	}
}

// Journaled returns the changes of the store in dir that are in its journal only, by the name of
// the account or token: the JWT that is stored, nil if it was removed. It is for programs that read
// the files of a store, also of one that a server has open or has left in a crash. It changes
// nothing. A file that is there counts only if its name is not among them. Without a journal the
// map is empty. The bytes are the caller's own.
func Journaled(dir string) (map[string][]byte, error) {
	found, err := readJournal(filepath.Join(dir, journalDir, journalName))
	if err != nil {
		return nil, err
	}
	changes := map[string][]byte{}
	for name, r := range found.unflushed.latest {
		changes[name] = nil
		if r.kind == kindPut {
			changes[name] = bytes.Clone(r.body)
		}
	}
	return changes, nil
}
