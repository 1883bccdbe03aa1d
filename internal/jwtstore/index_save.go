package jwtstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// indexName is the name of the index file.
const indexName = "index"

// openIndex opens the index of a store's directory, which is the file dir/index. saves is how often
// the index was saved according to the journal: one that was saved less often is an older one. An
// index that is damaged or older is made anew. The error is for one that may be whole, and can't be
// opened now: without it the floors would be forgotten. The caller closes it.
func openIndex(
	dir string, saves uint64, wake chan struct{}, warn func(format string, args ...any),
) (*Index, error) {
	x := newIndex()
	x.path, x.wake, x.warn = filepath.Join(dir, indexName), wake, warn
	_, err := os.Lstat(x.path)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		err = x.open(saves)
	case saves == 0:
		return x, nil // there never was one
	}
	x.saved.saves = max(x.saved.saves, saves)
	switch {
	case errors.Is(err, errOldIndex): // its floors have been accepted, whatever came later
		old := x.path + ".old"
		if os.Rename(x.path, old) == nil {
			defer func() { _ = x.adopt(old) }() // one that can't be read is made anew
		}
		x.loseLocked(err)
	case errors.Is(err, errIndexDamaged) || errors.Is(err, fs.ErrNotExist):
		x.loseLocked(err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", x.path, err)
	}
	return x, nil
}

// adopt takes the floors of another index file, and removes it: for some time the configuration had
// another StateDir, or none. It does nothing if the file is not there. With an error some floors
// may have been taken, which does no harm.
func (x *Index) adopt(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	file, err := openIndexFile(path)
	if err != nil {
		return err
	}
	defer file.close()
	for after, more := directoriesKey, true; more; {
		keys, values, err := file.scan(after, scanSize, filter{})
		more = len(keys) == scanSize
		for i := 0; i < len(keys) && err == nil; i++ {
			after = keys[i]
			err = x.adoptFloor(keys[i], values[i])
		}
		if err != nil {
			return err
		}
	}
	if err := x.save(); err != nil {
		return err
	}
	_ = file.close()
	return removeFile(path)
}

// adoptFloor raises the floor of an account by that of an entry of another index.
func (x *Index) adoptFloor(key string, entry []byte) error {
	other, err := decodeEntry(entry)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	had := x.getLocked(key)
	e := had
	if e.Floor = had.Floor.join(other.Floor); e.Floor != had.Floor {
		x.setLocked(key, had, e)
	}
	return nil
}

// errOldIndex is why an index is not used that was saved less often than the journal says.
var errOldIndex = errors.New("it is older than the journal")

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

// append appends the state to b: numbers as varints and the digest.
func (s indexState) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, s.seq), s.saves)
	b = binary.AppendVarint(binary.AppendVarint(b, s.countedAt), s.nextExpiry)
	return append(b, s.digest[:]...)
}

// decodeState is the inverse of append. A file without a state is new.
func decodeState(b []byte) (s indexState, err error) {
	if b == nil {
		return s, nil
	}
	d := decoder{rest: b}
	s.seq, s.saves = d.uvarint(), d.uvarint()
	s.countedAt, s.nextExpiry = d.varint(), d.varint()
	s.digest = Hash(d.bytes(len(s.digest)))
	if d.bad || len(d.rest) > 0 {
		return indexState{}, errNoVersion
	}
	return s, nil
}
