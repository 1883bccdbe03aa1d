package jwtstore

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// watch says whether a file may have changed since it was read, and does not look at the file:
// inotify queues an event before the system call that changes something returns. So nothing has
// changed while the queue is empty, and to ask for that costs a tenth of a stat.
//
// inotify tells of changes in a directory. It does not tell of one that another system makes on a
// shared disk, nor of one by a name that the file has elsewhere. Such directories and files are
// looked at each time. What takes the place of a directory above the store's is noticed by
// presence. A write through a memory map, or by a name that a file got later, counts from the next
// Scan on.
type watch struct {
	root string // of the store, ends in a separator

	mu      sync.RWMutex
	fd      int                    // of inotify; -1: there is none
	changed uint64                 // how often something has changed; 0: never
	top     *watchedDir            // the root; nil until it is asked for
	shards  map[string]*watchedDir // by name
	// numbers has the same by what inotify calls them, and those of before forgetLocked.
	numbers map[int32]*watchedDir
}

// watchedDir is a directory with files of the store.
type watchedDir struct {
	changed uint64 // watch.changed when something in it has changed last; 0: it is not known
}

const (
	watchedEvents = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE |
		unix.IN_MOVE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	// forgottenEvents mean that events were lost, or that there is no such directory any more.
	forgottenEvents = unix.IN_Q_OVERFLOW | unix.IN_IGNORED | unix.IN_UNMOUNT | unix.IN_MOVE_SELF
)

// newWatch returns a watch of the files below root, which ends in a separator.
func newWatch(root string) *watch {
	w := &watch{root: root, numbers: map[int32]*watchedDir{}}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil { // the user has too many of them
		fd = -1
	}
	w.fd = fd
	w.forgetLocked()
	return w
}

// changes returns a number that was another one before the last change in the root or a shard. It
// is 0 if that is not known.
func (w *watch) changes(shard string) uint64 {
	w.mu.RLock()
	n, isKnown := w.changesLocked(shard)
	w.mu.RUnlock()
	if isKnown {
		return n
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return 0
	}
	w.readEventsLocked()
	// The root comes first: it tells of what takes the place of the shard.
	if w.top == nil {
		w.top = w.addLocked("")
	}
	dir := w.shards[shard]
	if dir == nil {
		dir = w.addLocked(shard)
		w.shards[shard] = dir
	}
	return w.top.lastChange(dir)
}

// changesLocked is changes if no event is queued. w.mu must be held for reading.
func (w *watch) changesLocked(shard string) (n uint64, isKnown bool) {
	if w.fd < 0 {
		return 0, true
	}
	queued, err := unix.IoctlGetInt(w.fd, unix.TIOCINQ) // in bytes
	dir := w.shards[shard]
	if err != nil || queued > 0 || w.top == nil || dir == nil {
		return 0, false
	}
	return w.top.lastChange(dir), true
}

// lastChange returns when one of two directories has changed last, 0 if that is not known.
func (d *watchedDir) lastChange(other *watchedDir) uint64 {
	if d.changed == 0 || other.changed == 0 {
		return 0
	}
	return max(d.changed, other.changed)
}

// readEventsLocked empties the queue. w.mu must be held.
func (w *watch) readEventsLocked() {
	var buffer [16 << 10]byte
	for {
		n, err := unix.Read(w.fd, buffer[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 { // nothing is queued
			return
		}
		for events := buffer[:n]; len(events) >= unix.SizeofInotifyEvent; {
			word := func(i int) uint32 { return binary.NativeEndian.Uint32(events[4*i:]) }
			w.recordLocked(int32(word(0)), word(1))
			events = events[unix.SizeofInotifyEvent+int(word(3)):] // the name follows
		}
	}
}

// recordLocked records an event. w.mu must be held.
func (w *watch) recordLocked(number int32, mask uint32) {
	w.changed++
	dir := w.numbers[number]
	if mask&unix.IN_IGNORED != 0 {
		delete(w.numbers, number)
	}
	switch {
	// In the root another directory may have taken the place of a shard.
	case dir == nil, dir == w.top, mask&forgottenEvents != 0:
		w.forgetLocked()
	default:
		dir.changed = w.changed
	}
}

// forget lets everything count as changed.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgetLocked()
}

// forgetLocked is forget with w.mu held. inotify goes on watching what it watches: to add a
// directory once more is cheap.
func (w *watch) forgetLocked() { w.top, w.shards = nil, map[string]*watchedDir{} }

// addLocked watches a directory below the root, or the root as "". w.mu must be held.
func (w *watch) addLocked(name string) *watchedDir {
	w.changed++
	path := w.root + name
	number, err := unix.InotifyAddWatch(w.fd, path, watchedEvents)
	if err != nil {
		return &watchedDir{}
	}
	dir := w.numbers[int32(number)] // it may be watched by another name too
	if dir == nil {
		dir = &watchedDir{}
		w.numbers[int32(number)] = dir
	}
	dir.changed = 0
	if tellsAll(path) {
		dir.changed = w.changed
	}
	return dir
}

// distrust lets the files of a shard, "" for the root, count as changed. One of them is a link, or
// has another name. That holds until something changes there: the file is looked at again then.
func (w *watch) distrust(shard string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir := w.shards[shard]
	if shard == "" {
		dir = w.top
	}
	if dir != nil {
		dir.changed = 0
	}
}

// close ends the watch. Then no change is known.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		_ = unix.Close(w.fd)
		w.fd = -1
	}
}

// tellsAll reports whether a directory is on a file system that only this system writes to, and
// that tells of all changes.
func tellsAll(path string) bool {
	kind := fileSystem(path)
	return kind == unix.TMPFS_MAGIC || isOfDisks(kind)
}
