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
