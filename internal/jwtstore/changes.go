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

// changes is how a store changes: compare and commit are one step for each account.
type changes struct {
	store committer
	keys  keyLocks // held by a change of a key
}

// committer is what stores do differently.
type committer interface {
	Load(key string, known Stamp) (jwt []byte, now Stamp, err error)
	// tombstone returns the account's tombstone, nil if there is none.
	tombstone(key string) ([]byte, error)
	// commit makes a change durable and then visible, and returns its sequence number.
	commit(ctx context.Context, r *record) (seq uint64, err error)
}

// Put asks allow with what is stored and with the account's tombstone, and commits jwt if allow
// returns nil. What is stored is nil if nothing is, or if what is there can't be a JWT; the
// tombstone is nil if there is none. For one account this is one step. kind says where the JWT came
// from.
//
// Put returns the change's sequence number once the change is on stable storage. An error of allow
// is returned as it is; any other error means that nothing has changed. If ctx ends when the change
// is on its way to the disk, that has no effect any more.
func (c *changes) Put(
	ctx context.Context, key, kind string, jwt []byte, allow func(stored, tombstone []byte) error,
) (seq uint64, err error) {
	if err := checkPut(key, kind, jwt); err != nil {
		return 0, err
	}
	return c.change(ctx, key, func() (*record, error) {
		stored, err := c.stored(key)
		// A Put makes the directory anew.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoDirectory) {
			return nil, err
		}
		tombstone, err := c.store.tombstone(key)
		if err != nil {
			return nil, err
		}
		r := &record{kind: kindPut, key: key, origin: kind, body: bytes.Clone(jwt)}
		return r, allow(stored, tombstone)
	})
}

// Delete asks allow as Put does, and commits that key has no JWT any more, only the new tombstone
// that allow returns. For one account this is one step. If nothing is stored the error is
// fs.ErrNotExist and allow is not asked. Nothing of the account is pending in the outbox any more.
// Errors, kind, seq and ctx are as with Put.
func (c *changes) Delete(
	ctx context.Context, key, kind string,
	allow func(stored, tombstone []byte) (newTombstone []byte, err error),
) (seq uint64, err error) {
	if err := checkKey(key, kind); err != nil {
		return 0, err
	}
	return c.change(ctx, key, func() (*record, error) {
		stored, err := c.stored(key)
		if err != nil {
			return nil, err
		}
		tombstone, err := c.store.tombstone(key)
		if err != nil {
			return nil, err
		}
		if tombstone, err = allow(stored, tombstone); err != nil {
			return nil, err
		}
		r := &record{kind: kindDelete, key: key, origin: kind, body: bytes.Clone(tombstone)}
		return r, checkSize("tombstone", tombstone)
	})
}

// Touch commits that the stored JWT of key is to be announced once more; fs.ErrNotExist if there is
// none.
func (c *changes) Touch(ctx context.Context, key, kind string) (seq uint64, err error) {
	if err := checkKey(key, kind); err != nil {
		return 0, err
	}
	return c.change(ctx, key, func() (*record, error) {
		_, _, err := c.store.Load(key, Stamp{})
		return &record{kind: kindTouch, key: key, origin: kind}, err
	})
}

// change commits what compare returns, unless it returns an error. No other change of key comes in
// between.
func (c *changes) change(
	ctx context.Context, key string, compare func() (*record, error),
) (seq uint64, err error) {
	unlock, err := c.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	r, err := compare()
	if err != nil {
		return 0, err
	}
	return c.store.commit(ctx, r)
}

// stored returns what readers see now, never a memory of it. Bytes that can never be read are nil:
// they can be replaced or deleted.
func (c *changes) stored(key string) ([]byte, error) {
	jwt, _, err := c.store.Load(key, Stamp{})
	if errors.Is(err, errIrregular) || errors.Is(err, syscall.EIO) {
		return nil, nil
	}
	return jwt, err
}

// checkPut refuses what no store takes.
func checkPut(key, kind string, jwt []byte) error {
	if !isName(key) {
		return fmt.Errorf("%q is not a public account key", key)
	}
	return errors.Join(checkKind(kind), checkSize("JWT", jwt))
}

// checkKey is checkPut for a Delete and a Touch. What can't be an account key is not stored.
func checkKey(key, kind string) error {
	if !trust.IsAccountKey(key) {
		return unknown(key)
	}
	return checkKind(kind)
}

func checkKind(kind string) error {
	if len(kind) > maxKind {
		return fmt.Errorf("the kind of origin has %d bytes, the limit is %d", len(kind), maxKind)
	}
	return nil
}

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
