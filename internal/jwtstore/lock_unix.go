//go:build linux || darwin || freebsd

package jwtstore

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// grab takes the lock of a directory, which is a flock on the directory itself: the kernel gives it back however
// the process ends, it leaves no file behind, and nobody can remove it from under us without removing the
// directory. It returns the open directory and which one it is,
// or ErrLocked if somebody else has the lock.
//
// A file system without flock on directories (NFS) gives another error, and the open directory with it.
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
