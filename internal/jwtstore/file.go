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

// fileState is what stat says of a file.
type fileState struct {
	size, mtime, ctime, inode int64 // bytes and Unix ns
	regular, dir              bool
}

// racyWindow is how long after a change a file may change again without its times telling: the clock of a file
// system can be as coarse as this.
const racyWindow = 100 * time.Millisecond

var hot atomic.Int64 // numbers the stamps that never compare equal

// stamp describes the file as it was at the time before, which is not after the stat. A time that is far ahead is not that of a
// change just now: it was set, and the next change will give another one.
func (s fileState) stamp(before time.Time) Stamp {
	from, to := before.Add(-racyWindow).UnixNano(), before.Add(10*racyWindow).UnixNano()
	if s.mtime > from && s.mtime < to || s.ctime > from && s.ctime < to {
		return Stamp{-2, hot.Add(1)}
	}
	return Stamp{s.size, s.mtime, s.inode, s.ctime}
}

// is says whether known is a stamp of this state, and of one that was cold.
func (s fileState) is(known Stamp) bool {
	return known == Stamp{s.size, s.mtime, s.inode, s.ctime}
}

const (
	readTries = 6
	readPause = 2 * time.Millisecond
)

// readWhole reads a file that somebody may be writing to by hand. It reads again, a few times, while the file
// changes under it, and while it is empty, which is how rewriting a file begins.
func readWhole(path string) (content []byte, now Stamp, err error) {
	for try := range readTries {
		if try > 0 {
			time.Sleep(readPause)
		}
		var settled bool
		content, now, settled, err = readOnce(path)
		if err != nil || settled {
			break
		}
	}
	return content, now, err
}

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
	content = make([]byte, before.size+1) // to notice that it has grown
	n, err := io.ReadFull(f, content)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return nil, Stamp{}, false, err
	}
	after, err := statOpen(f)
	now = after.stamp(start)
	settled = after == before && int64(n) == after.size && (n > 0 || now[0] >= 0)
	return content[:n], now, settled, err
}

// check refuses what can't be a JWT, before a byte of it is read.
func (s fileState) check(path string) error {
	switch {
	case !s.regular:
		return fmt.Errorf("%w: %s is not a regular file", errIrregular, path)
	case s.size > maxJWT:
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d", errIrregular, path, s.size, maxJWT)
	}
	return nil
}

// absentOrIrregular counts a symbolic link to itself among the irregular files, and a file where the directory
// should be as no file.
func absentOrIrregular(err error) error {
	switch {
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: %w", errIrregular, err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// mkdirDurable makes a directory and its parents, and their names durable.
func mkdirDurable(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return isDir(path)
	case errors.Is(err, fs.ErrNotExist) && parent != path:
		if err := mkdirDurable(parent); err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case err != nil:
		return err
	}
	return syncDir(parent)
}

func isDir(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	return err
}
