package jwtstore

import "errors"

// A file may be put into the directory by hand after a change of its account was committed, and before
// the change is flushed: while the disk is full for instance, or after a crash. What is newer then stays
// and is served; the rest is written over.

// keepNewer reports whether a newer file takes the place of a change. It is durable then, and in the
// preferred layout.
func (f *flusher) keepNewer(r *record) (kept bool, err error) {
	newer := f.newerFile(r)
	if newer == "" {
		return false, nil
	}
	if preferred := f.directory.preferred.path(f.directory.root, r.key); newer != preferred {
		err, newer = moveDurable(newer, preferred), preferred
	} else {
		err = makeDurable(newer)
	}
	if err == nil {
		f.supersede(r, newer)
	}
	return err == nil, err
}

// newerFile returns the path of a JWT that is newer than a change and was put into the directory since
// that was committed; "" if there is none. What the commit has replaced is older, whatever it says, and so
// is what was older than that in the other layout.
func (f *flusher) newerFile(r *record) (path string) {
	isLast := f.unflushed.last(r.key) == r
	if f.directory.newer == nil || r.kind == kindDelete && !isLast {
		return ""
	}
	var newest []byte
	for _, l := range [...]layout{f.directory.preferred, f.directory.other} {
		file := l.path(f.directory.root, r.key)
		jwt, _, err := ReadFile(file, Stamp{})
		if err == nil && (newest == nil || f.directory.newer(r.key, jwt, newest)) {
			path, newest = file, jwt
		}
	}
	if newest == nil || r.mayFollow(hashOf(newest)) || !f.directory.newer(r.key, newest, r.body) {
		return ""
	}
	return path
}

// supersede lets readers see a durable newer file instead of a change. Of a Delete the tombstone is left.
func (f *flusher) supersede(r *record, newer string) {
	f.warn("%s was put there after a change of the account was accepted, and is newer: "+
		"it stays and is served, and the change is not written", newer)
	if r.kind == kindDelete {
		f.unflushed.keepTombstone(r)
		return
	}
	f.unflushed.recordFlushed([]*record{r})
	f.index.flushed(r, hotStamp())
}

// moveToPlace moves the temp file of a step to its place. A tombstone that was put there since, and is newer,
// stays.
func (f *flusher) moveToPlace(s *flushStep) error {
	newer := ""
	if s.kind == kindDelete && f.directory.newer != nil {
		newer = f.newerTombstone(s.record)
	}
	if newer == "" {
		return move(s.temp, s.target)
	}
	s.state = fileState{} // nothing is written
	if newer != s.target {
		return errors.Join(moveDurable(newer, s.target), removeFile(s.temp))
	}
	return errors.Join(makeDurable(newer), removeFile(s.temp))
}

// newerTombstone returns the path of a tombstone that is newer than that of a Delete; "" if there is none.
func (f *flusher) newerTombstone(r *record) (path string) {
	newest := r.body
	for _, l := range [...]layout{f.directory.preferred, f.directory.other} {
		file := f.directory.file(l, r)
		if kept, _, err := ReadFile(file, Stamp{}); err == nil && f.directory.newer(r.key, kept, newest) {
			path, newest = file, kept
		}
	}
	return path
}
