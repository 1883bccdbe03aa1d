package jwtstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// State is how a store is doing.
type State struct {
	Behind  int   // accounts whose files are not written yet
	Journal int64 // bytes of the journal's file
	Free    int64 // bytes that the file system still takes; below 0: not known
}

// State returns how the store is doing. It looks at no file of an account.
func (d *Dir) State() State {
	s := State{Behind: d.unflushed.count(), Free: spaceAt(d.directory.root)}
	if info, err := os.Stat(d.journal.path()); err == nil {
		s.Journal = info.Size()
	}
	if s.Free == math.MaxInt64 {
		s.Free = -1
	}
	return s
}

// trialInterval is how often Check tries to write, while the last commit has failed.
const trialInterval = 5 * time.Second

// trialBytes is what Check writes then, and the least room: as much as a large JWT.
const trialBytes = 64 << 10

// Check returns why the store can't take changes now; nil: it can, as far as is known. While the
// last commit has failed it tries to write, since there may be no other commit before it is said to
// work.
func (d *Dir) Check() error {
	if err := d.presence.check(); err != nil {
		return err
	}
	for _, dir := range []string{d.directory.root, d.journal.dir} {
		if err := writable(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if free := spaceAt(d.directory.root); free < trialBytes {
		return fmt.Errorf("the disk is full: %d bytes are left at %s", free, d.directory.root)
	}
	if fault := d.flusher.standingFault(); fault != nil {
		return fault
	}
	return d.journal.fault.check(d.tryToWrite)
}

// tryToWrite writes a file beside the journal and removes it.
func (d *Dir) tryToWrite() error {
	path := filepath.Join(d.journal.dir, tempPrefix+"trial")
	defer os.Remove(path)
	if err := writeSynced(path, make([]byte, trialBytes)); err != nil {
		return fmt.Errorf("writing a file of %d bytes for a trial: %w", trialBytes, err)
	}
	return nil
}

// commitFault is why the last commit has failed. The zero value is none.
type commitFault struct {
	mu    sync.Mutex // guards what follows
	err   error
	tried time.Time // when check called try last
}

// set records the outcome of a commit.
func (f *commitFault) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// check returns why the last commit has failed. From time to time it calls try: the fault is over
// if that succeeds.
func (f *commitFault) check(try func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil && time.Since(f.tried) >= trialInterval {
		f.tried = time.Now()
		f.err = try()
	}
	return f.err
}

// State returns how the store is doing: nothing of it is on a disk.
func (m *Memory) State() State { return State{Free: -1} }

// Check returns nil.
func (m *Memory) Check() error { return nil }
