package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// presenceInterval is from one look at the directory to the next, while no request looks at it.
const presenceInterval = time.Second

// presence says whether the directory of a store is there. While the server runs its file system may be
// unmounted, or the directory be removed. What is at the path then is not the store, however empty it
// is. A copy of the store is one.
type presence struct {
	path string
	// isCopy reports whether the directory at the path has what the store knows.
	isCopy func() bool
	// replaced is called when a copy has taken the directory's place.
	replaced func()
	report   func(fault error) // see Options.Gone

	judging sync.Mutex // held while another directory is looked at

	mu    sync.Mutex  // guards what follows
	info  fs.FileInfo // of the directory; nil: it is still to be judged
	fault error       // nil: it is there
}

// check returns nil if the directory is there, or a copy of it. The error is ErrDirectory.
func (p *presence) check() error {
	info, err := os.Stat(p.path)
	switch {
	case err == nil && p.is(info):
	case err == nil && info.IsDir():
		err = p.judge(info)
	case err == nil:
		err = fmt.Errorf("%w: %w", ErrDirectory,
			&fs.PathError{Op: "open", Path: p.path, Err: syscall.ENOTDIR})
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %s does not exist", ErrDirectory, p.path)
	default:
		err = fmt.Errorf("%w: %v", ErrDirectory, err)
	}
	p.record(err)
	return err
}

// is reports whether a directory is the one that the store was opened in.
func (p *presence) is(info fs.FileInfo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info != nil && os.SameFile(info, p.info)
}

// judge decides about another directory. A copy of the store is the store from then on.
func (p *presence) judge(info fs.FileInfo) error {
	p.judging.Lock()
	defer p.judging.Unlock()
	if p.is(info) { // it was judged a moment ago
		return nil
	}
	if !p.isCopy() {
		return fmt.Errorf("%w: another directory is at %s, which has few or none of the accounts",
			ErrDirectory, p.path)
	}
	p.mu.Lock()
	p.info = info
	p.mu.Unlock()
	p.replaced()
	return nil
}

// record reports a change from there to gone, and back.
func (p *presence) record(fault error) {
	p.mu.Lock()
	isNew := (fault == nil) != (p.fault == nil)
	p.fault = fault
	p.mu.Unlock()
	if isNew {
		p.report(fault)
	}
}

// watch checks until ctx ends. So the directory is missed, and found again, without a request too.
func (p *presence) watch(ctx context.Context) {
	ticker := time.NewTicker(presenceInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = p.check() // it is reported
		case <-ctx.Done():
			return
		}
	}
}

// copySample is how many accounts are looked for in another directory.
const copySample = 1000

// isCopy reports whether the directory at the path has the files of the accounts that the index
// knows: of the first ones, whose keys are as random as any, at least half. A backup may be older than
// the youngest accounts. What had no file yet when it was made is in its journal.
func (d *Dir) isCopy() bool {
	known, found := 0, 0
	_, noJournal := statFile(d.journal.path())
	for key := range d.index.All() {
		known++
		if d.directory.has(key) || noJournal == nil && d.unflushed.last(key) != nil {
			found++
		}
		if known == copySample {
			break
		}
	}
	return 2*found >= known
}
