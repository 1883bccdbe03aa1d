package jwtstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// presenceInterval is from one look at the directory to the next, while no request looks at it.
const presenceInterval = time.Second

// presence says whether the directory of a store is there. While the server runs its file system
// may be unmounted, or the directory be removed. What is at the path then is not the store, however
// empty it is. A copy of the store is one, unless it is an older one: it may be what was there
// before the file system was mounted.
type presence struct {
	path      string
	directory *directory
	index     *Index
	unflushed *unflushed
	gone      func(fault error) // see Options

	judging sync.Mutex // held while another directory is looked at; guards refused
	refused refusal

	mu    sync.Mutex  // guards what follows
	info  fs.FileInfo // of the directory; nil: it is still to be judged
	fault error       // nil: it is there
}

// refusal is why another directory was not taken for the store the last time.
type refusal struct {
	info  fs.FileInfo // nil: there was none
	err   error
	until time.Time // it is looked at again: to look takes half of the time at most
}

// newPresence watches the directory of a store at a path. One whose index is elsewhere may have
// been unmounted before the start: it is compared with the index before it is taken for the store.
func newPresence(
	path string, o Options, d *directory, index *Index, unflushed *unflushed,
) *presence {
	p := &presence{path: path, directory: d, index: index, unflushed: unflushed, gone: o.Gone}
	if o.StateDir == "" {
		p.info, _ = os.Stat(path)
	}
	return p
}

// check returns nil if the directory is there, or a copy of it. The error is ErrDirectory.
func (p *presence) check() error {
	info, err := os.Stat(p.path)
	switch {
	case err == nil && os.SameFile(info, p.place()):
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

// judge decides about another directory. A copy of the store is the store from then on.
func (p *presence) judge(info fs.FileInfo) error {
	p.judging.Lock()
	defer p.judging.Unlock()
	if os.SameFile(info, p.place()) { // it was judged a moment ago
		return nil
	}
	began := time.Now()
	if r := p.refused; r.info != nil && os.SameFile(info, r.info) && began.Before(r.until) {
		return r.err
	}
	dir, err := openAs(p.path, info)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := p.checkCopy(dir, p.place() != nil); err != nil {
		err = fmt.Errorf("%w: another directory is at %s, %w", ErrDirectory, p.path, err)
		p.refused = refusal{info, err, time.Now().Add(time.Since(began))}
		return err
	}
	if !isAt(p.path, info) { // it was not, perhaps, all the time
		return errElsewhere
	}
	p.mu.Lock()
	p.info = info
	p.mu.Unlock()
	// A copy may have other files: the caller has to look at all of them again, see Index.Lost.
	p.directory.watch.forget()
	p.index.recheck()
	p.directory.findDoubles()
	return nil
}

// record reports a change from there to gone, and back.
func (p *presence) record(fault error) {
	p.mu.Lock()
	isNew := (fault == nil) != (p.fault == nil)
	p.fault = fault
	p.mu.Unlock()
	if isNew {
		p.directory.watch.forget()
		p.gone(fault)
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

// place returns the directory that is the store's; nil if none has been seen yet.
func (p *presence) place() fs.FileInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// checkPlace returns an error unless the directory that is there has been the store's all along.
func (p *presence) checkPlace(before fs.FileInfo) error {
	err := p.check()
	if err == nil && before != nil && !os.SameFile(before, p.place()) {
		err = fmt.Errorf("%w: a copy has just taken the place of %s", ErrDirectory, p.path)
	}
	return err
}

// open opens the directory. What is found in it is the store's, whatever is at the path meanwhile.
// The caller must close it.
func (p *presence) open() (*os.File, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return openAs(p.path, p.place())
}

// openAs opens a directory, which must be the one that is described.
func openAs(path string, want fs.FileInfo) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	if info, err := dir.Stat(); err != nil || !os.SameFile(info, want) {
		_ = dir.Close()
		return nil, cmp.Or(err, errElsewhere)
	}
	return dir, nil
}

// errElsewhere is the error of a file that was not written into the directory, but into another one
// that was at its path for a moment.
var errElsewhere = fmt.Errorf("%w: another directory was at its path for a moment", ErrDirectory)

// copySample is how many accounts are looked for in another directory.
const copySample = 1000

var errFewAccounts = errors.New("which has few or none of the accounts")

// checkCopy returns why an open directory is no copy of the store. It has the files of the accounts
// that the index knows: of the first ones, whose keys are as random as any, at least half. A backup
// may be older than the youngest accounts. What had no file yet when it was made is in its journal.
//
// seen says whether this process has seen the store itself. If it has, none of the files may be
// older than what the index knows. People who restore a backup can restart the server. An unmounted
// file system leaves what was there before it.
func (p *presence) checkCopy(dir *os.File, seen bool) error {
	known, found := 0, 0
	_, noJournal := statIn(dir, filepath.Join(journalDir, journalName))
	for key := range p.index.All() {
		known++
		if p.directory.has(dir, key) || noJournal == nil && p.unflushed.last(key) != nil {
			found++
		}
		if known == copySample {
			break
		}
	}
	if 2*found < known {
		return errFewAccounts
	}
	if !seen {
		return nil
	}
	for key, v := range p.index.Known() {
		if p.unflushed.last(key) == nil && p.directory.hasOlder(key, v) {
			return fmt.Errorf("which has an older JWT of %s: "+
				"restart the server to serve what is there", key)
		}
	}
	return nil
}
