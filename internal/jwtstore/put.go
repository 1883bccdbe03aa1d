package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// mostPending bounds the JWTs and tombstones that are committed and not written out, in bytes. A Put that would exceed it waits.
const mostPending = 64 << 20

// Put asks allow with what is stored (nil if nothing is, or if what is there can't be a JWT) and with the account's
// tombstone (nil if there is none), and commits jwt if allow returns nil; for one account this is one step. It returns
// the change's sequence number once the change is on stable storage. An error of allow is returned as it is; any other
// error means that nothing has changed. A ctx that ends has no influence any more once the change is on its way to the
// disk.
func (d *Dir) Put(ctx context.Context, key, door string, jwt []byte, allow func(stored, tombstone []byte) error) (seq uint64, err error) {
	if err := checkPut(key, door, jwt); err != nil {
		return 0, err
	}
	unlock, err := d.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	stored, err := d.stored(key)
	if err != nil {
		return 0, err
	}
	tombstone, err := d.tombstone(key)
	if err != nil {
		return 0, err
	}
	if err := allow(stored, tombstone); err != nil {
		return 0, err
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.active.Done()
	return d.change(ctx, record{kind: kindPut, key: key, door: door, body: slices.Clone(jwt)})
}

// enter keeps Close from going on until active.Done.
func (d *Dir) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.active.Add(1)
	return nil
}

// stored is what allow compares with: what readers see now, never a memory of it.
func (d *Dir) stored(key string) ([]byte, error) {
	jwt, _, err := d.Load(key, Stamp{})
	switch {
	case err == nil:
		return jwt, nil
	case errors.Is(err, fs.ErrNotExist), unreadable(err):
		return nil, nil
	}
	if _, gone := statFile(d.root); errors.Is(gone, fs.ErrNotExist) {
		return nil, nil // with the whole directory: the Put makes it anew
	}
	return nil, err
}

// unreadable says whether an error of Load is about bytes that nobody will ever read: there is something that can be
// replaced or deleted.
func unreadable(err error) bool {
	return errors.Is(err, errIrregular) || errors.Is(err, syscall.EIO)
}

// change commits a Put or Delete. It makes everything ready that can fail, so that after the commit nothing is left to
// do but to write out.
func (d *Dir) change(ctx context.Context, r record) (uint64, error) {
	v := &version{record: r}
	if err := d.writableAgain(d.target(v)); err != nil {
		return 0, err
	}
	if err := d.takeRoom(ctx, len(r.body)); err != nil {
		return 0, err
	}
	err := d.writeAside(v)
	if err == nil {
		err = context.Cause(ctx)
	}
	var seq uint64
	if err == nil {
		seq, err = d.commit(v)
	}
	if err != nil {
		d.giveRoom(len(r.body))
		if v.aside != "" {
			_ = os.Remove(v.aside)
		}
	}
	return seq, err
}

// Touch commits that the stored JWT of key is to be announced once more; fs.ErrNotExist if there is none.
func (d *Dir) Touch(ctx context.Context, key, door string) (seq uint64, err error) {
	if !validKey(key) || len(door) > 255 {
		return 0, unknown(key)
	}
	unlock, err := d.keys.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if _, _, err := d.Load(key, Stamp{}); err != nil {
		return 0, err
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.active.Done()
	return d.commit(&version{record: record{kind: kindTouch, key: key, door: door}})
}

// takeRoom waits until n more bytes may be pending.
func (d *Dir) takeRoom(ctx context.Context, n int) error {
	for {
		d.mu.Lock()
		if d.bytes+int64(n) <= d.most {
			d.bytes += int64(n)
			d.mu.Unlock()
			return nil
		}
		room, fault := d.room, d.anyFault()
		d.mu.Unlock()
		if fault != nil {
			return fault
		}
		signal(d.hurry)
		select {
		case <-room:
		case <-d.stop:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *Dir) giveRoom(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeRoom(n)
}

// freeRoom is giveRoom for who holds mu.
func (d *Dir) freeRoom(n int) {
	d.bytes -= int64(n)
	close(d.room)
	d.room = make(chan struct{})
}

// anyFault is why files can't be written, for who holds mu.
func (d *Dir) anyFault() error {
	for _, err := range d.faults {
		return err
	}
	return nil
}

// signal wakes the goroutine that receives from c, a channel of capacity 1, now or at its next receive.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// writeAside writes the JWT or tombstone beside its place, without syncing it, and makes its directory. A full disk,
// lost permissions and too many open files are found here, while it is still possible to say no.
func (d *Dir) writeAside(v *version) error {
	d.files <- struct{}{}
	defer func() { <-d.files }()
	target := d.target(v)
	if err := notDir(target); err != nil {
		return err
	}
	if !d.lock.owned() {
		if err := d.prepare(); err != nil {
			return err
		}
	}
	v.aside = filepath.Join(d.journal.dir, fmt.Sprintf("%s%d", asidePrefix, d.asides.Add(1)))
	err := writeNew(v.aside, v.body)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.prepare(); err == nil {
			err = writeNew(v.aside, v.body)
		}
	}
	if err != nil {
		v.aside = ""
		return err
	}
	return d.makeParent(target)
}

// notDir refuses a place that is taken by a directory.
func notDir(target string) error {
	if state, err := statFile(target); err == nil && state.dir {
		return &fs.PathError{Op: "write", Path: target, Err: syscall.EISDIR}
	}
	return nil
}

// makeParent sees that the directory of a file is there and can be written to.
func (d *Dir) makeParent(target string) error {
	parent := filepath.Dir(target)
	err := writable(parent)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(parent, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d.parentNew.Store(true)
	return nil
}

// writeNew makes a file. If it fails there is none.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}
