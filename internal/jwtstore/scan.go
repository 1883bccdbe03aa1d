package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// Scan is how a store looks for what was changed in it by hand, so that its index does not know it.
//
// A directory that has the Stamp of the last scan has the same files as then. They may have been
// edited in place since; only a scan of every file finds that. Both find what was put there,
// renamed to its place or removed. The zero Scan looks at the directories that have changed, and
// tells nothing.
//
// A Scan costs a stat for each directory, and for each account of those that have changed. It reads
// no JWT: Look does that.
type Scan struct {
	// Every has all files looked at, also in directories that have not changed.
	Every bool
	// Gently leaves processor and disk to others for most of the time.
	Gently bool
	// Look is told of an account of whose file the index knows nothing or another Stamp, or which
	// has none any more. It brings the index up to date, and returns whether it could. For what
	// can't be read there is an error, and no key if that is a directory. Several goroutines call
	// it.
	Look func(key string, err error) (ok bool)
	// Progress is told how many of all directories have been listed; nil: it is not told.
	Progress func(listed, all int)
}

// scan is one Scan of a Dir. One goroutine uses it but for looks.
//
// The looks run beside it. They use the index, and failed of a scannedDir, which is why that is
// atomic.
type scan struct {
	Scan
	*Dir
	dirs  map[string]*scannedDir // by name in the root; "" is the root itself
	looks errgroup.Group
	stats int       // files whose state was asked for so far
	since time.Time // when the last pause ended
}

// scannedDir is a directory of a store while it is scanned.
type scannedDir struct {
	// now is the stamp from before the scan; zero: the next scan must look again.
	now     Stamp
	changed bool        // it is not as the index has it
	seen    int         // files of accounts that the index knows
	failed  atomic.Bool // something in it is not in the index yet
}

// racyDirectory is how long after a change of a directory its times may not tell the next one. It
// is a variable for tests. Some file systems have times of whole seconds, and FAT of two.
var racyDirectory = 2 * time.Second

// Scan scans the directory. It returns when every Look has returned. An error is that of ctx. What
// is changed meanwhile may be found, or else by the next Scan.
//
// The order of the steps: the stamps of the directories are taken before their files are looked at.
// So a change during the scan leaves a directory that differs from its stamp, and the next scan
// looks again. Accounts that the index knows come before the listing: a directory in which all
// files were seen need not be compared name by name. The stamps are recorded last, when every look
// has returned. A crash before that leaves the old stamps, and the next scan repeats the work.
func (d *Dir) Scan(ctx context.Context, o Scan) error {
	s := &scan{Scan: o, Dir: d, since: time.Now()}
	s.looks.SetLimit(runtime.GOMAXPROCS(0))
	d.directory.watch.forget() // GETs look once more at what no event has told of
	// The place is compared at the end: files of a directory that came meanwhile say nothing of the
	// stamps.
	place := d.presence.place()
	absent := d.presence.check()
	if absent == nil {
		absent = s.statDirs()
	}
	if absent == nil {
		s.lookAtUnflushed()
		s.compare(ctx)
		s.list(ctx)
		_ = s.looks.Wait() // the functions return no error
		absent = d.presence.checkPlace(place)
	}
	switch {
	// Nothing is recorded then. What Look has found is true all the same.
	case absent != nil:
		s.Look("", absent)
	// A scan that was ended early does not know all files of its directories.
	case ctx.Err() == nil:
		s.record()
	}
	return context.Cause(ctx)
}

// noAccounts stands for the stamp of a root in which no account has its file. The root itself
// changes with each start. While it has accounts it counts as changed.
var noAccounts = Stamp{-3}

// statDirs finds out which directories have changed. One that is gone has changed too. A sharded
// store has up to 1024 directories.
//
// The root is read once, for the names of the shards. The error wraps ErrDirectory.
func (s *scan) statDirs() (fault error) {
	known := s.index.directories()
	s.dirs = map[string]*scannedDir{"": {now: noAccounts}}
	for name := range known {
		s.addDir(name)
	}
	for e, err := range s.directory.list(s.directory.root) {
		if err != nil {
			fault = fmt.Errorf("%w: %w", ErrDirectory, err)
		} else if isShard(e.Name()) {
			s.addDir(e.Name())
		} else if key, ok := (layout{}).name(e.Name()); ok && !trust.IsActivationHash(key) {
			s.dirs[""].now = Stamp{}
		}
	}
	names := slices.Collect(maps.Keys(s.dirs))
	// Each goroutine writes the fields of its own directory, and the map is only read.
	parallel(len(names), func(i int) {
		name, x := names[i], s.dirs[names[i]]
		if name != "" {
			x.now = s.directory.stampOf(name)
		}
		// A zero stamp is one that could not be taken, or that may not tell the next change.
		x.changed = s.Every || x.now == Stamp{} || x.now != known[name]
	})
	return fault
}

// addDir adds a directory that is to be scanned.
func (s *scan) addDir(name string) {
	if s.dirs[name] == nil {
		s.dirs[name] = &scannedDir{}
	}
}

// stampOf returns the stamp of a directory below the root; zero if its times may not tell the next
// change.
func (d *directory) stampOf(name string) Stamp {
	defer d.readers.stats.take()()
	before := time.Now()
	state, err := statFile(d.root + name)
	if err != nil || state.ctime == 0 || state.isRacy(before, racyDirectory) {
		return Stamp{}
	}
	return state.coldStamp()
}

// lookAtUnflushed looks at what is stored without a file, and was not indexed when it was
// committed.
func (s *scan) lookAtUnflushed() {
	for key, stored := range s.unflushed.accounts() {
		if stored && !s.index.Get(key).Stored() {
			s.look(nil, key)
		}
	}
}

// compare looks at the accounts of the index whose directories have changed.
//
// An account whose file is in neither layout has the zero stamp here. It is looked at if the index
// has a file of it, so a removed file is found as well.
func (s *scan) compare(ctx context.Context) {
	if !s.isAnyChanged() {
		return
	}
	for key, v := range s.index.All() {
		// With a changed root every account is compared, because a flat file is in the root.
		in, stamp := s.dirs[shard(key)], Stamp{}
		if !s.dirs[""].changed && (in == nil || !in.changed) {
			continue
		}
		if name, now, ok := s.directory.find(key); ok && s.dirs[name] != nil {
			in, stamp = s.dirs[name], now
			// listDir compares this number with the files of the directory.
			in.seen++
		}
		if stamp != v.Stamp {
			s.look(in, key)
		}
		if !s.pauseIfDue(ctx) {
			return
		}
	}
}

// isAnyChanged reports whether one of the directories has changed.
func (s *scan) isAnyChanged() bool {
	for _, x := range s.dirs {
		if x.changed {
			return true
		}
	}
	return false
}

// find returns the directory in which an account has its file, and the stamp of the file. Two calls
// of the system at most.
func (d *directory) find(key string) (name string, now Stamp, ok bool) {
	defer d.readers.stats.take()()
	for _, l := range [...]layout{d.preferred, d.other} {
		state, err := statFile(l.path(d.root, key))
		switch {
		case err != nil:
			continue
		case l.sharded:
			name = shard(key)
		}
		return name, state.coldStamp(), true
	}
	return "", Stamp{}, false
}

const (
	// pauseAfter is after how many files a gentle scan pauses.
	pauseAfter = 256
	// gentleParts says that a gentle scan takes one of so many parts of the time.
	gentleParts = 5
)

// pauseIfDue pauses now and then, if that is wanted. It returns false when ctx has ended.
func (s *scan) pauseIfDue(ctx context.Context) bool {
	// One look at ctx for 256 files is enough: they take some milliseconds.
	if s.stats++; s.stats%pauseAfter != 0 {
		return true
	}
	if s.Gently {
		pause.Share(ctx, s.since, gentleParts)
		s.since = time.Now()
	}
	return ctx.Err() == nil
}

// list looks at the files that the index does not know, in the directories that have changed.
func (s *scan) list(ctx context.Context) {
	listed := 0
	for _, name := range slices.Sorted(maps.Keys(s.dirs)) {
		if x := s.dirs[name]; x.changed {
			if err := s.listDir(ctx, name, x); err != nil {
				x.failed.Store(true)
				s.Look("", err)
			}
		}
		if ctx.Err() != nil {
			return
		}
		if listed++; s.Progress != nil {
			s.Progress(listed, len(s.dirs))
		}
	}
}

// listDir is list for one directory. If it has as many files as compare has seen in it, these are
// all.
//
// Counting needs names only. If a file that the index knows has gone and another has come, the
// numbers differ from seen, because only files that are there were counted.
func (s *scan) listDir(ctx context.Context, name string, x *scannedDir) error {
	if x.seen > 0 {
		files := 0
		for _, err := range s.directory.accounts(name) {
			if err != nil {
				return err
			}
			files++
		}
		if files == x.seen {
			return nil
		}
	}
	for key, err := range s.directory.accounts(name) {
		if err != nil {
			return err
		}
		if !s.index.Get(key).Stored() {
			s.look(x, key)
		}
		if !s.pauseIfDue(ctx) {
			break
		}
	}
	return nil
}

// accounts yields the accounts that have a file in a directory. name is "" for the root. What is in
// a shard where it does not belong is no file of an account. An error is the last.
func (d *directory) accounts(name string) iter.Seq2[string, error] {
	dir, l := d.root, layout{}
	if name != "" {
		dir, l = d.root+name+string(filepath.Separator), layout{sharded: true}
	}
	return func(yield func(string, error) bool) {
		for e, err := range d.list(dir) {
			if name != "" && errors.Is(err, fs.ErrNotExist) {
				return // its last file has gone
			}
			if err != nil {
				yield("", err)
				return
			}
			key, ok := l.name(filepath.Join(name, e.Name()))
			isAccount := ok && !trust.IsActivationHash(key) &&
				d.isFile(storedFile{key: key, dir: dir, entry: e})
			if isAccount && !yield(key, nil) {
				return
			}
		}
	}
}

// look has an account looked at, which has its file in this directory; nil: in none. While many are
// being looked at it waits. in.failed keeps the directory out of what record writes. A hot stamp
// fails it too: the file may change once more without another stamp. So does a commit whose file is
// not written yet.
func (s *scan) look(in *scannedDir, key string) {
	s.looks.Go(func() error {
		ok := s.Look(key, nil)
		if now := s.index.Get(key).Stamp; in != nil && (!ok || now.IsHot() || now.IsCommit()) {
			in.failed.Store(true)
		}
		return nil
	})
}

// record lets the index know the directories of which it knows all files. A directory whose
// accounts could not all be looked at is looked at again. The index saves the stamps with or after
// the entries of these files, see indexEntries.batch.
func (s *scan) record() {
	known := map[string]Stamp{"": {}} // so that it is never empty, see IsFilled
	for name, x := range s.dirs {
		if x.now != (Stamp{}) && !x.failed.Load() {
			known[name] = x.now
		}
	}
	s.index.setDirectories(known)
}
