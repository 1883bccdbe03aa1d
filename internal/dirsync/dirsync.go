// Package dirsync keeps a store in step with a directory that another program writes: a directory
// of JWTs under version control, or the directory of nsc.
//
//	Folder ──> a File has changed ──> accounts.Put    ──> store   files.go
//	       ──> a File is gone     ──> accounts.Remove ──> store   removals.go
//
// Every file is decided about like what comes in any other way. So the store has what can be served
// of the directory, and which nats-server has acknowledged what. What a File can be, and how it
// comes to be that, is the table in state.go.
//
// Activation tokens are kept in memory. The Folder itself serves JWTs that the store has no room
// for.
//
// # Files
//
// In the order in which to read them: dirsync.go has the Syncer and the order of its steps. folder.go
// reads a directory, and watch.go notices what changes in it. files.go and removals.go bring that to
// the store. state.go is the table of what a File can be.
package dirsync

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

const (
	// settleTime is when files that are being written, or that come many at a time, are looked at
	// again.
	settleTime = 150 * time.Millisecond
	// scanInterval is how often the files are looked at without any notice of a change: not every
	// file system gives one. What can't be taken now is offered again after this time.
	scanInterval = 30 * time.Second
	// maxFillScans is how often Fill scans a directory that is being written to.
	maxFillScans = 5
	// maxOffers bounds the files that are decided about at a time, and the removals. Their commits
	// share a sync.
	maxOffers = 32
)

// Store is what the accounts are kept in, as jwtstore has it.
type Store interface {
	Load(key string, known jwtstore.Stamp) (jwt []byte, now jwtstore.Stamp, err error)
	Index() *jwtstore.Index
}

// Options is what a Syncer needs.
type Options struct {
	Folder      *Folder // also Accounts' source of what is unsaved
	Store       Store   // of Accounts
	Accounts    *accounts.Registry
	Activations *activations.Registry
	Tokens      *jwtstore.Memory // the store of Activations
	Log         *slog.Logger
}

// Syncer keeps a store in step with a Folder. Rejudge may be called from any goroutine, Fill and
// Run from one.
type Syncer struct {
	Options
	wake         chan struct{} // of capacity 1: a scan is wanted now
	trustChanged atomic.Bool   // since the last scan
	// filled says that Fill is done. A token that changes from then on is announced.
	filled bool
	// compared says that compareStore has found what the store had from an earlier start, and the
	// Folder does not have.
	compared   bool
	unreadable logging.Condition // what keeps the Folder from being read
	unwatched  logging.Condition // what keeps changes from being noticed
	empty      logging.Condition // why a Folder without a file is not compared

	// mu guards removals while files are being decided about.
	mu       sync.Mutex
	removals []*removal // what removeQueued is to remove
}

// New returns a Syncer that has not scanned its Folder yet.
func New(o Options) *Syncer { return &Syncer{Options: o, wake: make(chan struct{}, 1)} }

// Rejudge has every file decided about again, because the trust has changed. It does not wait for
// that.
func (s *Syncer) Rejudge() {
	s.trustChanged.Store(true)
	pause.Wake(s.wake)
}

// Fill fills the store before it is served, also with what was written just now. Run comes after
// it. A directory that is written to all the time delays it by some scans only.
func (s *Syncer) Fill(ctx context.Context) {
	for range maxFillScans {
		if s.scan(ctx) || !pause.For(ctx, settleTime) {
			break
		}
	}
	s.filled = true
}

// Run follows the Folder until ctx ends. The first wait begins to watch, and returns at once. It
// closes the Folder at the end. Its error is always nil.
func (s *Syncer) Run(ctx context.Context) error {
	defer s.Folder.Close()
	for settled := true; ctx.Err() == nil; settled = s.scan(ctx) {
		s.wait(ctx, settled)
	}
	return nil
}

// wait returns when the files are to be looked at again.
func (s *Syncer) wait(ctx context.Context, settled bool) {
	timeout := scanInterval
	if !settled { // changes of the last moments may not show yet
		timeout = settleTime
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_ = s.Folder.Watch(ctx, s.wake) // the error is that of ctx: it is time for a scan
	s.unwatched.Log(s.Log, s.Folder.Unwatched())
}

// scan offers what has changed and removes what is gone, and returns when all of that is done.
// settled is false if the next scan may see more, though nothing changes until then.
func (s *Syncer) scan(ctx context.Context) (settled bool) {
	if s.trustChanged.Swap(false) {
		// The flag is taken before the Scan, so a change during it leads to another scan.
		s.Folder.Rejudge()
	}
	var group errgroup.Group
	group.SetLimit(maxOffers)
	accountsOffered := false
	gone, settled, err := s.Folder.Scan(func(f *File) {
		if f.Err == nil && trust.IsActivationHash(f.Key) {
			return // the account that has signed it may come in this Scan
		}
		accountsOffered = true
		group.Go(func() error { s.offer(ctx, f); return nil })
	})
	_ = group.Wait() // the functions return no error
	// Before accounts are removed, so that what is unsaved of a file that is gone is not served on.
	s.Folder.serveUnsaved()
	s.logUnreadable(err)
	for _, f := range gone {
		// A file from which nothing was taken has the zero version, which removeLater ignores.
		s.removeLater(f.taken)
	}
	// As long as files are being written it is not known what the Folder has.
	if settled && err == nil && !s.compared {
		s.compareStore(ctx)
	}
	settled = s.removeQueued(ctx) && settled
	s.offerTokens(ctx, accountsOffered)
	return settled
}

// logUnreadable says that a directory can't be read, or that all of them can be again. Until then
// nothing of it is removed.
func (s *Syncer) logUnreadable(err error) {
	switch {
	case err != nil:
		err = fmt.Errorf("what is served can't be read whole: %w: what was read before is "+
			"served on until it can be read", err)
	case s.unreadable != "":
		s.Log.Info("what is served can be read again")
	}
	s.unreadable.Log(s.Log, err)
}
