package bucket

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"nats-account-server/internal/jwtstore"
)

// revisions is which revisions of the bucket this server has applied: everything up to the cursor, and what
// it knows of single keys.
type revisions struct {
	path string // of the cursor's file
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	cursor  cursor
	saved   cursor    // what the file has
	savedAt time.Time // when it was written
	// of has what was applied of each key beyond the cursor, and of some keys before it.
	of map[string]uint64
}

// maxRevisions is how many keys may have a revision that is remembered without need.
const maxRevisions = 20000

// openRevisions reads the cursor of the store's directory.
func openRevisions(dir string, log *slog.Logger) *revisions {
	r := &revisions{path: jwtstore.CursorPath(dir), log: log, of: map[string]uint64{}}
	var err error
	if r.cursor, err = readCursor(r.path); err != nil {
		log.Warn(err.Error())
	}
	r.saved = r.cursor
	return r
}

// last returns the last revision of a key that is known to be applied; 0: none is.
func (r *revisions) last(key string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[key]
}

// has reports whether a revision of a key, or a later one, is applied.
func (r *revisions) has(key string, seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return seq <= max(r.of[key], r.cursor.Seq)
}

// begin records that a revision is applied now, and reports whether it is later than what was applied
// before. The lock of the key in the directory must be held. undo takes that back.
func (r *revisions) begin(key string, as applied) (undo func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	had, wasKnown := r.of[key]
	if as.seq < had || as.seq == had && !as.again {
		return func() {}, false
	}
	if len(r.of) >= maxRevisions {
		r.forgetLocked()
	}
	r.of[key] = as.seq
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.of[key] != as.seq {
			return
		}
		if r.of[key] = had; !wasKnown {
			delete(r.of, key)
		}
	}, true
}

// forgetLocked forgets what the cursor says as well. r.mu must be held.
func (r *revisions) forgetLocked() {
	for key, seq := range r.of {
		if seq <= r.cursor.Seq {
			delete(r.of, key)
		}
	}
}

// forget forgets the revisions of all keys: those of another bucket, or of one that has begun anew, say
// nothing.
func (r *revisions) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.of)
}

// now returns the cursor.
func (r *revisions) now() cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor
}

// saveInterval is how often the cursor is written while it moves.
const saveInterval = time.Second

// move records that all revisions up to seq are in the journal. The cursor of a bucket does not go back.
func (r *revisions) move(id string, seq uint64) {
	r.mu.Lock()
	r.cursor = cursor{id, max(seq, r.cursor.of(id))}
	isDue := time.Since(r.savedAt) >= saveInterval
	r.mu.Unlock()
	if isDue {
		r.save()
	}
}

// set puts the cursor somewhere else, and writes it.
func (r *revisions) set(c cursor) {
	r.mu.Lock()
	r.cursor = c
	r.mu.Unlock()
	r.save()
}

// save writes the cursor, unless the file has it.
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
