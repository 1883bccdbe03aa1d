package jwtstore

import (
	"errors"
	"os"
	"syscall"

	"nats-account-server/internal/trust"
)

// A file may be put into the directory by hand after a change of its account was committed, and
// before the change is flushed: while the disk is full for instance, or after a crash. What is
// newer then stays and is served; the rest is written over.

// keepNewer reports whether a newer file takes the place of a change. It is durable then, and in
// the preferred layout.
func (f *flusher) keepNewer(r *record) (kept bool, err error) {
	newer := f.newerFile(r)
	if newer == "" {
		return false, nil
	}
	preferred := f.directory.preferred.path(f.directory.root, r.key)
	if err = moveDurable(newer, preferred); err == nil {
		f.supersede(r, preferred)
	}
	return err == nil, err
}

// newerFile returns the path of a JWT that is newer than a change and was put into the directory
// since that was committed; "" if there is none. What the commit has replaced is older, whatever it
// says, and so is what was older than that in the other layout.
func (f *flusher) newerFile(r *record) (path string) {
	isLast := f.unflushed.last(r.key) == r
	if f.directory.newer == nil || r.kind == kindDelete && !isLast {
		return ""
	}
	path, newest := f.directory.newest(r.key, func(l layout) string {
		return l.path(f.directory.root, r.key)
	})
	if newest == nil || r.mayFollow(trust.HashOf(newest)) || !f.directory.newer(r.key, newest, r.body) {
		return ""
	}
	return path
}

// supersede lets readers see a durable newer file instead of a change. Of a Delete the tombstone is
// left.
func (f *flusher) supersede(r *record, newer string) {
	f.warn("%s was put there after a change of the account was accepted, and is newer: "+
		"it stays and is served, and the change is not written", newer)
	f.unflushed.leave(r)
	if r.kind == kindPut {
		f.index.flushed(r, hotStamp())
	}
}

// moveToPlace moves the temp file of a step to its place. A tombstone that was put there since, and
// is newer, stays.
func (f *flusher) moveToPlace(dir *os.File, s *flushStep) error {
	newer := ""
	if s.kind == kindDelete && f.directory.newer != nil {
		newer = f.newerTombstone(s.record)
	}
	if newer == "" {
		err := renameIn(dir, f.nameIn(s.temp), f.nameIn(s.target))
		if errors.Is(err, syscall.EXDEV) { // the shard is a link
			err = move(s.temp, s.target)
		}
		return err
	}
	return errors.Join(moveDurable(newer, s.target), removeFile(s.temp))
}

// newerTombstone returns the path of a tombstone that is newer than that of a Delete; "" if there
// is none.
func (f *flusher) newerTombstone(r *record) (path string) {
	path, newest := f.directory.newest(r.key, func(l layout) string {
		return f.directory.file(l, r)
	})
	if newest == nil || !f.directory.newer(r.key, newest, r.body) {
		return ""
	}
	return path
}
