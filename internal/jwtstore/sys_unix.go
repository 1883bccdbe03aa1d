//go:build linux || darwin || freebsd

package jwtstore

import (
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// openFlags keep the open of a FIFO or a device from waiting for a process at its other end.
const openFlags = unix.O_NONBLOCK

// statFile follows symbolic links and opens nothing.
func statFile(path string) (fileState, error) {
	var st unix.Stat_t
	err := unix.EINTR
	for err == unix.EINTR { // file systems in user space can be interrupted
		err = errno(unix.Stat(path, &st))
	}
	if err != 0 {
		return fileState{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stateOf(&st), nil
}

// statOpen is statFile for an open file.
func statOpen(f *os.File) (fileState, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileState{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return stateOf(&st), nil
}

// errno makes the comparison with nil, which unix's errors would cost an allocation for, one of
// numbers.
func errno(err error) unix.Errno {
	e, _ := err.(unix.Errno)
	return e
}

func stateOf(st *unix.Stat_t) fileState {
	return fileState{
		size:    st.Size,
		mtime:   st.Mtim.Nano(),
		ctime:   st.Ctim.Nano(),
		inode:   int64(st.Ino),
		regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
		dir:     st.Mode&unix.S_IFMT == unix.S_IFDIR,
	}
}

// writable says whether this process may make files in dir.
func writable(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// spaceAt returns what the file system of path still takes; known is false if it does not say.
func spaceAt(path string) (s space, known bool) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil || st.Blocks == 0 {
		return space{}, false
	}
	free := uint64(st.Bavail)
	if os.Geteuid() == 0 {
		free = uint64(st.Bfree) // root may use what is reserved
	}
	s = space{bytes: int64(free) * int64(st.Bsize), files: int64(st.Ffree)}
	if st.Files == 0 {
		s.files = math.MaxInt64 // there is no limit
	}
	return s, true
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
