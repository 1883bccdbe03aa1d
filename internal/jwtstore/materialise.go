package jwtstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	settleTime = 200 * time.Millisecond // from a commit to its file: newer versions may come, and one sync does for many
	retryTime  = time.Second            // after a failure
	batchSize  = 256                    // files that are written out before the journal is told
	syncers    = 16                     // files that are synced at a time: the file system does it in one go
)

// materialiser writes files out until Close.
func (d *Dir) materialiser() {
	defer close(d.stopped)
	wait := settleTime
	for {
		select {
		case <-d.wake:
		case <-d.stop:
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-d.hurry:
			timer.Stop()
		case <-d.stop:
			timer.Stop()
			return
		}
		wait = settleTime
		if d.materialise() != nil {
			wait = retryTime
			signal(d.wake)
		}
		d.saveEvents()
	}
}

// materialise writes out everything that is not yet. The error is that of one of the files that could not be written;
// they stay pending.
func (d *Dir) materialise() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	defer d.rounds.Add(1)
	d.mu.Lock()
	all, trash := d.unwritten(), d.trash
	d.trash = nil
	d.mu.Unlock()
	for _, v := range trash {
		d.spoil(v)
	}
	faults := map[string]error{}
	for batch := range slices.Chunk(all, batchSize) {
		d.writeOut(batch, faults)
	}
	return d.settle(faults)
}

// settle makes these the standing faults and warns of the new ones.
func (d *Dir) settle(faults map[string]error) error {
	d.mu.Lock()
	d.faults = faults
	d.mu.Unlock()
	var first error
	for where, err := range faults {
		d.complain(where, err)
		first = err
	}
	if first == nil {
		d.warned = nil
	}
	return first
}

// complain warns once of each cause until all is well again. The error's text is no cause: it may name an aside
// file. Whoever calls it holds writing.
func (d *Dir) complain(where string, err error) {
	cause := err.Error()
	if number := syscall.Errno(0); errors.As(err, &number) {
		cause = number.Error()
	}
	if d.warned[cause] {
		return
	}
	if d.warned == nil {
		d.warned = map[string]bool{}
	}
	d.warned[cause] = true
	d.warn("JWTs can't be written to %s and stay in the journal until they can: %s", where, err)
}

// writableAgain returns nil unless files could not be written where target is. Then it tries again first.
func (d *Dir) writableAgain(target string) error {
	seen := d.rounds.Load()
	if d.fault(target) == nil {
		return nil
	}
	d.writing.Lock()
	again := d.rounds.Load() == seen // else somebody else has just tried
	d.writing.Unlock()
	if again {
		_ = d.materialise()
	}
	return d.fault(target)
}

// fault is the standing fault of a file or of its directory.
func (d *Dir) fault(target string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.faults) == 0 {
		return nil
	}
	if err := d.faults[target]; err != nil {
		return err
	}
	return d.faults[filepath.Dir(target)]
}

// writeOut carries out a batch of Puts and Deletes: the aside files are synced and renamed, deleted JWTs are removed,
// then the directories are synced, then the journal is told, and only then are they not pending any more. Faults are
// added to faults.
func (d *Dir) writeOut(batch []*version, faults map[string]error) {
	failed := make([]error, len(batch))
	parallel(len(batch), func(i int) { failed[i] = d.syncAside(batch[i]) })
	touched := make([][]string, len(batch))
	dirs := map[string]error{}
	for i, v := range batch {
		if failed[i] == nil {
			touched[i], failed[i] = d.carryOut(v)
		}
		if failed[i] != nil {
			d.spoil(v)
			faults[d.blame(v, failed[i])] = failed[i]
			continue
		}
		for _, dir := range touched[i] {
			dirs[dir] = nil
		}
	}
	d.syncDirs(dirs)
	var done []*version
	for i, v := range batch {
		unsynced := slices.IndexFunc(touched[i], func(dir string) bool { return dirs[dir] != nil })
		switch {
		case failed[i] != nil:
		case unsynced >= 0:
			d.spoil(v)
			dir := touched[i][unsynced]
			faults[dir] = dirs[dir]
		default:
			d.removeOther(v)
			done = append(done, v)
		}
	}
	d.finish(done)
}

// target is the file that a version is written to.
func (d *Dir) target(v *version) string {
	if v.kind == kindDelete {
		return d.preferred.tombstone(d.root, v.key)
	}
	return d.preferred.path(d.root, v.key)
}

// carryOut does what the version says and returns the directories that are to be synced then.
func (d *Dir) carryOut(v *version) (touched []string, err error) {
	target := d.target(v)
	touched = []string{filepath.Dir(target)}
	if err := d.place(v.aside, target); err != nil || v.kind != kindDelete {
		return touched, err
	}
	if d.committed(v.key) != v {
		return touched, nil // only the tombstone: there may be a later Put's file already
	}
	// A file that was removed from the other place before, without a sync, must not come back either.
	other := d.other.path(d.root, v.key)
	if dir := filepath.Dir(other); isDir(dir) == nil {
		touched = append(touched, dir)
	}
	return touched, errors.Join(removeFile(d.preferred.path(d.root, v.key)), removeFile(other))
}

// removeFile sees that there is no file at a path.
func removeFile(path string) error {
	if err := notDir(path); err != nil {
		return err
	}
	err := absentOrIrregular(os.Remove(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spoil removes the aside file of a version that was superseded, or that failed: after a failed sync nobody knows
// what is in it.
func (d *Dir) spoil(v *version) {
	if v.aside != "" {
		_ = os.Remove(v.aside)
		v.aside = ""
	}
}

// blame says what a failure stands for: the file, if only that can be the cause, else its directory. What keeps a
// Delete from its end may be in another directory, and keeps nobody else from anything.
func (d *Dir) blame(v *version, err error) string {
	target := d.target(v)
	if errors.Is(err, syscall.EISDIR) || v.kind == kindDelete {
		return target
	}
	return filepath.Dir(target)
}

// syncAside makes the version's aside file durable. If somebody removed it, it is written anew.
func (d *Dir) syncAside(v *version) error {
	if v.aside != "" {
		f, err := os.OpenFile(v.aside, os.O_WRONLY, 0)
		if err == nil {
			return errors.Join(f.Sync(), f.Close())
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := d.writeAside(v); err != nil {
		return err
	}
	return d.syncAside(v)
}

// place renames the aside file to its place. If that is on another file system, behind a symbolic link, it takes a
// copy.
func (d *Dir) place(aside, target string) error {
	if err := errors.Join(notDir(target), d.makeParent(target)); err != nil {
		return err
	}
	err := os.Rename(aside, target)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	content, err := os.ReadFile(aside)
	if err != nil {
		return err
	}
	near := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".new")
	if err := writeSynced(near, content); err != nil {
		return err
	}
	_ = os.Remove(aside)
	return os.Rename(near, target)
}

// syncDirs makes the names in the directories durable, and those of the directories. It fills in what failed.
func (d *Dir) syncDirs(dirs map[string]error) {
	var paths []string
	for path := range dirs {
		paths = append(paths, path)
	}
	failed := make([]error, len(paths))
	parallel(len(paths), func(i int) { failed[i] = syncDir(paths[i]) })
	var parent error
	if d.parentNew.Swap(false) {
		if parent = syncDir(d.root); parent != nil {
			d.parentNew.Store(true)
		}
	}
	for i, path := range paths {
		dirs[path] = errors.Join(failed[i], parent)
	}
}

// removeOther removes the file that lay as with the other setting of Shard, and its directory if it was the last.
func (d *Dir) removeOther(v *version) {
	path := d.other.path(d.root, v.key)
	if v.kind == kindDelete {
		path = d.other.tombstone(d.root, v.key)
	}
	if os.Remove(path) == nil && d.other.shard {
		_ = os.Remove(filepath.Dir(path)) // fails as long as something is in it
	}
}

// finish tells the journal that these files are durable, and forgets what they made superfluous. If the journal
// can't be told, it will be by the next checkpoint; until then a crash only makes a start write them once more.
func (d *Dir) finish(done []*version) {
	if len(done) == 0 {
		return
	}
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	events, err := d.tell(done)
	if err != nil {
		d.journal.stale = true
	} else {
		d.outbox.saved(events)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range done {
		for _, unwritten := range [...]map[string]*version{d.pending, d.graves} {
			if unwritten[v.key] == v {
				delete(unwritten, v.key)
				d.freeRoom(len(v.body))
			}
		}
	}
}

// tell appends the mark that the journal reaches with done, and which events went with it. It is not synced: a
// crash of this process does not lose it.
func (d *Dir) tell(done []*version) (events savepoint, err error) {
	if err := d.journal.ready(); err != nil {
		return savepoint{}, err
	}
	written := make(map[*version]bool, len(done))
	for _, v := range done {
		written[v] = true
	}
	records, events := d.eventsRecord()
	d.mu.RLock()
	records = append(records, record{kind: kindMark, seq: d.mark(written), at: time.Now()})
	d.mu.RUnlock()
	if err := d.journal.append(records, false); err != nil {
		return savepoint{}, err
	}
	return events, nil
}

// parallel calls f for every number below n, a few at a time.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, syncers) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
