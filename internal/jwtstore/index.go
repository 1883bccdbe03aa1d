package jwtstore

import (
	"iter"
	"maps"
	"strings"
	"sync"

	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// Index holds the Version of every account, deleted ones included, and their digest. It is never
// the truth about the JWTs: what the store returns counts. The store records each change that it
// commits; the caller records by Swap what it finds out otherwise.
//
//	key ──> Version        Get, Swap, All, List, Next
//	digest                 the XOR of the hashes of all servable versions that have not expired
//	source ──> importers   Importers
//
// The index of a directory is in a file. What the file lacks is in memory: the versions whose JWTs
// are not in their files yet, and what save has not written yet. An index that is lost or damaged
// is made anew, empty. Then Lost tells the caller to look at everything that is stored once more;
// what only the index knew is forgotten: what was replaced within a second, and the floors of
// accounts whose files were removed by hand.
//
// A call returns copies. Get and Swap may read a block of the file, and others wait meanwhile. An
// account that has expired leaves the digest by itself. Digest knows the next of them. It reads the
// whole file, a part at a time, when these have expired or the clock is set back. An Index may be
// used from any goroutine.
type Index struct {
	indexEntries
	wake chan struct{} // is signalled when there is something to save; nil without a file

	counting  sync.Mutex // held by Digest
	filtering sync.Mutex // held while sources is made
}

// newIndex returns an empty index without a file.
func newIndex() *Index {
	return &Index{indexEntries: indexEntries{recent: make(map[string]indexEntry)}}
}

// Get returns what is known of an account; the zero Version if that is nothing.
func (x *Index) Get(key string) Version { return x.entry(key).Version }

// entry returns what Get does, and the hashes of earlier floors that a crash may bring back.
func (x *Index) entry(key string) indexEntry {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.getLocked(key)
}

// Swap replaces the Version of an account, and reports whether it was still old. The sequence
// number stays.
func (x *Index) Swap(key string, old, new Version) bool {
	isOld, isFull := x.swap(key, old, new)
	if isFull {
		_ = x.save() // the flusher tries again, and says why it can't be saved
	} else if isOld {
		pause.Wake(x.wake)
	}
	return isOld
}

// swap is Swap. It reports too whether there is much to be saved.
func (x *Index) swap(key string, old, new Version) (isOld, isFull bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	had := x.getLocked(key)
	if had.Version != old {
		return false, false
	}
	new.Seq = max(new.Seq, old.Seq)
	x.setLocked(key, had, indexEntry{Version: new, unflushed: had.unflushed})
	return true, x.path != "" && len(x.recent) > max(x.saveAt, maxUnsaved)
}

// commit records a change that is durable. It does nothing if a later change of the account is
// known. It decodes what the journal has, and so knows the same as after a replay.
func (x *Index) commit(r *record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.live.seq = max(x.live.seq, r.seq)
	had := x.getLocked(r.key)
	e, err := decodeEntry(r.version)
	switch {
	case r.seq <= had.Seq, r.kind != kindPut && r.kind != kindDelete:
		return
	case r.kind == kindDelete && (err != nil || e.Floor == Floor{}): // format 1, or a new index
		e.Floor = had.Floor
	case err != nil:
		return // it is not indexed
	}
	if had.Floor != r.floor { // it was raised since the change was allowed
		e.Floor = had.Floor.join(e.Floor)
	}
	if e.Seq, e.unflushed = r.seq, true; r.kind == kindPut {
		e.Stamp = CommitStamp(r.seq)
	}
	x.setLocked(r.key, had, e)
}

// forgetSeq makes the next change of an account a later one, whatever its sequence number is.
func (x *Index) forgetSeq(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if had := x.getLocked(key); had.Seq > 0 {
		e := had
		e.Seq = 0
		x.setLocked(key, had, e)
	}
}

// All yields every account for which something is stored, by key, but no activation token. The
// Index may change meanwhile; what is yielded is as it was a moment ago. Some entries at a time are
// in memory.
func (x *Index) All() iter.Seq2[string, Version] { return x.List("", "") }

// List is All for the accounts whose keys begin with prefix and follow after. prefix must not begin
// with a zero byte.
func (x *Index) List(prefix, after string) iter.Seq2[string, Version] {
	return func(yield func(string, Version) bool) {
		if after < prefix {
			after = lastBefore(prefix)
		}
		for key, v := range x.each(after) {
			isShown := v.Stored() && !trust.IsActivationHash(key)
			if !strings.HasPrefix(key, prefix) || isShown && !yield(key, v) {
				return
			}
		}
	}
}

// lastBefore returns the last text before all that begin with prefix.
func lastBefore(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string([]byte{prefix[last] - 1, 0xff})
}

// Known yields everything that is known, by key: also the activation tokens and what was deleted.
// It is like All otherwise.
func (x *Index) Known() iter.Seq2[string, Version] { return x.each("") }

// Keyed is a Version with the key of its account.
type Keyed struct {
	Key string
	Version
}

// Next returns some of the accounts that follow a key, up to a last key, and whether there may be
// more. It leaves out those whose encoded entry is not wanted, without decoding it, but not all of
// these. want is asked of several entries at once first. A name stands in an encoded entry as it
// is. Next looks at some megabytes of the file at most.
func (x *Index) Next(
	after string, want func(encoded []byte) bool,
) (some []Keyed, last string, more bool) {
	x.mu.Lock()
	entries, last, more := x.nextLocked(after, filter{want, want})
	x.mu.Unlock()
	for _, e := range entries {
		if v := x.latest(e); v.Stored() && !trust.IsActivationHash(e.key) {
			some = append(some, Keyed{e.key, v})
		}
	}
	return some, last, more
}

// each yields what follows a key, also the activation tokens and what was deleted.
func (x *Index) each(after string) iter.Seq2[string, Version] {
	return func(yield func(string, Version) bool) {
		for more := true; more; {
			var entries []keyedEntry
			x.mu.Lock()
			entries, after, more = x.nextLocked(after, filter{})
			x.mu.Unlock()
			for _, e := range entries {
				if !yield(e.key, x.latest(e)) {
					return
				}
			}
		}
	}
}

// latest returns the Version of an entry that was read a moment ago.
func (x *Index) latest(e keyedEntry) Version {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now, ok := x.recent[e.key]; ok {
		return now.Version
	}
	return e.Version
}

// recheck has the caller look at everything that is stored once more. Nothing is forgotten.
func (x *Index) recheck() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lost++
}

// Changes returns a number that is another one after each change of an entry.
func (x *Index) Changes() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.changes
}

// Lost returns how often the index was lost since it was opened.
func (x *Index) Lost() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lost
}

// directories returns the stamps of the directories whose files are known, by name.
func (x *Index) directories() map[string]Stamp {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.dirs)
}

// IsFilled reports whether a Scan has seen the whole store, in this process or an earlier one. What
// the index does not know was put into the store since.
func (x *Index) IsFilled() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.dirs) > 0
}

// setDirectories replaces the stamps.
func (x *Index) setDirectories(known map[string]Stamp) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !maps.Equal(known, x.dirs) {
		x.dirs, x.dirsChanged = known, true
		pause.Wake(x.wake)
	}
}
