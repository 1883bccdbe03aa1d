package jwtstore

import (
	"crypto/subtle"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// indexEntries is the entries of an Index: those of its file, and those that the file lacks. It
// keeps their digest and their number of changes, and gives up a file that is damaged.
type indexEntries struct {
	path string // of the file; "" if there is none
	warn func(format string, args ...any)

	saving sync.Mutex // held by save; locked before mu

	mu     sync.Mutex            // guards what follows
	file   *indexFile            // nil: it could not be opened
	recent map[string]indexEntry // comes before what file has
	live   indexState            // of recent and file together
	saved  indexState            // of file
	lost   int                   // how often the file was lost

	changes uint64 // how often an entry was replaced
	// expiring is what leaves the digest next. counted is to take its place when Digest has
	// looked at all entries; it is nil while Digest does not.
	expiring expiries
	counted  *expiries
	sources  *sourceFilters // nil before Importers needs them
	// dirs is the stamps of the directories whose files are known, see Scan. dirsChanged says that
	// the file has others.
	dirs        map[string]Stamp
	dirsChanged bool
	saveAt      int // how many recent ones make a Swap save them
}

// indexEntry is a Version, and what is done with it. It is comparable, and is copied.
type indexEntry struct {
	Version
	counted   bool   // it is in the digest
	unflushed bool   // its JWT is not in its file yet, so that it may not be saved
	saved     Hash   // its part of the digest of the index file
	earlier   hashes // of floors that were raised since: the file may have one of them
}

// part returns what the entry is in a digest: zero if it is not counted.
func (e indexEntry) part() Hash {
	if e.counted {
		return e.Hash
	}
	return Hash{}
}

// indexState is what is known of all entries together. The file has it as its note.
type indexState struct {
	seq    uint64 // of the last change
	saves  uint64 // of the index, so far
	digest Hash
	// The digest is right from countedAt on, and until nextExpiry: the first moment at which an
	// account may leave it. Both are in Unix seconds; a nextExpiry of 0 means never. While the
	// index is in use, expiring says more.
	countedAt, nextExpiry int64
}

// replace brings the state up to date when an entry takes the place of one that was this part of
// the digest. The digest is the XOR of all parts, so their order does not matter.
func (s *indexState) replace(old Hash, e indexEntry) {
	s.seq = max(s.seq, e.Seq)
	part := e.part()
	subtle.XORBytes(s.digest[:], s.digest[:], old[:])
	subtle.XORBytes(s.digest[:], s.digest[:], part[:])
}

// keyedEntry is an entry with its key.
type keyedEntry struct {
	key string
	indexEntry
}

// scanSize is how many entries of the file are read at a time.
const scanSize = 1000

// getLocked returns the entry of a key. x.mu must be held. It may read a block of the file. The
// zero entry is that of an unknown account.
func (x *indexEntries) getLocked(key string) indexEntry {
	if e, ok := x.recent[key]; ok || x.file == nil {
		return e
	}
	value, err := x.file.get(key)
	if value == nil && err == nil {
		return indexEntry{}
	}
	return x.decodeLocked(value, err)
}

// decodeLocked decodes a value of the file. If that or reading it fails the file is lost. x.mu must
// be held.
func (x *indexEntries) decodeLocked(value []byte, err error) (e indexEntry) {
	if err == nil {
		e, err = decodeEntry(value)
	}
	if err != nil {
		x.loseLocked(err)
		return indexEntry{}
	}
	e.saved = e.part()
	return e
}

// setLocked replaces an entry. x.mu must be held. A version that has expired leaves the digest when
// that is next asked for. had is the entry that is there now.
func (x *indexEntries) setLocked(key string, had, e indexEntry) {
	e.counted = e.Servable
	x.putLocked(key, had, e)
}

// putLocked replaces an entry, which is counted in the digest or not. x.mu must be held.
func (x *indexEntries) putLocked(key string, had, e indexEntry) {
	e.saved, e.earlier = had.saved, had.earlier
	isRaised := had.Floor != (Floor{}) && had.Floor.Hash != e.Floor.Hash
	if isRaised && !e.unflushed && e.earlier.count() < maxFollows {
		e.earlier = e.earlier.with(had.Floor.Hash)
	}
	x.changes++
	x.live.replace(had.part(), e)
	if had.counted {
		x.expiring.remove(expiry{had.Expires, key})
	}
	x.expectLocked(key, e)
	if x.sources != nil {
		x.sources.add(key, e.Summary)
	}
	x.recent[key] = e
}

// expectLocked records when an entry expires. x.mu must be held.
func (x *indexEntries) expectLocked(key string, e indexEntry) {
	if !e.counted {
		return
	}
	x.expiring.add(expiry{e.Expires, key})
	if x.counted != nil {
		x.counted.add(expiry{e.Expires, key})
	}
}

// eachPart calls do with all entries, by key and some at a time. x.mu is held during each call, so
// that do may change these entries; between two calls other goroutines may change any.
func (x *indexEntries) eachPart(do func(part []keyedEntry)) {
	for after, more := "", true; more; {
		var part []keyedEntry
		x.mu.Lock()
		part, after, more = x.nextLocked(after, filter{})
		do(part)
		x.mu.Unlock()
	}
}

// nextLocked returns the entries that follow a key, by key, up to a last key, and whether there may
// be more. Those of the file are left out whose values are not wanted. x.mu must be held.
func (x *indexEntries) nextLocked(
	after string, want filter,
) (entries []keyedEntry, last string, more bool) {
	after = max(after, directoriesKey) // which is no entry
	var keys []string
	if x.file != nil {
		var values [][]byte
		var err error
		if keys, values, err = x.file.scan(after, scanSize, want); err != nil {
			x.loseLocked(err)
		}
		if want.value == nil {
			entries = make([]keyedEntry, 0, len(keys))
		}
		for i, key := range keys {
			if _, isRecent := x.recent[key]; !isRecent && values[i] != nil {
				entries = append(entries, keyedEntry{key, x.decodeLocked(values[i], nil)})
			}
			if x.file == nil { // it is lost, and what was read from it as well
				return x.nextLocked(after, want)
			}
		}
	}
	if more = len(keys) == scanSize; more {
		last = keys[len(keys)-1]
	}
	for key, e := range x.recent {
		if key > after && (!more || key <= last) {
			entries = append(entries, keyedEntry{key, e})
		}
	}
	slices.SortFunc(entries, func(a, b keyedEntry) int { return strings.Compare(a.key, b.key) })
	return entries, last, more
}

// loseLocked gives up the file and removes it: what it had is forgotten. x.mu must be held, or the
// index not be in use yet. The review of what is stored fills it again.
func (x *indexEntries) loseLocked(err error) {
	since := ""
	if errors.Is(err, errOldIndex) {
		since = ", since it was written"
	}
	x.warn("the index is made anew from the directory and the journal: %s; it has forgotten what "+
		"was replaced within a second, and the accounts whose files were removed by hand%s",
		err, since)
	if x.file != nil {
		_ = x.file.close()
		x.file = nil
	}
	_ = os.RemoveAll(x.path)
	x.lost++
	x.live = indexState{seq: x.live.seq, countedAt: x.live.countedAt}
	x.expiring, x.dirs, x.dirsChanged = expiries{}, nil, false
	x.forgetSavedLocked()
	for key, e := range x.recent {
		x.live.replace(Hash{}, e)
		x.expectLocked(key, e)
	}
}

// forgetSavedLocked records that there is no file any more. x.mu must be held.
func (x *indexEntries) forgetSavedLocked() {
	x.saved = indexState{saves: x.saved.saves}
	for key, e := range x.recent {
		e.saved = Hash{}
		x.recent[key] = e
	}
}

// moveLocked prepares for a new file, after the old one was removed together with its directory.
// What the old one has is kept. x.mu must be held.
func (x *indexEntries) moveLocked() {
	for after, more := "", true; more && x.file != nil; {
		var entries []keyedEntry
		entries, after, more = x.nextLocked(after, filter{})
		for _, e := range entries {
			x.recent[e.key] = e.indexEntry
		}
	}
	if x.file != nil {
		_ = x.file.close()
		x.file, x.dirsChanged = nil, len(x.dirs) > 0
		x.forgetSavedLocked()
	}
}

// makeLocked makes a new file. What is at the path came with a copy of the directory. The directory
// above the file's is never made: it may be that of a store which has just gone. x.mu must be held.
func (x *indexEntries) makeLocked() (err error) {
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
