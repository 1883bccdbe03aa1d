package jwtstore

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"nats-account-server/internal/pause"
)

const (
	// settleTime is how long a commit waits for its file: newer versions may come, and one sync
	// does for many.
	settleTime    = 200 * time.Millisecond
	retryInterval = time.Second // from a failed flush to the next
	batchSize     = 1000        // changes that are flushed before the journal is told
	// busyRate is how many commits a second the files wait for, until maxWaiting bytes have none. On
	// a slow disk they wait for fewer: if commits take half of the time.
	busyRate   = 250
	maxWaiting = maxUnflushed / 4
	tempPrefix = "temp-"
)

// flusher writes the files of unflushed changes.
//
//	from        when                              to
//	idle        a change is committed             settling
//	settling    after settleTime, unless isBusy   flushing
//	settling    flushNow                          flushing
//	flushing    everything is written             idle
//	flushing    after a batch, if isBusy          settling
//	flushing    something can't be written        failing
//	failing     after retryInterval, or flushNow  flushing
//
// Changes are flushed in batches. Each step is taken for a whole batch:
//
//  1. temp files are written and synced
//  2. they are renamed to their place, and deleted JWTs are removed, unless a newer JWT is there
//     that the commit did not know: it was put there since, and stays. What the accounts have in
//     the other layout is removed
//  3. the directories are synced
//  4. the index is saved with the stamps of the files
//  5. the journal gets the mark, and the changes are flushed
//
// After a crash the journal has what was not flushed, and the next process writes it once more.
//
// A change whose file can't be written stays unflushed, and so does one whose older file can't be
// removed from the other layout: it is served from memory and is in the journal. The first reason
// is the standing fault until all changes can be flushed.
type flusher struct {
	directory *directory
	presence  *presence // of the directory
	journal   *journal  // is told what is flushed; its directory has the temp files
	unflushed *unflushed
	index     *Index
	warn      func(format string, args ...any) // see Options

	wake     chan struct{} // of capacity 1: there is something to flush
	flushNow chan struct{} // of capacity 1: a Put waits for room

	fault atomic.Pointer[error] // the standing fault; nil, or of nil: all is well
	pace  pace                  // of the commits, when isBusy was asked last

	flushing sync.Mutex   // held during a flush; guards what follows
	shards   durableNames // the shards whose names in the root are durable
	// cleared is the directories of the other layout in which every removal is durable, also those
	// of earlier processes.
	cleared map[string]bool
	temps   int    // temp files so far: what a failure has left is never taken for a later one
	warned  string // the cause that was warned of last, "" since all is well
}

// newFlusher returns the flusher of a store that has all other parts. wake is signalled by these
// too.
func newFlusher(d *Dir, wake chan struct{}, warn func(format string, args ...any)) *flusher {
	return &flusher{
		directory: d.directory,
		presence:  d.presence,
		journal:   d.journal,
		unflushed: d.unflushed,
		index:     d.index,
		warn:      warn,
		wake:      wake,
		flushNow:  make(chan struct{}, 1),
		cleared:   map[string]bool{},
	}
}

// run flushes what is unflushed until ctx ends. What is left then is for Close. A failed flush is
// tried again after a second, without an end.
func (f *flusher) run(ctx context.Context) {
	wait := settleTime
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return
		}
		if !f.settle(ctx, wait) {
			return
		}
		wait = settleTime
		fault, unsaved := f.flush(f.isBusy)
		if fault != nil || unsaved != nil {
			wait = retryInterval
		}
		if wait == retryInterval || !f.unflushed.isEmpty() {
			pause.Wake(f.wake)
		}
		f.journal.saveEvents()
	}
}

// settle waits, and then until commits come more slowly. It reports false if ctx ends.
func (f *flusher) settle(ctx context.Context, wait time.Duration) bool {
	for {
		select {
		case <-time.After(wait):
		case <-f.flushNow:
			return true
		case <-ctx.Done():
			return false
		}
		if !f.isBusy() {
			return true
		}
		wait = settleTime
	}
}

// isBusy reports whether commits have come so fast since it was asked last that files should wait
// for them: both share the disk. Only run may call it.
func (f *flusher) isBusy() bool {
	before := f.pace
	f.pace = pace{f.journal.outbox.lastSeq(), time.Duration(f.journal.spent.Load()), time.Now()}
	return f.pace.isBusySince(before) && f.unflushed.size() < maxWaiting
}

// pace is how many changes there had been at a time, and how long all commits had taken.
type pace struct {
	seq   uint64
	spent time.Duration
	at    time.Time
}

// isBusySince reports whether there are many commits since an earlier time, or slow ones.
func (p pace) isBusySince(before pace) bool {
	elapsed := p.at.Sub(before.at)
	return float64(p.seq-before.seq) > busyRate*elapsed.Seconds() ||
		p.spent-before.spent > elapsed/2
}

// flushSoon has changes flushed without waiting for them to settle.
func (f *flusher) flushSoon() {
	pause.Wake(f.flushNow)
	pause.Wake(f.wake)
}

// flush writes everything that is unflushed, and what the index has learned otherwise: a file was
// put there by hand. It ends after a batch if isBusy says so; nil never does. The fault is the
// first that is left of the changes. unsaved is why the index could not be saved, nil if it could.
// With a fault of the directory nothing is written. The caller may be any goroutine: they take
// turns.
func (f *flusher) flush(isBusy func() bool) (fault, unsaved error) {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	if fault = f.presence.check(); fault == nil {
		for batch := range slices.Chunk(f.changes(), batchSize) {
			fault = cmp.Or(fault, f.flushBatch(batch))
			if isBusy != nil && isBusy() {
				break
			}
		}
		unsaved = f.index.save()
		f.warnOf(fault)
	}
	f.fault.Store(&fault)
	return fault, unsaved
}

// standingFault returns why something could not be flushed the last time; nil: all is well.
func (f *flusher) standingFault() error {
	if fault := f.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// changes returns what is unflushed, oldest first. If that is more than a batch, the files of one
// directory come together.
func (f *flusher) changes() []*record {
	all := f.unflushed.all()
	if len(all) > batchSize && f.directory.preferred.sharded {
		slices.SortStableFunc(all, func(a, b *record) int {
			return cmp.Compare(shard(a.key), shard(b.key))
		})
	}
	return all
}

// warnOf warns of a standing fault when its cause has changed. The text of an error is no cause: it
// may name a temp file. f.flushing must be held.
func (f *flusher) warnOf(fault error) {
	cause := ""
	if number := syscall.Errno(0); errors.As(fault, &number) {
		cause = number.Error()
	} else if fault != nil {
		cause = fault.Error()
	}
	if cause != "" && cause != f.warned {
		f.warn("JWTs can't be written and stay in the journal until they can: %s", fault)
	}
	f.warned = cause
}

// removeTemps removes what a crash left beside the journal, also of versions that had other temp
// files.
func (f *flusher) removeTemps() {
	keep := []string{journalName, indexName, stateDirsName, cursorName}
	left, _ := os.ReadDir(f.journal.dir) // what can't be read does no harm
	for _, file := range left {
		if !slices.Contains(keep, file.Name()) {
			_ = os.RemoveAll(filepath.Join(f.journal.dir, file.Name()))
		}
	}
}
