//go:build !windows

package jwtstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the name of the lock file. It is empty, and is there while a process has the
// directory open, or after a crash. A lock is not copied with the file.
const lockName = ".lock-file"

// errQuota is the error of a user whose share of the disk is full.
const errQuota = unix.EDQUOT

// flock is a variable for tests of file systems that can't lock everything.
var flock = unix.Flock

// grab takes the lock of a directory: a flock on <dir>/.lock-file. If another process has it, the
// error is ErrLocked.
//
// The directory is locked as well, and first. Earlier versions of this program lock only that, and
// it can't be removed without removing the directory. But a network file system locks a directory
// for processes of the same host only, or not at all: an exclusive lock wants a file that is open
// for writing there. So a directory that can't be locked is no error, a file that can't be is one.
func grab(dir string) (*grabbed, error) {
	g := &grabbed{at: map[string]fs.FileInfo{}}
	err := g.lockDirectory(dir)
	if err == nil {
		err = g.lockFile(dir)
	}
	if err == nil && !g.isCurrent() { // the process that had the lock has just removed the file
		err = ErrLocked
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// lockDirectory locks the directory itself, if its file system can do that.
func (g *grabbed) lockDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := g.add(dir, d); err != nil {
		return err
	}
	if err := tryLock(d); errors.Is(err, ErrLocked) {
		return err
	}
	return nil
}

// lockFile locks the lock file, and makes it if it is not there.
func (g *grabbed) lockFile(dir string) error {
	path := filepath.Join(dir, lockName)
	file, err := openFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("the lock file of the store can't be opened: %w", err)
	}
	if err := g.add(path, file); err != nil {
		return err
	}
	switch err := tryLock(file); {
	case err == nil, errors.Is(err, ErrLocked):
		return err
	default:
		return fmt.Errorf("%s is on a file system that can't lock files (%w), so that another "+
			"account server could use it at the same time: allow locks there, or move it", dir, err)
	}
}

// add records a file that is to be locked. It is closed with the lock.
func (g *grabbed) add(path string, f *os.File) (err error) {
	g.files = append(g.files, f)
	g.at[path], err = f.Stat()
	return err
}

// tryLock takes the lock of a file and does not wait for it.
func tryLock(f *os.File) error {
	var err error = unix.EINTR
	for err == unix.EINTR {
		err = flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	// ESTALE: a process on another host has just removed the file.
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.ESTALE) {
		return ErrLocked
	}
	return os.NewSyscallError("flock", err)
}

// remove removes the lock file. A process that waits for it notices that.
func (g *grabbed) remove(dir string) { _ = os.Remove(filepath.Join(dir, lockName)) }
