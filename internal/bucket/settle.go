package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// How often a key is tried, and how long after the last attempt.
const (
	// 20 attempts take about a second, and the time of their requests. All fail if another server
	// writes the key each time, if nothing answers, or if the directory takes nothing.
	maxSettles  = 20
	settlePause = 50 * time.Millisecond
)

// settler makes the directory and the bucket have the same of a key. What wins is decided by takes,
// and a compare-and-set makes sure that the bucket still has what was compared. The committer and
// the follower share one settler.
type settler struct {
	dir     *jwtstore.Dir
	stream  *stream
	applier *applier
	keys    jwtstore.KeyLocks // held by a commit
	log     *slog.Logger      // limited
}

// settleOptions say how a key is settled. The zero value is for a key of which no revision counts
// as applied: what the bucket has is taken.
type settleOptions struct {
	applied uint64    // up to it revisions count as applied here before; or allRevisions
	theirs  *revision // what the bucket has, as far as it is known; nil: it is asked for
}

// allRevisions is beyond every revision.
const allRevisions = math.MaxUint64

// settled is what was done to make the directory and the bucket have the same of a key.
type settled int

const (
	same    settled = iota // nothing: they had it, or what differs can't be taken
	taken                  // the directory has what the bucket had
	offered                // the bucket has what the directory had
)

// settle makes the directory and the bucket have the same of one key. The error means that this
// can't be done now.
//
// It holds the key's lock meanwhile, so that no commit of this server comes in between. A value of
// the directory that the bucket can't take, since it is too large or the bucket is full, is logged,
// and is no error.
func (w *settler) settle(ctx context.Context, key string, o settleOptions) (what settled, err error) {
	unlock, err := w.keys.Lock(ctx, key)
	if err != nil {
		return same, err
	}
	defer unlock()
	for range maxSettles {
		if what, err = w.settleOnce(ctx, key, o); err == nil || !pause.For(ctx, settlePause) {
			break
		}
		o.theirs = nil // what was known of the bucket is old
	}
	return what, err
}

// settleOnce is one attempt of settle. The bucket is read before the directory. If a later revision
// is applied in between, begin refuses the one that was read, or the publish fails.
func (w *settler) settleOnce(
	ctx context.Context, key string, o settleOptions,
) (what settled, err error) {
	nc, err := w.stream.connection()
	if err != nil {
		return same, err
	}
	theirs, err := w.theirs(ctx, nc, key, o)
	if err != nil {
		return same, err
	}
	ours, kind, err := w.local(key)
	if err != nil {
		return same, err
	}
	if theirs.seq > 0 && !theirs.isMarker {
		switch {
		case ours != nil && bytes.Equal(bytes.TrimSpace(ours), bytes.TrimSpace(theirs.value)):
			return same, nil
		// The revision may have been applied before, and the directory have been changed since.
		case o.takes(theirs, ours):
			refused, err := w.applier.applyAs(ctx, applied{theirs, true})
			switch {
			case err != nil:
				return same, err
			case !refused:
				return taken, nil
			// What is refused here, and not by the server that has written it, is signed by an
			// operator that this server does not know yet.
			case theirs.isOfServer():
				return same, nil
			}
		}
	}
	// The bucket has nothing of the key, or what loses against the directory.
	if ours == nil {
		return same, nil
	}
	return w.offer(ctx, nc, key, kind, ours, theirs.seq)
}

// theirs returns what the bucket has. If that is old, a compare-and-set fails, and a later revision
// that was applied here stays.
func (w *settler) theirs(ctx context.Context, nc *nats.Conn, key string, o settleOptions) (revision, error) {
	if o.theirs != nil {
		return *o.theirs, nil
	}
	return w.stream.last(ctx, nc, w.stream.subject(key))
}

// takes reports whether the directory takes what the bucket has. A directory that has nothing takes
// all, and a revision that was not applied is the decision of another server. Of what was there
// before both sides take the one that wins.
func (o settleOptions) takes(theirs revision, ours []byte) bool {
	return ours == nil || theirs.seq > o.applied || theirs.isOverride() || accounts.Wins(theirs.value, ours)
}

// offer publishes what the directory has. expected is 0 if the bucket has nothing of the key. The
// error is a *publishError, and means that the key may have changed since it was read, or that no
// answer came.
func (w *settler) offer(
	ctx context.Context, nc *nats.Conn, key, kind string, value []byte, expected uint64,
) (what settled, err error) {
	m := message{kind: kind, door: doorOffer, value: value, hash: trust.HashOf(value),
		floor: w.dir.Index().Get(key).Floor}
	seq, err := w.stream.publish(ctx, nc, key, m, expected)
	if _, isRetry := errors.AsType[*publishError](err); err != nil && !isRetry {
		w.log.Error(fmt.Sprintf("%s - what is stored here can't be put into the bucket: %s",
			logging.ShortKey(key), err))
		return same, nil // the others are settled all the same
	}
	if err != nil {
		return same, err
	}
	if expected > 0 { // otherwise the bucket has no earlier one, which could be applied later
		w.applier.revisions.begin(key, seq, false)
	}
	return offered, nil
}

// compare reports whether the directory has the same as a revision, or nothing of its key.
// isUnknown says that the directory has never had it: then a comparison applies the revision at
// once. A delete marker is never the same. The directory's lock need not be held. Nothing is
// verified: what the bucket has too is compared only.
func (w *settler) compare(r revision) (isSame, isUnknown bool, err error) {
	theirs, hasHash := r.hash()
	hasHash = hasHash && !r.isMarker
	if trust.IsActivationHash(r.key) {
		token, err := w.load(r.key)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return hasHash && token != nil && trust.HashOf(token) == theirs, token == nil, err
	}
	known := w.dir.Index().Get(r.key) // which has the hash, so that no file is read
	if known.Stored() {
		return hasHash && !r.isTombstone() && known.Hash == theirs, false, nil
	}
	tombstone, err := w.tombstone(r.key)
	if tombstone == nil || err != nil {
		return false, known == (jwtstore.Version{}), err
	}
	return hasHash && r.isTombstone() && trust.HashOf(tombstone) == theirs, false, nil
}

// local returns what the directory has of a key that may be offered: a JWT that can be served, or
// the tombstone of a deleted account. nil is nothing. kind is kindJWT or kindTombstone, and means
// nothing with a nil value.
func (w *settler) local(key string) (value []byte, kind string, err error) {
	isToken := trust.IsActivationHash(key)
	known := w.dir.Index().Get(key)
	if isToken || known.Stored() {
		value, err = w.load(key)
		isGood := known.Servable
		if isToken {
			isGood = activations.Check(key, value) == nil
		}
		switch {
		case err == nil && isGood:
			return value, kindJWT, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", err // nil if no operator of ours has signed it, or it is damaged
		}
	}
	value, err = w.tombstone(key)
	return value, kindTombstone, err
}

// load returns the JWT that the directory has of a key, without the space around it. If there is
// none the error is fs.ErrNotExist.
func (w *settler) load(key string) ([]byte, error) {
	jwt, _, err := w.dir.Load(key, jwtstore.Stamp{})
	return bytes.TrimSpace(jwt), err
}

// tombstone returns the tombstone of an account; nil if it was never deleted. An activation token
// has none.
func (w *settler) tombstone(key string) ([]byte, error) {
	if !trust.IsAccountKey(key) {
		return nil, nil
	}
	text, err := w.dir.Tombstone(key)
	return accounts.WholeTombstone(text), err
}
