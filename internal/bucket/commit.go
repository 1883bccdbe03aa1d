package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// allowPut is what a Put asks.
type allowPut = func(jwtstore.Stored) (jwtstore.Version, error)

// change is one change that is to be committed.
type change struct {
	key, kind, user string
	// local commits it to the directory. It calls publish when the policy allows it, under the lock of
	// the key.
	local func(ctx context.Context, publish publishFunc) (seq uint64, err error)
}

// publishFunc writes a value to the bucket.
type publishFunc func(kind string, value []byte, override bool) error

// Put implements accounts.Committer and activations.Store. A revision of the bucket goes into the
// directory; everything else into the bucket first.
func (s *Store) Put(
	ctx context.Context, key, kind string, jwt []byte, allow allowPut,
) (seq uint64, err error) {
	if kind == accounts.KindKV {
		return s.applyPut(ctx, key, jwt, allow)
	}
	if kind != accounts.KindHTTP && s.Index().Get(key).Hash == hashOf(jwt) {
		// Other servers pass on what is stored here, again and again.
		seq, err = s.Dir.Put(ctx, key, kind, jwt, func(now jwtstore.Stored) (jwtstore.Version, error) {
			v, err := allow(now)
			if err == nil {
				err = errNotSame
			}
			return v, err
		})
		if !errors.Is(err, errNotSame) {
			return seq, err
		}
	}
	return s.commit(ctx, &change{key, kind, accounts.UserOf(ctx),
		func(ctx context.Context, publish publishFunc) (uint64, error) {
			return s.Dir.Put(ctx, key, kind, jwt, func(now jwtstore.Stored) (jwtstore.Version, error) {
				v, err := allow(now)
				if err == nil {
					err = publish(kindJWT, bytes.TrimSpace(jwt), isOverride(now.Floor, v.Floor))
				}
				return v, err
			})
		}})
}

// isOverride reports whether a version takes its account back.
func isOverride(before, after jwtstore.Floor) bool {
	return after.IssuedAt < before.IssuedAt ||
		after.IssuedAt == before.IssuedAt && before.HasReplaced(after.Hash)
}

// errNotSame ends the short way of a Put.
var errNotSame = errors.New("another JWT is stored")

// Delete implements accounts.Committer likewise.
func (s *Store) Delete(
	ctx context.Context, key, kind string, allow func(jwtstore.Stored) ([]byte, error),
) (seq uint64, err error) {
	if kind == accounts.KindKV {
		return s.applyDelete(ctx, key, allow)
	}
	return s.commit(ctx, &change{key, kind, accounts.UserOf(ctx),
		func(ctx context.Context, publish publishFunc) (uint64, error) {
			return s.Dir.Delete(ctx, key, kind, func(now jwtstore.Stored) ([]byte, error) {
				tombstone, err := allow(now)
				if err == nil {
					err = publish(kindTombstone, tombstone, false)
				}
				return tombstone, err
			})
		}})
}

// commit tries until the change is committed or refused, or its time is over.
func (s *Store) commit(ctx context.Context, c *change) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := s.canCommit(); err != nil {
		return 0, err
	}
	unlock, err := s.keys.Lock(ctx, c.key)
	if err != nil {
		return 0, notStored("another change of the account takes too long")
	}
	defer unlock()
	t := trial{s: s, change: c}
	for {
		seq, err = t.once(ctx)
		failed, isRetry := errors.AsType[*publishError](err)
		if !isRetry {
			return seq, err
		}
		t.maybe = t.maybe || failed.maybe
		if !pause.For(ctx, 20*time.Millisecond+rand.N(80*time.Millisecond)) {
			break
		}
	}
	s.log.Warn(fmt.Sprintf("%s - can't be committed to the bucket within %s: %s",
		logging.ShortKey(c.key), s.Timeout, err))
	if t.maybe {
		return 0, &accounts.CommitError{Outcome: accounts.Uncertain,
			Why: "the bucket does not answer in time"}
	}
	return 0, notStored(describe(err))
}

// describe says for the client why the last attempt has failed.
func describe(err error) string {
	switch {
	case errors.Is(err, errNotConnected), errors.Is(err, errNotRead):
		return err.Error()
	case isCode(err, codeWrongLast):
		return "other changes of the account come all the time"
	}
	return "the bucket has no leader"
}

// notStored is the error of a commit that has certainly not happened.
func notStored(why string) error {
	return &accounts.CommitError{Outcome: accounts.NotStored, Why: why}
}

// canCommit returns why nothing may be committed now; nil if it may. What this server could not store
// itself does not go into the bucket either.
func (s *Store) canCommit() error {
	switch p := s.Progress(); {
	case p.First:
		return notStored("this server reads the bucket for the first time")
	case p.Refusing != "":
		return notStored(p.Refusing)
	}
	return s.Check()
}

// trial is the attempts to commit one change.
type trial struct {
	s *Store
	*change
	maybe bool // an attempt may have succeeded although it has failed
}

// What an attempt can't be made without.
var (
	errNotConnected = errors.New("this server is not connected to the bucket")
	errNotRead      = errors.New("an old revision was read")
)

// once makes one attempt. The error is a *publishError if there may be another one.
func (t *trial) once(ctx context.Context) (seq uint64, err error) {
	nc := t.s.conn.Load()
	if nc == nil {
		return 0, &publishError{cause: errNotConnected}
	}
	last, err := t.s.last(ctx, nc, t.s.subject(t.key))
	switch {
	case err != nil:
		return 0, &publishError{cause: err}
	case last.seq < t.s.applied(t.key):
		return 0, &publishError{cause: errNotRead}
	}
	if err := t.s.catchUp(ctx, last); err != nil {
		return 0, err
	}
	return t.commitOver(ctx, nc, last.seq)
}

// commitOver commits the change if the last revision is still expected.
func (t *trial) commitOver(ctx context.Context, nc *nats.Conn, expected uint64) (seq uint64, err error) {
	var revision uint64
	undo := func() {}
	// What is acknowledged goes into the directory, whatever time it is.
	seq, err = t.local(context.WithoutCancel(ctx), func(kind string, value []byte, override bool) error {
		if limit := nc.MaxPayload() - headerRoom; int64(len(value)) > limit {
			return tooLarge(nc, value)
		}
		h := t.s.header(kind, t.kind, t.user, value, override)
		var err error
		if revision, err = t.s.publish(ctx, nc, t.key, h, value, expected); err == nil {
			undo, _ = t.s.begin(t.key, applied{seq: revision})
		}
		return err
	})
	if err == nil || revision == 0 {
		return seq, err
	}
	undo()
	t.s.setFault(err)
	t.s.Log.Error(fmt.Sprintf("%s - revision %d is committed to the bucket, and can't be stored on this "+
		"server: %s", logging.ShortKey(t.key), revision, err))
	return 0, &accounts.CommitError{Outcome: accounts.Elsewhere,
		Why: "other servers have it, this one tries again"}
}

// catchUp applies the last revision of a key, unless that is done. A value that is refused here counts as
// absent.
func (s *Store) catchUp(ctx context.Context, last revision) error {
	s.mu.Lock()
	isKnown := last.seq <= max(s.revisions[last.key], s.cursor.Seq)
	s.mu.Unlock()
	if isKnown || last.isMarker {
		return nil
	}
	_, err := s.apply(context.WithoutCancel(ctx), last)
	return err
}
