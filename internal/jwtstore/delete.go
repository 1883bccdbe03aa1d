package jwtstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Delete asks allow with what is stored (nil if what is there can't be a JWT) and with the tombstone that is there (nil
// if there is none), and commits that key has no JWT any more, only the new tombstone that allow returns; for one
// account this is one step. If nothing is stored it is fs.ErrNotExist and allow is not asked. Whatever was owed to
// nats-servers of the account is not owed any more. Errors, seq and ctx are as with Put.
func (d *Dir) Delete(ctx context.Context, key, door string, allow func(stored, tombstone []byte) (newTombstone []byte, err error)) (seq uint64, err error) {
	if err := checkDelete(key, door); err != nil {
		return 0, err
	}
	unlock, err := d.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	stored, _, err := d.Load(key, Stamp{})
	if err != nil && !unreadable(err) {
		return 0, err
	}
	tombstone, err := d.tombstone(key)
	if err != nil {
		return 0, err
	}
	if tombstone, err = allow(stored, tombstone); err != nil {
		return 0, err
	}
	if err := checkSize("tombstone", tombstone); err != nil {
		return 0, err
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.active.Done()
	if err := d.removable(key); err != nil {
		return 0, err
	}
	return d.change(ctx, record{kind: kindDelete, key: key, door: door, body: bytes.Clone(tombstone)})
}

// removable says whether the JWT of key can be removed from where it is.
func (d *Dir) removable(key string) error {
	for _, c := range [...]codec{d.preferred, d.other} {
		path := c.path(d.root, key)
		if err := notDir(path); err != nil {
			return err
		}
		if _, err := statFile(path); err != nil {
			continue // nothing is there
		}
		if err := writable(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}

// Tombstone returns what was kept of a deleted account, nil if it was never deleted. An error means that it can't be
// read. The caller must not change the bytes.
func (d *Dir) Tombstone(key string) ([]byte, error) {
	if !validKey(key) {
		return nil, nil
	}
	kept, err := d.tombstone(key)
	if kept != nil || err != nil {
		return kept, err
	}
	if err := d.missing(key); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

// tombstone is Tombstone in a directory that is there.
func (d *Dir) tombstone(key string) (kept []byte, err error) {
	if v := d.buried(key); v != nil {
		return v.body, nil
	}
	d.files <- struct{}{}
	defer func() { <-d.files }()
	// The preferred place has the later one, and comes last: a new one is there before the old one goes from the other.
	for _, c := range [...]codec{d.other, d.preferred} {
		content, _, err := load(c.tombstone(d.root, key), Stamp{})
		switch {
		case err == nil:
			kept = content
		case !errors.Is(err, fs.ErrNotExist), c == d.preferred && errors.Is(err, syscall.ENOTDIR):
			return nil, fmt.Errorf("the tombstone can't be read: %w", err)
		}
	}
	return kept, nil
}

// buried returns the last Delete of key if its tombstone is not written out yet, else nil.
func (d *Dir) buried(key string) *version {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if v := d.pending[key]; v != nil && v.kind == kindDelete {
		return v
	}
	return d.graves[key]
}
