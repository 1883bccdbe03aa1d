package accounts

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// maxErrorBytes bounds what a log line shows of an error about a JWT.
const maxErrorBytes = 512

// damageInterval is how often the log says that a stored JWT can't be served.
const damageInterval = time.Hour

// maxDamageLines bounds the lines about that in a minute. After a change of the operator all stored
// JWTs may be bad.
const maxDamageLines = 100

// Verdict is what was found out about one version of a stored JWT. It is never changed.
type Verdict[T any] struct {
	Found T     // what the check made of the JWT
	Err   error // why the JWT is not served: cause, wrapped in ErrDamaged

	cause error          // the check's error
	mark  uint64         // of the trust under which it was found out
	stamp jwtstore.Stamp // under which the store returned the JWT
	// changes is what the store's Changes has returned before it was asked.
	changes uint64
	token   []byte // as it is stored
}

// Verdicts keeps the verdicts on stored JWTs, so that each version is verified once. What it
// forgets is read and verified again. The store decides what is served; Verdicts only saves the
// work.
type Verdicts[T any] struct {
	store    Loader
	maxBytes int
	sizeOf   func(found T) int
	log      *slog.Logger
	reported Recently // what the log has said to be damaged, by key and hash

	mu    sync.RWMutex
	byKey map[string]*Verdict[T]
	bytes int // of all, see size
}

// NewVerdicts returns a Verdicts that is empty. It keeps verdicts and their JWTs in up to maxBytes
// of memory; 0 means that none are kept. sizeOf returns the bytes that a verdict takes beside its
// JWT. log gets a line for each JWT that can't be served, now and then.
func NewVerdicts[T any](
	store Loader, maxBytes int, sizeOf func(found T) int, log *slog.Logger,
) *Verdicts[T] {
	return &Verdicts[T]{
		store:    store,
		maxBytes: maxBytes,
		sizeOf:   sizeOf,
		log:      logging.Limited(log, maxDamageLines, time.Minute),
		reported: Recently{Period: damageInterval},
		byKey:    make(map[string]*Verdict[T]),
	}
}

// Load returns the verdict on what is stored for a key. check verifies a JWT; what it said under
// another mark does not count any more. The error is fs.ErrNotExist, or wraps ErrUnreadable.
func (vs *Verdicts[T]) Load(
	key string, mark uint64, check func(token []byte) (T, error),
) (*Verdict[T], error) {
	had, changes := vs.get(key), vs.store.Changes(key)
	known := jwtstore.Stamp{}
	if had != nil && had.mark == mark {
		if changes != 0 && had.changes == changes {
			vs.report(key, had)
			return had, nil
		}
		known = had.stamp
	}
	token, stamp, err := vs.store.Load(key, known) // no token: had is still right
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	case token == nil:
		token = had.token
	}
	// A change that has no file yet may give way to a file without a change of that.
	if stamp.IsCommit() {
		changes = 0
	}
	v, isKnown := vs.Find(key, mark, token, check)
	vs.report(key, v)
	if isKnown && v.stamp == stamp && v.changes == changes {
		return v, nil
	}
	stamped := *v
	stamped.stamp, stamped.changes = stamp, changes
	vs.put(key, &stamped)
	return &stamped, nil
}

// report logs a version that can't be served, once in a while. The line is the original's, which
// programs look for.
func (vs *Verdicts[T]) report(key string, v *Verdict[T]) {
	if v.Err == nil {
		return
	}
	version := sha256.Sum256(v.token)
	vs.logDamaged(key, string(version[:]), v.cause)
}

// logDamaged is report for a version, "" if its content is not known.
func (vs *Verdicts[T]) logDamaged(key, version string, why error) {
	if vs.reported.Allow(key+version, time.Now()) {
		vs.log.Error(fmt.Sprintf("%s - error loading JWT - %s", logging.ShortKey(key),
			logging.Quote(why.Error(), maxErrorBytes)))
	}
}

// Find returns the verdict on these stored bytes: the one that is remembered, or a new one, which
// it does not remember.
func (vs *Verdicts[T]) Find(
	key string, mark uint64, token []byte, check func(token []byte) (T, error),
) (v *Verdict[T], isKnown bool) {
	if v := vs.get(key); v != nil && v.mark == mark && bytes.Equal(v.token, token) {
		return v, true
	}
	v = &Verdict[T]{mark: mark, token: token}
	if v.Found, v.cause = check(token); v.cause != nil {
		v.Err = fmt.Errorf("%w: %w", ErrDamaged, v.cause)
	}
	return v, false
}

// tokenOf returns what the store has returned for a key under a stamp; nil if it is not remembered.
func (vs *Verdicts[T]) tokenOf(key string, stamp jwtstore.Stamp) []byte {
	if v := vs.get(key); v != nil && v.stamp == stamp {
		return v.token
	}
	return nil
}

// get returns the last verdict on what is stored for a key, nil if there is none.
func (vs *Verdicts[T]) get(key string) *Verdict[T] {
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	return vs.byKey[key]
}

// put remembers a verdict, unless it is larger than all may be together.
func (vs *Verdicts[T]) put(key string, v *Verdict[T]) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.forgetLocked(key) // its bytes do not count any more
	size := vs.size(v)
	if size > vs.maxBytes {
		return
	}
	for other := range vs.byKey { // any will do: the order of a map is random
		if vs.bytes+size <= vs.maxBytes {
			break
		}
		vs.forgetLocked(other)
	}
	vs.byKey[strings.Clone(key)] = v // the key is a part of a URL, which would be kept with it
	vs.bytes += size
}

// size returns the bytes of memory that a verdict takes. The allocator rounds a JWT up, by a
// sixteenth on average.
func (vs *Verdicts[T]) size(v *Verdict[T]) int { return cap(v.token)*17/16 + vs.sizeOf(v.Found) }

// forgetLocked drops the verdict of a key. vs.mu must be held.
func (vs *Verdicts[T]) forgetLocked(key string) {
	if old := vs.byKey[key]; old != nil {
		vs.bytes -= vs.size(old)
		delete(vs.byKey, key)
	}
}
