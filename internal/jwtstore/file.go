package jwtstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// fileState is what stat says of a file. Two that are equal are the same file with the same
// content, unless it is racy.
type fileState struct {
	size, mtime, ctime int64 // bytes and Unix ns; ctime is 0 where there is none
	device, inode      int64 // 0 where there are none
	linked             bool  // it is a symbolic link, or has several names; never if not known
	regular, dir       bool  // neither is set for a device, a FIFO and the like
}

// racyWindow is how long after a change a file may change again without a change of its times: the
// clock of a file system can be as coarse as this.
const racyWindow = 100 * time.Millisecond

// hotStamps numbers the stamps that never compare equal.
var hotStamps atomic.Int64

// stamp describes the file as it was at the time before, which is not after the stat. A time that
// is far ahead is not that of a change just now: it was set, and the next change will give another
// one.
func (s fileState) stamp(before time.Time) Stamp {
	if s.isRacy(before, racyWindow) {
		return hotStamp()
	}
	return s.coldStamp()
}

// isRacy reports whether the times may not tell the next change. window is how coarse the clock of
// the file system may be.
func (s fileState) isRacy(before time.Time, window time.Duration) bool {
	from, to := before.Add(-window).UnixNano(), before.Add(10*window).UnixNano()
	return s.mtime > from && s.mtime < to || s.ctime > from && s.ctime < to
}

// hotStamp returns a stamp that never compares equal.
func hotStamp() Stamp { return Stamp{-2, hotStamps.Add(1)} }

// coldStamp is the stamp of a file whose times tell its next change.
func (s fileState) coldStamp() Stamp { return Stamp{s.size, s.mtime, s.inode, s.ctime} }

// IsHot reports whether the file was written to just before it was read.
func (s Stamp) IsHot() bool { return s[0] == -2 }

// IsCommit reports whether it is the CommitStamp of a change.
func (s Stamp) IsCommit() bool { return s[0] == -1 }

// ReadFile returns the content of the file at path and its stamp; content is nil if the stamp still
// equals known. A file that is not there is fs.ErrNotExist. What is too large for a JWT, or not a
// regular file, is not read.
func ReadFile(path string, known Stamp) (content []byte, now Stamp, err error) {
	return limits{}.readFile(path, known)
}

const (
	// maxReads bounds the attempts to read a file that changes. The last one counts as it is.
	maxReads          = 6
	readRetryInterval = 2 * time.Millisecond
)

// readWhole reads a file that may be written to by hand at the same time. It reads again, a few
// times, while the file changes meanwhile, and while it is empty: to rewrite a file begins with
// emptying it. It takes some milliseconds at most for a file that goes on changing.
func readWhole(path string) (content []byte, now Stamp, err error) {
	for range maxReads {
		var settled bool
		content, now, settled, err = readOnce(path)
		if err != nil || settled {
			break
		}
		time.Sleep(readRetryInterval)
	}
	return content, now, err
}

// readOnce reads the file as it is. settled is false if it has changed meanwhile, or is empty and
// has just been written to. now is of the file as it was after the read.
func readOnce(path string) (content []byte, now Stamp, settled bool, err error) {
	start := time.Now()
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, Stamp{}, false, absentOrIrregular(err)
	}
	defer f.Close()
	before, err := statOpen(f)
	if err == nil {
		err = before.check(path)
	}
	if err != nil {
		return nil, Stamp{}, false, err
	}
	content = make([]byte, before.size+1) // one more, to notice that it has grown
	n, err := io.ReadFull(f, content)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return nil, Stamp{}, false, err
	}
	after, err := statOpen(f)
	now = after.stamp(start)
	settled = after == before && int64(n) == after.size && (n > 0 || !now.IsHot())
	return content[:n], now, settled, err
}

// check refuses what can't be a JWT, before a byte of it is read.
func (s fileState) check(path string) error {
	switch {
	case !s.regular:
		return fmt.Errorf("%w: %s is not a regular file", errIrregular, path)
	case s.size > maxJWT:
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d",
			errIrregular, path, s.size, maxJWT)
	}
	return nil
}

// absentOrIrregular counts a symbolic link to itself among the irregular files. If a file is where
// the directory should be, the file that was asked for is not there.
func absentOrIrregular(err error) error {
	switch {
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: %w", errIrregular, err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// isInFile reports whether err, of opening a path, means that a file is where its directory should
// be. Windows has the same error for a directory that is not there.
func isInFile(path string, err error) bool {
	if !errors.Is(err, syscall.ENOTDIR) {
		return false
	}
	parent, err := statFile(filepath.Dir(path))
	return err == nil && !parent.dir
}

// IsAbsentOrIrregular reports whether an error of opening a path means that no file or directory of
// a store is there.
func IsAbsentOrIrregular(err error) bool {
	err = absentOrIrregular(err)
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIrregular)
}

// notDir refuses a path where a directory is.
func notDir(path string) error {
	if state, err := statFile(path); err == nil && state.dir {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.EISDIR}
	}
	return nil
}

// removeFile sees to it that there is no file at a path.
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

// removeIfThere sees to it that there is no file of this name in an open directory.
func removeIfThere(dir *os.File, name string) error {
	err := absentOrIrregular(removeIn(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// openFile opens a file of the store's own. If something else is in its place, a FIFO or a device
// for instance, the error says so: the open never waits for a process at its other end.
func openFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	state, err := statOpen(f)
	if err == nil && !state.regular {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// writeSynced makes a file with this content on stable storage, as writeNew does.
func writeSynced(path string, content []byte) error {
	_, err := writeNew(path, content, true)
	return err
}

// writeNew makes a file with this content and returns its state. If it is to be synced, the content
// is on stable storage then. Its name is not durable yet. If it fails there is no file. What is at
// the path before is removed, never written to: it may be a FIFO, or a link to something else.
func writeNew(path string, content []byte, synced bool) (state fileState, err error) {
	// openFlags save os.OpenFile four system calls.
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | openFlags
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err = removeFile(path); err == nil {
			f, err = os.OpenFile(path, flags, 0o600)
		}
	}
	if err != nil {
		return fileState{}, err
	}
	_, err = f.Write(content)
	if err == nil && synced {
		err = f.Sync()
	}
	if err == nil {
		state, err = statOpen(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return state, err
}

// move renames a file, also to a directory on another file system, behind a symbolic link.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	content, err := os.ReadFile(from)
	if err == nil {
		err = ReplaceFile(to, content)
	}
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return err
	}
	return os.Remove(from)
}

// ReplaceFile writes a file beside its place, syncs and renames it. The name is not durable yet.
func ReplaceFile(target string, content []byte) error {
	near := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".new")
	if err := writeSynced(near, content); err != nil {
		return err
	}
	return os.Rename(near, target)
}

// syncNames makes the name of a directory durable, and those of its parents. All of them may have
// been made a moment ago, by this process or by one that was killed before it could sync them.
//
// It stops at a mount point, whose name is on another disk. It also stops at a parent that this
// process may not open: no process of this program made it.
func syncNames(path string) error {
	for {
		parent := filepath.Dir(path)
		if parent == path || !onSameDisk(path, parent) {
			return nil
		}
		if err := syncDir(parent); errors.Is(err, fs.ErrPermission) {
			return nil
		} else if err != nil {
			return err
		}
		path = parent
	}
}

// durableNames remembers which directories have a durable name. A directory that was replaced has
// none yet. The zero value is empty.
type durableNames map[string]fs.FileInfo // by path

// has reports whether the name of the directory that is at the path is durable.
func (n durableNames) has(path string) bool {
	info := n[path]
	return info != nil && isAt(path, info)
}

// add records that the name is durable. If the directory has just gone, its name is not.
func (n *durableNames) add(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if *n == nil {
		*n = durableNames{}
	}
	(*n)[path] = info
}

// isAt reports whether what is at path is still this file or directory. It is not if it was renamed
// or removed.
func isAt(path string, info fs.FileInfo) bool {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(now, info)
}

// isIn reports whether an open file is what has this name in an open directory.
func isIn(dir *os.File, name string, f *os.File) bool {
	there, err := statIn(dir, name)
	open, failed := statOpen(f)
	return err == nil && failed == nil && there == open
}
