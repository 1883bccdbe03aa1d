// Package bucket is the commit on several account servers: a change counts when a JetStream key-value
// bucket and the journal of the server that answers have it. The servers share nothing else.
//
//	Put, Delete ──> key's lock ──> last revision at the leader ──> policy ──> publish ──> journal ──> 200
//	                    ^                                                        │
//	                    └────────── conflict, no leader, no answer ──────────────┘      commit.go
//
//	bucket ──> consumer ──> policy, by revision only ──> journal ──> cursor              follow.go
//	a start: the last revision of every key is compared with the directory               reconcile.go
//
// A Store is the directory of one server with these commits in the place of the directory's own. Reads are
// those of the directory: they never wait for the bucket.
//
// The bucket is the stream KV_<name> with the subjects $KV.<name>.a.<account> and
// $KV.<name>.t.<hash of an activation token>. A value is a JWT, or a tombstone as package accounts writes
// it; the headers say which, see api.go. A revision is the sequence number of its message.
//
// # Compare and set
//
// No read of JetStream is certain to have the last revision: a leader that is cut off goes on answering.
// Only a publish with the expected last revision of its key decides. If no answer comes it may have been
// stored, and a later read or publish shows it. At the deadline a push is told either that it is not
// stored, which is certain, or that this is not known. To push the same again is safe in both cases.
//
// # Revisions
//
// A server applies a revision if it is greater than what it has applied of the key. Times do not
// count: an older JWT may have been let in on purpose. The cursor is the revision up to which everything is
// in the journal. It is beside the journal, with the id of the bucket. What is published by this server
// itself is applied at once, and may be beyond the cursor.
//
// A value that the policy refuses here, since no operator of ours has signed it, counts as absent. Its
// revision counts.
//
// # Start
//
// A server compares its directory with the bucket before it announces anything. A revision beyond its
// cursor is taken. Otherwise the one that wins by accounts.Wins is taken by the other side, except that an
// override is never replaced. So it is with everything if the server has never read this bucket, or if the
// bucket has lost revisions.
//
// # Concurrency
//
// All methods may be called from any goroutine. Serve may run once at a time. A commit holds the lock
// of its key, and while it publishes the directory's as well, so that a revision of the key is not applied
// meanwhile.
package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// Sync says what becomes of pushes if a nats-server of the bucket does not sync each change to its disk.
type Sync int

// What is done then.
const (
	SyncRequire Sync = iota // pushes are refused
	SyncWarn                // a warning is logged
	SyncOff                 // nothing: it is not asked for
)

// Options is what a Store needs.
type Options struct {
	Dir      *jwtstore.Dir
	Path     string        // of the store's directory; the cursor is in it
	Bucket   string        // name
	Replicas int           // how many nats-servers keep it
	History  int           // how many revisions of each key are kept
	Timeout  time.Duration // of a commit
	Sync     Sync
	Log      *slog.Logger // nil: discard
}

// Accounts is the policy for accounts. *accounts.Registry meets it.
type Accounts interface {
	Put(ctx context.Context, key string, token []byte, from accounts.Origin) (accounts.Result, error)
	// Replace puts a tombstone in the place of a JWT.
	Replace(ctx context.Context, key string, tombstone []byte, from accounts.Origin) error
	// RescanChanged makes the index know what is stored.
	RescanChanged(ctx context.Context) error
}

// Tokens is the policy for activation tokens. *activations.Registry meets it.
type Tokens interface {
	Put(ctx context.Context, token []byte, from accounts.Origin) (
		t *activations.Token, changed bool, err error)
}

// Store is a directory whose changes are committed to a bucket first.
type Store struct {
	*jwtstore.Dir // reads, and Touch: to announce once more is each server's own
	Options
	stream string // name
	prefix string // of the subjects
	host   string
	keys   jwtstore.KeyLocks // held by a commit
	log    *slog.Logger      // limited

	accounts Accounts // of Use
	tokens   Tokens
	conn     atomic.Pointer[nats.Conn] // nil: not connected
	caughtUp chan struct{}             // closed when the bucket has been read once
	syncing  syncing

	mu      sync.Mutex // guards what follows
	cursor  cursor
	saved   cursor    // what the file has
	savedAt time.Time // when it was written
	// revisions has what was applied of each key beyond the cursor, and of some keys before it.
	revisions map[string]uint64
	progress  progress
}

// progress is how far a server is with the bucket.
type progress struct {
	isFirst  bool      // it has never read this bucket, and has not finished that
	behind   uint64    // revisions that are not applied, when it last asked
	heard    time.Time // when all was known to be applied
	fault    error     // why a revision can't be stored here; nil: it can
	lastSeq  uint64
	lostSeen time.Time // since when the bucket ends before the cursor; zero: it does not
	failed   string    // why the last session has ended, "" if one is under way
}

// maxLines is how many lines about single revisions are logged in a minute.
const maxLines = 100

// New returns a Store that is not connected. Use must be called before anything is put or served.
func New(o Options) *Store {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		Dir:       o.Dir,
		Options:   o,
		stream:    "KV_" + o.Bucket,
		prefix:    "$KV." + o.Bucket + ".",
		log:       logging.Limited(o.Log, maxLines, time.Minute),
		caughtUp:  make(chan struct{}),
		revisions: map[string]uint64{},
		syncing:   syncing{always: map[string]bool{}},
	}
	s.host, _ = os.Hostname()
	var err error
	if s.cursor, err = readCursor(jwtstore.CursorPath(o.Path)); err != nil {
		s.Log.Warn(err.Error())
	}
	s.saved = s.cursor
	s.progress.isFirst = s.cursor.ID == ""
	return s
}

// Use says which policy revisions go through. It is called once.
func (s *Store) Use(a Accounts, t Tokens) { s.accounts, s.tokens = a, t }

// CaughtUp is closed when everything that the bucket had at the start has been applied.
func (s *Store) CaughtUp() <-chan struct{} { return s.caughtUp }

// isCaughtUp reports whether CaughtUp is closed.
func (s *Store) isCaughtUp() bool {
	select {
	case <-s.caughtUp:
		return true
	default:
		return false
	}
}

// errBehind is the error for what is not stored, while the bucket may have it.
var errBehind = fmt.Errorf("%w: the bucket has not been read yet", accounts.ErrPeers)

// Find implements accounts.Source. It has nothing: what the bucket has is in the directory, or it is not
// known yet.
func (s *Store) Find(context.Context, string, func([]byte) error) error {
	if s.isCaughtUp() {
		return accounts.ErrNotFound
	}
	return errBehind
}

// State is how far a server is with the bucket.
type State struct {
	Connected bool
	CaughtUp  bool      // once since the start
	First     bool      // it reads this bucket for the first time, and takes no push yet
	Behind    uint64    // revisions that are not applied yet, when it last asked
	Success   time.Time // when it last knew that all are applied; zero: never
	Fault     error     // why a revision can't be stored here; nil: it can
	Refusing  string    // why every push is refused although the bucket can be reached; "" if none is
	Failing   string    // why the bucket can't be read now; "" if it can
	Revision  uint64    // the cursor
	Bucket    string    // name
}

// Progress returns how far this server is.
func (s *Store) Progress() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.progress
	return State{
		Connected: s.conn.Load() != nil,
		CaughtUp:  s.isCaughtUp(),
		First:     p.isFirst,
		Behind:    p.behind,
		Success:   p.heard,
		Fault:     p.fault,
		Refusing:  s.refusing(),
		Failing:   p.failed,
		Revision:  s.cursor.Seq,
		Bucket:    s.Bucket,
	}
}

// hashOf is the hash of a value, as the index has it.
func hashOf(value []byte) [32]byte { return sha256.Sum256(bytes.TrimSpace(value)) }

// maxRevisions is how many keys may have a revision that is remembered without need.
const maxRevisions = 20000

// applied returns the last revision of a key that is known to be applied here; 0: none is.
func (s *Store) applied(key string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revisions[key]
}

// begin records that a revision is applied now, and reports whether it is later than what was applied
// before. The lock of the key in the directory must be held. undo takes that back.
func (s *Store) begin(key string, as applied) (undo func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := as.seq
	had, wasKnown := s.revisions[key]
	if seq < had || seq == had && !as.again {
		return func() {}, false
	}
	if len(s.revisions) >= maxRevisions {
		for key, seq := range s.revisions {
			if seq <= s.cursor.Seq {
				delete(s.revisions, key)
			}
		}
	}
	s.revisions[key] = seq
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.revisions[key] != seq {
			return
		}
		if s.revisions[key] = had; !wasKnown {
			delete(s.revisions, key)
		}
	}, true
}

// saveInterval is how often the cursor is written while it moves.
const saveInterval = time.Second

// moveCursor records that all revisions up to seq are in the journal.
func (s *Store) moveCursor(id string, seq uint64) {
	s.mu.Lock()
	s.cursor = cursor{id, max(seq, s.cursorLocked(id))}
	isDue := time.Since(s.savedAt) >= saveInterval
	s.mu.Unlock()
	if isDue {
		s.saveCursor()
	}
}

// cursorLocked returns the cursor if it is one of this bucket, otherwise 0. s.mu must be held.
func (s *Store) cursorLocked(id string) uint64 {
	if s.cursor.ID != id {
		return 0
	}
	return s.cursor.Seq
}

// cursorOf is cursorLocked with the lock.
func (s *Store) cursorOf(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursorLocked(id)
}

// saveCursor writes the cursor, unless the file has it.
func (s *Store) saveCursor() {
	s.mu.Lock()
	c, had := s.cursor, s.saved
	s.savedAt = time.Now()
	s.mu.Unlock()
	if c == had {
		return
	}
	if err := c.write(jwtstore.CursorPath(s.Path)); err != nil {
		s.log.Warn(fmt.Sprintf("how far the bucket was read can't be written: %s; "+
			"the next start compares more", err))
		return
	}
	s.mu.Lock()
	s.saved = c
	s.mu.Unlock()
}

// IsIncomplete reports whether the directory has no account, and the bucket has not been read yet.
func (s *Store) IsIncomplete() bool {
	if s.isCaughtUp() {
		return false
	}
	for range s.Index().All() {
		return false
	}
	return true
}
