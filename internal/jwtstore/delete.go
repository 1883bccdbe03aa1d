package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
)

// Delete asks allow with what is stored and with the account's tombstone (nil if it was never deleted), and commits
// that the tombstone which it returns takes the JWT's place; fs.ErrNotExist if nothing is stored. It is as durable as a
// Put when it returns. An error of allow is returned as it is; any other error means that nothing has changed.
//
// A tombstone is what its owner makes of it: the store keeps the bytes, in a file beside the place of the JWT, also when
// a later JWT is put there, until the account is deleted again.
func (d *Dir) Delete(ctx context.Context, key, door string, allow func(stored, tombstone []byte) ([]byte, error)) (seq uint64, err error) {
	if !validKey(key) || len(door) > 255 {
		return 0, unknown(key)
	}
	unlock, err := d.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	stored, _, err := d.Load(key, Stamp{})
	if err != nil {
		return 0, err
	}
	tombstone, err := d.Tombstone(key)
	if err != nil {
		return 0, err
	}
	if tombstone, err = allow(stored, tombstone); err != nil {
		return 0, err
	}
	if len(tombstone) == 0 || len(tombstone) > maxJWT {
		return 0, fmt.Errorf("a tombstone of %d bytes can't be stored", len(tombstone))
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.active.Done()
	return d.put(ctx, record{kind: kindDelete, key: key, door: door, body: slices.Clone(tombstone)})
}

// Tombstone returns what was kept of an account that was deleted, nil if it never was.
func (d *Dir) Tombstone(key string) ([]byte, error) {
	if !validKey(key) {
		return nil, nil
	}
	if v := d.waiting(key); v != nil && v.kind == kindDelete {
		return v.body, nil
	}
	d.files <- struct{}{}
	defer func() { <-d.files }()
	for _, path := range d.places(key) {
		tombstone, _, err := load(path+deleted, Stamp{})
		switch {
		case err == nil && len(tombstone) > 0:
			return tombstone, nil
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, errIrregular), errors.Is(err, syscall.EIO):
		default:
			return nil, err
		}
	}
	return nil, nil
}

// bury sees that a tombstone is in its file before a JWT follows it: the journal keeps one change of an account.
func (d *Dir) bury(key string) error {
	if v := d.waiting(key); v == nil || v.kind != kindDelete {
		return nil
	}
	err := d.materialise()
	if v := d.waiting(key); v != nil && v.kind == kindDelete {
		return errors.Join(errors.New("the account was just deleted, and that can't be written"), err)
	}
	return nil
}
