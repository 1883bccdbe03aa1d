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
	"sync/atomic"
	"syscall"
	"time"
)

// Options is what OpenDir needs.
type Options struct {
	Dir string // made with its parents if it is missing
	// Shard puts each file into a directory named like the last two characters of its key. Files that lie as with
	// the other setting are served too, and take their new place when they are written.
	Shard    bool
	Announce bool          // see Outbox.SetAnnounce
	LockWait time.Duration // how long to wait for another process to let go of Dir; 0 is 10 s
	// Warn is told of what somebody should look after although the store works: a damaged journal, files that
	// can't be written. Each cause once. nil: nobody.
	Warn func(format string, args ...any)
}

// filesAtOnce bounds the files that Loads and Puts are busy with, however many there are: each is a descriptor, and
// while the disk does not answer a thread of the system too.
const filesAtOnce = 32

const (
	journalDir      = ".journal"
	asidePrefix     = "aside-"
	defaultLockWait = 10 * time.Second
)

// Dir is a store in a directory.
//
//	<dir>/YZ/AB…YZ.jwt           (or <dir>/AB…YZ.jwt) the JWTs
//	<dir>/YZ/AB…YZ.jwt.deleted   (or <dir>/AB…YZ.jwt.deleted) the tombstones
//	<dir>/.journal/journal       the commits
//	<dir>/.journal/aside-7       a JWT or tombstone that is on its way to its place
//	<dir>/.lock                  a note for who finds the directory in use
//
// After Close only the JWTs and tombstones are there, and .journal if something is still owed.
type Dir struct {
	root      string // ends in a separator
	preferred codec
	other     codec
	keys      keyLocks
	lock      dirLock
	warn      func(string, ...any)
	prepared  sync.Mutex // serialises prepare

	turn    chan struct{} // of capacity 1: who puts something in owns the journal until he takes it out
	journal journal

	files     chan struct{} // a slot for each file that a Load or a Put is busy with
	asides    atomic.Uint64 // numbers the aside files
	parentNew atomic.Bool   // a directory was made in root whose name is not durable yet

	writing sync.Mutex     // held while files are written out
	rounds  atomic.Uint64  // how often files have been written out
	wake    chan struct{}  // of capacity 1: there is something to write out
	hurry   chan struct{}  // of capacity 1: somebody waits for room
	stop    chan struct{}  // closed by Close
	stopped chan struct{}  // closed when the materialiser has ended
	close   func() error   // once
	active  sync.WaitGroup // Puts, Deletes and Touches that may still write

	announce bool // when the store is opened
	outbox   *Outbox

	mu      sync.RWMutex // guards what follows
	closed  bool
	pending map[string]*version // the last Put or Delete of an account, if it is not written out
	graves  map[string]*version // a Delete before a Put that is or was pending: its tombstone is not written out
	bytes   int64               // of JWTs and tombstones that are pending or on their way there
	most    int64               // bound of bytes
	room    chan struct{}       // closed and replaced when bytes gets smaller
	queue   []*entry
	trash   []*version       // superseded while they were pending: their aside files are to go
	faults  map[string]error // by path or directory: why files can't be written there
	warned  map[string]bool  // causes of faults
}

// version is a committed Put or Delete that is not written out yet.
type version struct {
	record
	aside string // path of a file with these bytes, "" if there is none
}

// OpenDir opens a store. What a crash left in the journal is written out before it returns, as far as the disk
// permits; what it does not is served from memory. A directory that can't be written to can be opened, and read.
func OpenDir(ctx context.Context, o Options) (*Dir, error) {
	root, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	d := newDir(root, o)
	if err := mkdirDurable(root); err != nil {
		return nil, err
	}
	if err := d.lock.acquire(ctx, cmp.Or(o.LockWait, defaultLockWait)); err != nil {
		return nil, err
	}
	if err := d.replay(); err != nil {
		d.lock.release()
		return nil, err
	}
	if len(d.pending)+len(d.graves) > 0 && d.materialise() != nil {
		signal(d.wake)
	}
	go d.materialiser()
	return d, nil
}

func newDir(root string, o Options) *Dir {
	d := &Dir{
		root:      filepath.Clean(root) + string(filepath.Separator),
		preferred: codec{shard: o.Shard},
		other:     codec{shard: !o.Shard},
		warn:      o.Warn,
		announce:  o.Announce,
		turn:      make(chan struct{}, 1),
		files:     make(chan struct{}, filesAtOnce),
		wake:      make(chan struct{}, 1),
		hurry:     make(chan struct{}, 1),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
		pending:   map[string]*version{},
		graves:    map[string]*version{},
		most:      mostPending,
		room:      make(chan struct{}),
		faults:    map[string]error{},
	}
	if d.warn == nil {
		d.warn = func(string, ...any) {}
	}
	d.lock = dirLock{path: root, warn: d.warn}
	d.journal = journal{dir: d.root + journalDir, prepare: d.prepare, state: d.state}
	d.close = sync.OnceValue(d.shut)
	return d
}

// prepare makes the journal's directory, also when the whole store has been removed, and sees that it is ours.
func (d *Dir) prepare() error {
	d.prepared.Lock()
	defer d.prepared.Unlock()
	if err := mkdirDurable(d.journal.dir); err != nil {
		return err
	}
	if err := writable(d.journal.dir); err != nil {
		return err
	}
	return d.lock.ensure()
}

// replay takes over what an earlier process left in the journal.
func (d *Dir) replay() error {
	data, err := os.ReadFile(d.journal.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r, err := replay(data)
	if err != nil {
		return fmt.Errorf("%s: %w", d.journal.path(), err)
	}
	if text := r.complaint(); text != "" {
		d.warn("the journal %s is damaged: %s; everything else in it is used", d.journal.path(), text)
	}
	d.journal.generation = r.generation
	d.outbox = r.outbox
	d.outbox.announce, d.outbox.wake = d.announce, d.wake
	for _, c := range r.unwritten() {
		v := &version{record: c}
		if older := d.pending[c.key]; older != nil {
			d.graves[c.key] = older
		}
		d.pending[c.key] = v
		d.bytes += int64(len(c.body))
	}
	d.parentNew.Store(len(d.pending) > 0)
	if d.lock.owned() {
		d.sweep()
	}
	return nil
}

// sweep removes what a crash left beside the journal.
func (d *Dir) sweep() {
	left, err := os.ReadDir(d.journal.dir)
	if err != nil {
		return // there is none, or it can't be read: what is in it does no harm
	}
	for _, f := range left {
		if f.Name() != journalName {
			_ = os.RemoveAll(filepath.Join(d.journal.dir, f.Name()))
		}
	}
}

// Load returns what is stored for key and its stamp; jwt is nil when the stamp still equals known. A file that was
// put there or edited by hand counts at once. An account that is not there is fs.ErrNotExist; any other error means
// that the store can't be read. The caller must not change the bytes.
func (d *Dir) Load(key string, known Stamp) (jwt []byte, now Stamp, err error) {
	if !isHash(key) && (!harmless(key) || known == (Stamp{}) && !validKey(key)) { // who has a stamp has asked for this key before
		return nil, Stamp{}, unknown(key)
	}
	if v := d.committed(key); v != nil {
		return v.load(known)
	}
	d.files <- struct{}{}
	defer func() { <-d.files }()
	// The second look at the first place is for a file that takes its new place between the looks.
	for _, c := range [...]codec{d.preferred, d.other, d.preferred} {
		jwt, now, err = load(c.path(d.root, key), known)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return jwt, now, err
		}
	}
	if errors.Is(err, syscall.ENOTDIR) { // a file is where the shard should be: nobody knows what was in that
		return nil, Stamp{}, &fs.PathError{Op: "load", Path: d.preferred.path(d.root, key), Err: syscall.ENOTDIR}
	}
	return nil, Stamp{}, d.missing(key)
}

// committed returns the last Put or Delete of key if it is not written out yet, else nil.
func (d *Dir) committed(key string) *version {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.pending[key]
}

// load is Load for what is not written out yet.
func (v *version) load(known Stamp) (jwt []byte, now Stamp, err error) {
	now = commitStamp(v.seq)
	switch {
	case v.kind == kindDelete:
		return nil, Stamp{}, unknown(v.key)
	case now == known:
		return nil, known, nil
	}
	return v.body, now, nil
}

func load(path string, known Stamp) (jwt []byte, now Stamp, err error) {
	before, err := statFile(path)
	switch {
	case err != nil:
		return nil, Stamp{}, absentOrIrregular(err)
	case before.is(known):
		return nil, known, nil
	}
	if err := before.check(path); err != nil {
		return nil, Stamp{}, err
	}
	return readWhole(path)
}

// missing tells an account that is not there from a directory that is not there: then nobody knows.
func (d *Dir) missing(key string) error {
	if _, err := statFile(d.root); err != nil {
		return fmt.Errorf("the store directory can't be read: %v", err) // %v: it is not the account that is missing
	}
	return unknown(key)
}

// Outbox returns the outbox of this store.
func (d *Dir) Outbox() *Outbox { return d.outbox }

// Close writes the last files and lets the directory go. If no nats-server is known that anything is or could be
// owed to, and every file could be written, the journal is removed. An error says what could not be written; it is in the journal, and the next
// start tries again. Only the first call does something.
func (d *Dir) Close() error { return d.close() }

func (d *Dir) shut() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	close(d.stop)
	<-d.stopped
	d.active.Wait()
	failed := d.materialise()
	err := errors.Join(failed, d.leave())
	d.journal.close()
	d.lock.release()
	return err
}

// leave removes the journal, or makes it say everything.
func (d *Dir) leave() error {
	d.mu.RLock()
	needed := len(d.pending)+len(d.graves) > 0 || d.outbox.isNeeded()
	begun := d.journal.file != nil
	d.mu.RUnlock()
	_, events := d.outbox.unsaved()
	newer := begun || events != (savepoint{})
	switch {
	case needed && newer:
		if err := d.journal.checkpoint(); begun {
			return err
		}
		return nil // on a disk that can't be written to, what an earlier process left says all but who was met since
	case needed, !d.lock.owned():
		return nil
	}
	d.journal.close()
	if _, err := os.Lstat(d.journal.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := os.RemoveAll(d.journal.dir)
	if err == nil {
		err = syncDir(d.root)
	}
	if !begun {
		return nil // on a disk that can't be written to it may stay: it says nothing that the files do not
	}
	return err
}
