//go:build !windows

package jwtstore

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// grab takes the lock of a directory, which is a flock on the directory itself. The kernel gives it
// back however the process ends, it leaves no file behind, and it can't be removed without removing
// the directory. grab returns the open directory and which one it is. If another process has the
// lock it returns ErrLocked.
//
// A file system without flock on directories (NFS) gives another error, and the open directory with
// it.
func grab(path string) (held *os.File, dir fs.FileInfo, err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if dir, err = d.Stat(); err != nil {
		d.Close()
		return nil, nil, err
	}
	err = unix.EINTR
	for err == unix.EINTR {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		d.Close()
		return nil, nil, ErrLocked
	}
	return d, dir, err
}
