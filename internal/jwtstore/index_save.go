package jwtstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// indexName is the name of the index file.
const indexName = "index"

// openIndex opens the index of a store's directory, which is the file dir/index. saves is how often
// the index was saved according to the journal: one that was saved less often is an older one. An
// index that is damaged or older is made anew. The error is for one that may be whole, and can't be
// opened now: without it the floors would be forgotten.
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
// another StateDir, or none. It does nothing if the file is not there.
func (x *Index) adopt(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	file, err := openIndexFile(path)
	if err != nil {
		return err
	}
	defer file.close()
	for after, more := "", true; more; {
		keys, values, err := file.scan(after, scanSize)
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

// open opens the file and reads its state.
func (x *Index) open(saves uint64) error {
	file, err := openIndexFile(x.path)
	if err != nil {
		return err
	}
	note, err := file.note()
	if err == nil {
		x.saved, err = decodeState(note)
	}
	if err == nil && x.saved.saves < saves {
		err = errOldIndex
	}
	if err != nil {
		_ = file.close()
		return fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	x.file, x.live = file, x.saved
	x.expiring.rest = x.saved.nextExpiry
	return nil
}

// loseLocked gives up the file and removes it: what it had is forgotten. x.mu must be held, or the
// index not be in use yet.
func (x *Index) loseLocked(err error) {
	since := ""
	if errors.Is(err, errOldIndex) {
		since = ", since it was written"
	}
	x.warn("the index is made anew from the directory and the journal: %s; it has forgotten what was "+
		"replaced within a second, and the accounts whose files were removed by hand%s", err, since)
	if x.file != nil {
		_ = x.file.close()
		x.file = nil
	}
	_ = os.RemoveAll(x.path)
	x.lost++
	x.live = indexState{seq: x.live.seq, countedAt: x.live.countedAt}
	x.expiring = expiries{}
	x.forgetSavedLocked()
	for key, e := range x.recent {
		x.live.replace(Hash{}, e)
		x.expectLocked(key, e)
	}
}

// forgetSavedLocked records that there is no file any more. x.mu must be held.
func (x *Index) forgetSavedLocked() {
	x.saved = indexState{saves: x.saved.saves}
	for key, e := range x.recent {
		e.saved = Hash{}
		x.recent[key] = e
	}
}

// flushed records that a change is in its file, under the stamp of that. Now it may be saved. It does
// nothing if that was recorded before.
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

// save writes what the file lacks, and returns when that is durable.
func (x *Index) save() error {
	x.saving.Lock()
	defer x.saving.Unlock()
	for {
		file, batch, state, err := x.batch()
		if err != nil || len(batch) == 0 {
			return err
		}
		values := make(map[string][]byte, len(batch))
		for key, e := range batch {
			values[key] = e.append(nil)
		}
		err = file.put(values, state.append(nil))
		x.recordSaved(file, batch, state, err)
		if err != nil {
			return err
		}
	}
}

// batch returns some entries that are to be saved, and the state of the file when they are. It makes
// the file if there is none.
func (x *Index) batch() (
	file *indexFile, entries map[string]indexEntry, state indexState, err error,
) {
	x.mu.Lock()
	defer x.mu.Unlock()
	entries = make(map[string]indexEntry, min(scanSize, len(x.recent)))
	if x.file != nil && !x.file.isThere() {
		x.moveLocked()
	}
	for key, e := range x.recent {
		if len(entries) == scanSize {
			break
		}
		if !e.unflushed {
			entries[key] = e
		}
	}
	if len(entries) > 0 && x.path != "" && x.file == nil {
		err = x.makeLocked()
	}
	if x.file == nil {
		return nil, nil, state, err
	}
	state = x.saved
	state.saves++
	for _, e := range entries {
		state.replace(e.saved, e)
	}
	state.countedAt, state.nextExpiry = x.live.countedAt, x.expiring.first()
	if len(entries) < len(x.recent) {
		state.nextExpiry = 1 // the file may still count what has expired, so all are counted at the start
	}
	return x.file, entries, state, nil
}

// moveLocked prepares for a new file, after the old one was removed together with its directory. What
// the old one has is kept. x.mu must be held.
func (x *Index) moveLocked() {
	for after, more := "", true; more && x.file != nil; {
		var entries []keyedEntry
		entries, more = x.nextLocked(after)
		for _, e := range entries {
			after = e.key
			x.recent[e.key] = e.indexEntry
		}
	}
	if x.file != nil {
		_ = x.file.close()
		x.file = nil
		x.forgetSavedLocked()
	}
}

// makeLocked makes a new file. What is at the path came with a copy of the directory. The directory
// above the file's is never made: it may be that of a store which has just gone. x.mu must be held.
func (x *Index) makeLocked() (err error) {
	dir := filepath.Dir(x.path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := errors.Join(os.RemoveAll(x.path), syncNames(dir)); err != nil {
		return err
	}
	x.file, err = openIndexFile(x.path)
	return err
}

// recordSaved records what became of a put. A file that is damaged is lost; the next save makes
// another.
func (x *Index) recordSaved(
	file *indexFile, entries map[string]indexEntry, state indexState, err error,
) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.file != file: // it was lost meanwhile
		return
	case errors.Is(err, errIndexDamaged):
		x.loseLocked(err)
	}
	if err != nil {
		return
	}
	x.saved = state
	for key, e := range entries {
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
