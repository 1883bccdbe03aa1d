package jwtstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"nats-account-server/internal/trust"
)

// Stored is what a store has for one account.
//
// It is read under the account's lock. It holds until the function that gets it returns. The bytes
// must not be changed.
type Stored struct {
	JWT       []byte // nil: nothing is stored, or what is there can't be a JWT
	Stamp     Stamp
	Absent    bool   // nothing is stored; a file that can't be a JWT is something
	Tombstone []byte // nil: the account was never deleted
	Floor     Floor  // what the index knows
}

// writer is how a store changes: compare and commit are one step for each account.
//
// Locks are by key, so changes of different accounts share a commit. The zero value needs a store.
type writer struct {
	store committer
	keys  KeyLocks // held by a change of a key
}

// committer is what stores do differently.
type committer interface {
	Load(key string, known Stamp) (jwt []byte, now Stamp, err error)
	Tombstone(key string) ([]byte, error)
	Index() *Index
	// commit makes a change durable and then visible, and returns its sequence number.
	commit(ctx context.Context, r *record) (seq uint64, err error)
}

// Put asks allow with what is stored, and commits jwt if allow returns no error. The index gets the
// Version that allow returns, with the Seq and the Stamp of the change. A zero Version is not
// indexed. For one account this is one step. origin says where the JWT came from; the journal has
// its first 255 bytes.
//
// Put returns the change's sequence number once the change is on stable storage. An error of allow
// is returned as it is; any other error means that nothing has changed. If ctx ends when the change
// is on its way to the disk, that has no effect any more.
//
// allow is called once at most, under the account's lock: it must not call the writer for the same
// key. jwt is copied before that, so the caller may change its bytes after the call.
func (w *writer) Put(
	ctx context.Context, key, origin string, jwt []byte, allow func(Stored) (Version, error),
) (seq uint64, err error) {
	if !IsName(key) {
		return 0, fmt.Errorf("%q is not a public account key", key)
	}
	if err := checkSize("JWT", jwt); err != nil {
		return 0, err
	}
	r := &record{kind: kindPut, key: key, body: bytes.Clone(jwt)}
	return w.commitIf(ctx, r, origin, func(now Stored, _ error) (err error) {
		version, err := allow(now)
		if err != nil || version == (Version{}) {
			return err
		}
		r.version = indexEntry{Version: version}.append(nil)
		return nil
	})
}

// Delete asks allow as Put does, and commits that key has no JWT any more, only the new tombstone
// that allow returns. For one account this is one step. If nothing is stored, and the index knows
// no floor of the account, the error is fs.ErrNotExist and allow is not asked. Nothing of the
// account is pending in the outbox any more. Errors, origin, seq and ctx are as with Put.
func (w *writer) Delete(
	ctx context.Context, key, origin string,
	allow func(Stored) (newTombstone []byte, err error),
) (seq uint64, err error) {
	return w.delete(ctx, key, origin, false, allow)
}

// delete is Delete, or PutTombstone if nothing needs to be known of the account.
func (w *writer) delete(
	ctx context.Context, key, origin string, always bool, allow func(Stored) ([]byte, error),
) (seq uint64, err error) {
	r := &record{kind: kindDelete, key: key}
	return w.commitIf(ctx, r, origin, func(now Stored, absent error) error {
		// If only the file is gone, what was accepted before must not come back either.
		isKnown := now.Absent && now.Floor != Floor{}
		if absent != nil && !isKnown && !always {
			return absent
		}
		tombstone, err := allow(now)
		if err != nil {
			return err
		}
		r.body = bytes.Clone(tombstone)
		r.version = indexEntry{Version: Version{Floor: now.Floor}}.append(nil)
		// An error here ends the commit as one of allow does, so r is not used.
		return checkSize("tombstone", tombstone)
	})
}

// PutTombstone is Delete for the tombstone of another server: allow is asked whether anything is
// known of the account here or not.
func (w *writer) PutTombstone(
	ctx context.Context, key, origin string, allow func(Stored) (tombstone []byte, err error),
) (seq uint64, err error) {
	return w.delete(ctx, key, origin, true, allow)
}

// Touch commits that the JWT of key is to be announced once more. If none is stored the error is
// fs.ErrNotExist, unless the caller has one from elsewhere. The change writes no file. It makes the
// JWT pending for every nats-server that is known.
func (w *writer) Touch(
	ctx context.Context, key, origin string, elsewhere bool,
) (seq uint64, err error) {
	r := &record{kind: kindTouch, key: key}
	return w.commitIf(ctx, r, origin, func(now Stored, absent error) error {
		switch {
		case now.JWT == nil && absent == nil:
			// What is there can't be read as a JWT, so there is nothing to announce.
			return errIrregular
		case elsewhere && errors.Is(absent, fs.ErrNotExist):
			return nil
		}
		return absent
	})
}

// commitIf commits r if allow returns nil. No other change of the account comes in between.
//
// allow sees what readers see now, never a memory of it. absent is the error if there is no JWT.
// Bytes that can never be read are nil: they can be replaced or deleted.
//
// The order of the steps: the lock comes first, so that what is read stays true. What is stored,
// the tombstone and the floor are read under it. allow decides last and sees all of it. The lock is
// given back when the change is visible, so the next change of the account sees it.
func (w *writer) commitIf(
	ctx context.Context, r *record, origin string,
	allow func(now Stored, absent error) error,
) (seq uint64, err error) {
	if r.kind != kindPut && !trust.IsAccountKey(r.key) {
		return 0, unknown(r.key) // tokens are never deleted or announced
	}
	r.origin = origin[:min(len(origin), maxOrigin)]
	unlock, err := w.keys.Lock(ctx, r.key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	now, absent, err := w.stored(r.key)
	if err != nil {
		return 0, err
	}
	known := w.store.Index().entry(r.key)
	now.Floor, r.floor, r.follows = known.Floor, known.Floor, known.earlier
	// The journal keeps after which versions the change was allowed. A replay needs that to let an
	// older JWT follow a newer one where it was allowed.
	r.followOne(now.Floor.Hash)
	switch {
	case now.JWT == nil:
	case now.Stamp == known.Stamp && known.Hash != Hash{}: // of a token the index has none
		r.followOne(known.Hash)
	default:
		r.followOne(trust.HashOf(now.JWT))
	}
	if err := allow(now, absent); err != nil {
		return 0, err
	}
	return w.store.commit(ctx, r)
}

// stored returns what readers see of an account. absent is the error if there is no JWT.
func (w *writer) stored(key string) (now Stored, absent, err error) {
	now.JWT, now.Stamp, absent = w.store.Load(key, Stamp{})
	switch {
	// A directory in the place of the file, or a bad block of the disk, stays as it is however
	// often it is read.
	case errors.Is(absent, errIrregular), errors.Is(absent, syscall.EIO):
		now.JWT, absent = nil, nil
	case absent != nil && !errors.Is(absent, fs.ErrNotExist):
		return Stored{}, nil, absent
	}
	now.Absent = absent != nil
	// A tombstone that can't be read is an error: without it a deleted account could come back.
	now.Tombstone, err = w.store.Tombstone(key)
	return now, absent, err
}

// checkSize refuses what is empty or larger than any JWT. what is for the error. The limit is in
// bytes. A replay would leave out what is larger.
func checkSize(what string, content []byte) error {
	switch {
	case len(content) == 0:
		return fmt.Errorf("an empty %s can't be stored", what)
	case len(content) > maxJWT:
		return fmt.Errorf("a %s of %d bytes can't be stored: the limit is %d",
			what, len(content), maxJWT)
	}
	return nil
}
