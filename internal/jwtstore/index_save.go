package jwtstore

import (
	"errors"
	"maps"
)

// flushed records that a change is in its file, under the stamp of that. Now it may be saved. It
// does nothing if that was recorded before. Until then the entry may not be saved: after a crash
// the journal has it.
func (x *Index) flushed(r *record, stamp Stamp) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.recent[r.key]
	if !ok || e.Seq != r.seq || !e.unflushed {
		return
	}
	if e.unflushed = false; r.kind == kindPut {
		e.Stamp = stamp
	}
	x.recent[r.key] = e
}

// maxUnsaved bounds the versions in memory that could be saved. A Swap which makes them more saves
// them.
const maxUnsaved = 4 * scanSize

// indexBatch is what a put writes. It has scanSize entries at most.
type indexBatch struct {
	file    *indexFile
	entries map[string]indexEntry
	dirs    map[string]Stamp // nil: the file keeps those that it has
	state   indexState       // of the file after it
}

// values returns what is put into the file.
func (b indexBatch) values() map[string][]byte {
	values := make(map[string][]byte, len(b.entries)+1)
	for key, e := range b.entries {
		values[key] = e.append(nil)
	}
	if b.dirs != nil {
		values[directoriesKey] = encodeDirectories(b.dirs)
	}
	return values
}

// save writes what the file lacks, and returns when that is durable. What comes meanwhile may be
// left to the next save. It does nothing if the index has no file, as that of a Memory.
func (x *indexEntries) save() (err error) {
	x.saving.Lock()
	defer x.saving.Unlock()
	for range x.plannedPuts() {
		b, failed := x.batch()
		if err = failed; err != nil || len(b.entries) == 0 && b.dirs == nil {
			break
		}
		err = b.file.put(b.values(), b.state.append(nil))
		x.recordSaved(b, err)
		if err != nil {
			break
		}
		if b.dirs != nil { // a scan has ended, which may have changed all entries
			b.file.tidy()
		}
	}
	if err != nil {
		x.saveLater()
	}
	return err
}

// plannedPuts returns how many puts save what there is now. x.saveAt becomes what they leave, which
// can't be saved yet, and some more.
func (x *indexEntries) plannedPuts() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	unflushed := 0
	for _, e := range x.recent {
		if e.unflushed {
			unflushed++
		}
	}
	x.saveAt = unflushed + maxUnsaved
	return (len(x.recent)-unflushed)/scanSize + 1
}

// saveLater lets as many more versions come before a Swap saves them, since that fails now.
func (x *indexEntries) saveLater() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.saveAt = len(x.recent) + maxUnsaved
}

// batch returns some entries that are to be saved. It makes the file if there is none. The
// directories come with the last entries: the file must know the files in them by then.
func (x *indexEntries) batch() (b indexBatch, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b.entries = make(map[string]indexEntry, min(scanSize, len(x.recent)))
	if x.file != nil && !x.file.isThere() {
		x.moveLocked()
	}
	for key, e := range x.recent {
		if len(b.entries) == scanSize {
			break
		}
		if !e.unflushed {
			b.entries[key] = e
		}
	}
	if x.dirsChanged && len(b.entries) < scanSize {
		b.dirs = x.dirs
	}
	if (len(b.entries) > 0 || b.dirs != nil) && x.path != "" && x.file == nil {
		err = x.makeLocked()
	}
	if x.file == nil {
		return indexBatch{}, err
	}
	b.file, b.state = x.file, x.saved
	b.state.saves++
	for _, e := range b.entries {
		b.state.replace(e.saved, e)
	}
	b.state.countedAt, b.state.nextExpiry = x.live.countedAt, x.expiring.first()
	if len(b.entries) < len(x.recent) {
		// The file may still count what has expired, so all are counted at the start.
		b.state.nextExpiry = 1
	}
	return b, nil
}

// recordSaved records what became of a put. A file that is damaged is lost; the next save makes
// another. Entries that have changed since are saved again.
func (x *indexEntries) recordSaved(b indexBatch, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.file != b.file: // it was lost meanwhile
		return
	case errors.Is(err, errIndexDamaged):
		x.loseLocked(err)
	}
	if err != nil {
		return
	}
	x.saved = b.state
	if b.dirs != nil {
		x.dirsChanged = !maps.Equal(b.dirs, x.dirs)
	}
	for key, e := range b.entries {
		now := x.recent[key]
		if now == e {
			delete(x.recent, key)
			continue
		}
		now.saved = e.part()
		x.recent[key] = now
	}
}

// saves returns how often the index was saved.
func (x *Index) saves() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.saved.saves
}

// close ends the use of the file.
func (x *Index) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.file != nil {
		_ = x.file.close()
		x.file = nil
	}
}
