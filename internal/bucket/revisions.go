package bucket

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"nats-account-server/internal/jwtstore"
)

// revisions is which revisions of the bucket this server has applied: everything up to the cursor,
// and what it knows of single keys.
//
// With of and the cursor an older revision never replaces a newer one, whichever of commit, session
// and settle is first. Only the goroutine of Serve calls move, set, setCompared, forget and save.
type revisions struct {
	path string // of the cursor's file
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	cursor  cursor
	saved   cursor    // what the file has
	savedAt time.Time // when it was written
	// of has what was applied of each key beyond the cursor, and of some keys before it.
	of map[string]uint64
	// compared is up to where a comparison of all keys has come, which counts as the cursor does
	// here. It is not in the file.
	compared uint64
	// limit is how many keys of has when those are looked for that it need not have.
	limit int
}

// maxRevisions is the least limit. So many keys are looked through at once, and not again before
// there are twice as many as are left.
const maxRevisions = 20000

// openRevisions reads the cursor of the store's directory. The file is <dir>/.journal/kv-cursor. A
// damaged one is logged, and is like none.
func openRevisions(dir string, log *slog.Logger) *revisions {
	r := &revisions{path: jwtstore.CursorPath(dir), log: log, of: map[string]uint64{},
		limit: maxRevisions}
	var err error
	if r.cursor, err = readCursor(r.path); err != nil {
		log.Warn(err.Error())
	}
	r.saved = r.cursor
	return r
}

// last returns the last revision of a key that is known to be applied; 0: none is. 0 does not say
// that none is applied: one up to the cursor may have been forgotten.
func (r *revisions) last(key string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[key]
}

// has reports whether a revision of a key, or a later one, is applied. Up to the cursor this is so
// for all keys, also for one of which this server has refused the revision.
func (r *revisions) has(key string, seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return seq <= max(r.of[key], r.cursor.Seq, r.compared)
}

// begin records that a revision is applied now, and reports whether it is later than what was
// applied before; with again it may be the same. The lock of the key in the directory must be held.
// undo takes that back.
//
// begin is called before the value is stored. A revision that the policy then refuses stays
// recorded. undo is for one that could not be stored, may be called without any lock of the
// directory, and leaves alone what was recorded since. It is never nil.
func (r *revisions) begin(key string, seq uint64, again bool) (undo func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	had, wasKnown := r.of[key]
	if seq < had || seq == had && !again {
		return func() {}, false
	}
	if len(r.of) >= r.limit {
		r.forgetLocked()
	}
	r.of[key] = seq
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.of[key] != seq {
			return
		}
		if r.of[key] = had; !wasKnown {
			delete(r.of, key)
		}
	}, true
}

// forgetLocked forgets what the cursor says as well. If that is little, it is not tried again soon.
// r.mu must be held. A key of which nothing is recorded has no applied revision beyond the cursor
// and compared.
func (r *revisions) forgetLocked() {
	known := max(r.cursor.Seq, r.compared)
	for key, seq := range r.of {
		if seq <= known {
			delete(r.of, key)
		}
	}
	r.limit = max(maxRevisions, 2*len(r.of))
}

// forget forgets the revisions of all keys: those of another bucket, or of one that has begun anew,
// say nothing. The cursor stays until the comparison has ended: then set replaces it.
func (r *revisions) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.of)
	r.compared = 0
}

// setCompared records that the last revisions of all keys up to seq have been compared with the
// directory. 0 is for a comparison that begins.
func (r *revisions) setCompared(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.compared = seq
}

// now returns the cursor. The zero cursor is that of a server which has never read a bucket.
func (r *revisions) now() cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor
}

// saveInterval is how often the cursor is written while it moves. After a crash at most what a
// second has brought is applied once more, which changes nothing.
const saveInterval = time.Second

// move records that all revisions up to the cursor are in the journal. The cursor of a bucket does
// not go back. The caller must have applied them all, which includes the sync of the journal: a
// cursor ahead of the disk would lose revisions in a power cut.
func (r *revisions) move(c cursor) {
	r.mu.Lock()
	c.Seq = max(c.Seq, r.cursor.of(c.ID))
	r.cursor = c
	isDue := time.Since(r.savedAt) >= saveInterval
	r.mu.Unlock()
	if isDue {
		r.save()
	}
}

// set puts the cursor somewhere else, and writes it. It may go back, as to that of a bucket which
// has lost revisions.
func (r *revisions) set(c cursor) {
	r.mu.Lock()
	r.cursor = c
	r.mu.Unlock()
	r.save()
}

// save writes the cursor, unless the file has it. An error is logged only: an older cursor in the
// file costs time at the next start, and no JWT.
func (r *revisions) save() {
	r.mu.Lock()
	c, had := r.cursor, r.saved
	r.savedAt = time.Now()
	r.mu.Unlock()
	if c == had {
		return
	}
	if err := c.write(r.path); err != nil {
		r.log.Warn(fmt.Sprintf("how far the bucket was read can't be written: %s; "+
			"the next start compares more", err))
		return
	}
	r.mu.Lock()
	r.saved = c
	r.mu.Unlock()
}
