package jwtstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// Options is what OpenDir needs. Only Dir must be set. The functions may be called from any
// goroutine.
type Options struct {
	Dir string // made with its parents if it is missing
	// Shard puts each file into a directory named like the last two characters of its key. Files
	// that lie as with the other setting are served too, and take their new place when they are
	// written.
	Shard bool
	// StateDir is where the index is; "" is the directory of the journal.
	StateDir string
	Announce bool          // see Outbox.SetAnnounce
	LockWait time.Duration // how long to wait for another process that has Dir open; 0 is 10 s
	// Newer reports whether a is newer than b. Both are JWTs of key, or both are its tombstones, or
	// a is a JWT and b a tombstone. It decides between two files of an account in different
	// layouts, and between a file and what a crash has left in the journal. nil: the file in the
	// layout of Shard counts, and the journal before any file.
	Newer func(key string, a, b []byte) bool
	// IssuedAt returns when a JWT was issued, in Unix seconds; false if it is none. nil: no file
	// counts as older than what the index knows.
	IssuedAt func(jwt []byte) (at int64, ok bool)
	// Warn is told what needs attention although the store works: a damaged journal, files that
	// can't be written. It is told of each cause once. nil: no warnings.
	Warn func(format string, args ...any)
	// Gone is told that the directory is not there any more, and with nil that it is back. Until
	// then nothing is read from it or written to it. nil: it is not told.
	Gone func(fault error)
	// Committed is told how many changes have shared a commit, and how long it took. It must return
	// at once. nil: it is not told.
	Committed func(changes int, took time.Duration)
}

// defaultLockWait is long enough for another process to finish its stop.
const defaultLockWait = 10 * time.Second

// Dir is a store in a directory.
//
//	<dir>/YZ/AB…YZ.jwt           the JWTs and tombstones, see directory
//	<dir>/.journal/journal       the commits
//	<dir>/.journal/temp-7        a JWT or tombstone that is on its way to its place
//	<dir>/.journal/index         the index, unless Options.StateDir has it
//	<dir>/.journal/state-dirs    where it is otherwise
//	<dir>/.journal/kv-cursor     how far the bucket was read, see CursorPath
//	<dir>/.journal/*.next        a new journal or index that is not whole yet
//	<dir>/.lock-file             the lock
//	<dir>/.lock                  a note for a process that finds the directory in use
//
// After Close only the JWTs, the tombstones and the index are there, and the journal if something
// is still pending.
type Dir struct {
	writer               // Put, Delete and Touch
	directory *directory // the files
	presence  *presence  // of the directory
	unflushed *unflushed // what readers see before it is in its file
	index     *Index
	outbox    *Outbox
	journal   *journal // shares unflushed and outbox
	flusher   *flusher // moves what is unflushed into files

	life    context.Context // ends when Close begins
	end     context.CancelFunc
	running sync.WaitGroup // the flusher and the watch of the directory
	close   func() error   // calls shut once
}

// OpenDir opens a store. What a crash left in the journal is flushed before it returns, as far as
// the disk permits and up to a batch; the rest is served from memory and flushed soon. A directory
// that can't be written to can be opened, and read. ctx ends the wait for another process. The
// caller must call Close. An error leaves nothing open; it is ErrLocked if another process stays.
//
// The order of the steps: the lock comes before anything is read, since another process may still
// write the journal. The journal is read before the index is opened, since it says how often the
// index was saved. Doubles are settled before the replay, which compares with the files. The replay
// comes before the flush, which writes what it has left. Tasks start last, when all of that is done
// by one goroutine. A crash before the flush leaves the journal as it was, and the next start
// repeats the steps.
func OpenDir(ctx context.Context, o Options) (*Dir, error) {
	// A later change of the working directory must not move the store.
	root, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil { // made durable before the first commit
		return nil, err
	}
	// Without write permission acquire succeeds without the lock: nothing can be written then.
	lock := &dirLock{path: root}
	if err := lock.acquire(ctx, cmp.Or(o.LockWait, defaultLockWait)); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	d, err := newDir(root, o, lock)
	if err != nil {
		lock.release()
		return nil, err
	}
	d.repair(o.Warn)
	d.running.Go(func() { d.flusher.run(d.life) })
	d.running.Go(func() { d.presence.watch(d.life) })
	return d, nil
}

// withDefaults returns the options with functions that do nothing in the place of nil, but for
// Newer.
func (o Options) withDefaults() Options {
	if o.IssuedAt == nil {
		o.IssuedAt = func([]byte) (int64, bool) { return 0, false }
	}
	if o.Warn == nil {
		o.Warn = func(string, ...any) {}
	}
	if o.Gone == nil {
		o.Gone = func(error) {}
	}
	if o.Committed == nil {
		o.Committed = func(int, time.Duration) {}
	}
	return o
}

// newDir puts the parts of a store together. Nothing runs yet. Index, outbox and unflushed have
// what the journal says, and the files are not looked at.
//
// root is absolute. lock is held if the directory can be written to; after an error it is still the
// caller's. The store owns the index file after that, which only Close lets go.
func newDir(root string, o Options, lock *dirLock) (*Dir, error) {
	dir := filepath.Join(root, journalDir)
	found, err := openJournal(filepath.Join(dir, journalName), o.Warn)
	if err != nil {
		return nil, err
	}
	// Index and outbox wake the flusher. One flush takes everything that both have for it.
	wake := make(chan struct{}, 1)
	// No later step can fail, so that nothing has to be undone.
	index, stateDirs, err := openMovedIndex(dir, o, found.saves, wake)
	if err != nil {
		return nil, err
	}
	// The journal may be gone after a clean stop, and the index still has the last number. A number
	// must never be given twice, because stamps and marks are compared by it.
	found.outbox.last = max(found.outbox.last, index.live.seq)
	d := &Dir{
		directory: newDirectory(root, o, index),
		unflushed: found.unflushed,
		index:     index,
		outbox:    newOutbox(found.outbox, o.Announce, wake),
	}
	d.presence = newPresence(root, o, d.directory, index, d.unflushed)
	d.journal = &journal{
		dir:        dir,
		presence:   d.presence,
		lock:       lock,
		outbox:     d.outbox,
		unflushed:  d.unflushed,
		index:      index,
		committed:  o.Committed,
		stateDirs:  stateDirs,
		token:      make(chan struct{}, 1),
		generation: found.generation,
	}
	d.flusher = newFlusher(d, wake, o.Warn)
	d.writer.store = changes{d}
	// The context of OpenDir only bounds the wait for the lock.
	d.life, d.end = context.WithCancel(context.Background())
	d.close = sync.OnceValue(d.shut)
	return d, nil
}

// repair brings directory, index and journal together after a crash, or after files were changed
// by hand. It is called before anything else.
func (d *Dir) repair(warn func(format string, args ...any)) {
	// Without the lock the directory can't be written to, or its disk is full. Another process may
	// have made what is there.
	if d.journal.lock.owned() {
		d.flusher.removeTemps()
	}
	d.directory.findDoubles()
	if left, err := d.directory.settleDoubles(d.journal.lock.ensure); err != nil {
		warn("%s can't be removed, what is newer is served: %s",
			logging.Count(left, "older file", "older files"), err)
	}
	// Index, outbox and unflushed agree with the journal from here on.
	superseded := d.replay()
	if !d.unflushed.isEmpty() {
		// The start waits for one batch, which is up to 1000 files. A first flush also shows early
		// that the directory can't be written to. The flusher goes on with the rest.
		oneBatch := func() bool { return true }
		if _, _ = d.flusher.flush(oneBatch); !d.unflushed.isEmpty() {
			pause.Wake(d.flusher.wake)
		}
	}
	// The records of these changes may go only when the index on the disk knows the newer files. If
	// it can't be saved no mark is written now, and a start after a crash compares them again.
	if len(superseded) > 0 && d.index.save() == nil {
		d.journal.recordFlushed(superseded)
	}
}

// Outbox returns the outbox of this store.
func (d *Dir) Outbox() *Outbox { return d.outbox }

// Index returns the index of this store.
func (d *Dir) Index() *Index { return d.index }

// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known.
// A file that was put there or edited by hand counts at once. An account that is not there is
// fs.ErrNotExist; any other error means that the store can't be read. The caller must not change
// the bytes. key need not be a key: what is none is not there.
func (d *Dir) Load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	return d.load(d.directory.readers, key, known)
}

// load is Load within the limits.
func (d *Dir) load(l limits, key string, known Stamp) (jwt []byte, now Stamp, err error) {
	if !looksLikeName(key) { // what has a wrong checksum besides has no file
		return nil, Stamp{}, unknown(key)
	}
	if r := d.unflushed.last(key); r != nil {
		return r.load(known)
	}
	jwt, now, err = d.directory.load(l, key, known)
	if jwt != nil || errors.Is(err, fs.ErrNotExist) {
		if absent := d.absent(l); absent != nil {
			return nil, Stamp{}, absent
		}
	}
	return jwt, now, err
}

// absent returns an error if the directory is not there: what was found, or not, is not what is
// stored. The error is not fs.ErrNotExist.
func (d *Dir) absent(l limits) error {
	defer l.stats.take()()
	return d.presence.check()
}

// Changes returns a number that is another one after each change of what is stored for key: by Put
// or Delete, or of its file by hand. Other changes may make it another one too. It is 0 if this is
// not known. A Load after it may return what is newer.
func (d *Dir) Changes(key string) uint64 {
	if !looksLikeName(key) || d.unflushed.last(key) != nil {
		return 0
	}
	return d.directory.changes(key)
}

// Tombstone returns what was kept of a deleted account, nil if it was never deleted. An error means
// that it can't be read. The caller must not change the bytes.
func (d *Dir) Tombstone(key string) ([]byte, error) {
	return d.tombstone(d.directory.readers, key)
}

// tombstone is Tombstone within the limits.
func (d *Dir) tombstone(l limits, key string) ([]byte, error) {
	if !trust.IsAccountKey(key) {
		return nil, nil
	}
	if kept := d.unflushed.tombstone(key); kept != nil {
		return kept, nil
	}
	return d.fileTombstone(l, key)
}

// fileTombstone is tombstone for one that has a file.
func (d *Dir) fileTombstone(l limits, key string) ([]byte, error) {
	kept, err := d.directory.tombstone(l, key)
	if err == nil {
		err = d.absent(l)
	}
	return kept, err
}

// changes is the store as a Put, Delete or Touch uses it: they do not wait for readers. Readers
// that wait for a slow disk must not hold a push up. It is for the goroutine that holds the lock of
// the account.
type changes struct {
	*Dir
}

func (c changes) Load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	return c.load(c.directory.writers, key, known)
}

func (c changes) Tombstone(key string) ([]byte, error) {
	return c.tombstone(c.directory.writers, key)
}

// Kept yields every activation token and every account with a tombstone that has a file, in any
// order; the index may lack them. What can't be read is left out.
func (d *Dir) Kept() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, l := range [...]layout{d.directory.other, d.directory.preferred} {
			for f := range d.directory.files(l) {
				isKept := f.isTombstone != trust.IsActivationHash(f.key)
				if isKept && d.directory.isFile(f) && !yield(f.key) {
					return
				}
			}
		}
	}
}

// commit appends a change to the journal. A Put or Delete is refused if its file could not be
// written, as far as that can be known without writing it. A Touch writes no file.
//
// The caller holds the lock of r.key. The checks that can refuse come before the room is taken, and
// room is taken before the journal is written: the room bounds the memory of changes without a
// file. ctx can end the wait for room. It has no effect once the record is queued.
func (d *Dir) commit(ctx context.Context, r *record) (seq uint64, err error) {
	if d.life.Err() != nil {
		return 0, ErrClosed
	}
	if r.kind == kindTouch {
		return d.journal.commit(r)
	}
	if err := d.directory.canTake(r); err != nil {
		return 0, err
	}
	if err := d.reserve(ctx, r.bodySize()); err != nil {
		return 0, err
	}
	// A client that has left while it waited for room gets nothing stored.
	if err = context.Cause(ctx); err == nil {
		seq, err = d.journal.commit(r)
	}
	if err != nil {
		// The journal has not taken the record, so no flush will give its room back.
		d.unflushed.room.Release(r.bodySize())
		return 0, err
	}
	pause.Wake(d.flusher.wake)
	return seq, nil
}

// reserve waits until n more bytes may be unflushed. It does not wait while files can't be written.
// The room is that of Dir.unflushed, and is given back when the file is written. n is in bytes. The
// error is the standing fault, ErrClosed after Close has begun, or the cause of ctx.
func (d *Dir) reserve(ctx context.Context, n int64) error {
	if d.unflushed.room.TryAcquire(n) {
		return nil
	}
	if fault := d.flusher.standingFault(); fault != nil {
		return fault
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.life, func() { cancel(ErrClosed) })()
	d.flusher.flushSoon()
	defer d.flusher.flushSoon() // others may wait too
	if d.unflushed.room.Acquire(ctx, n) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// FlushOver writes what is unflushed into files if it has more bytes than limit. What can't be
// written stays unflushed, and the next commits say why.
func (d *Dir) FlushOver(limit int64) {
	if d.life.Err() == nil && d.unflushed.size() > limit {
		_, _ = d.flusher.flush(nil) // the standing fault has the error
	}
}

// Close writes the last files and lets the directory go. If no nats-server is known and nothing is
// pending, and every file could be written, the journal is removed. An error says what could not be
// written; it is in the journal, and the next start tries again. Later calls do nothing and return
// the same.
func (d *Dir) Close() error { return d.close() }

// shut is Close. Commits end before the last flush, so that none is missed by it.
//
// The order of the steps: end refuses new commits, and journal.close waits for the one that is
// under way. The tasks end before the last flush, so that it has the files to itself. The journal
// is left when it is known what could not be written. The lock goes last: another process may open
// the directory at once. A crash before leave has the journal as it was. After it every change is
// in its file, or in the new journal.
func (d *Dir) shut() error {
	d.end()
	d.journal.close()
	d.running.Wait()
	err, _ := d.flusher.flush(nil)
	_, older := d.directory.settleDoubles(d.journal.lock.ensure)
	err = errors.Join(err, older, d.journal.leave())
	d.index.close()
	d.directory.watch.close()
	d.journal.lock.release()
	return err
}
