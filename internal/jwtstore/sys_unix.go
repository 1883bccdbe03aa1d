//go:build linux || darwin || freebsd

package jwtstore

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags keep the open of a FIFO or a device from waiting for a process at its other end.
const openFlags = unix.O_NONBLOCK

// statFile follows symbolic links and opens nothing.
func statFile(path string) (fileState, error) {
	state, err := statAt(path, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && state.linked {
		state, err = statAt(path, 0)
		state.linked = true
	}
	return state, err
}

// statAt is fstatat(2) for a path.
func statAt(path string, flags int) (fileState, error) {
	var st unix.Stat_t
	for {
		switch err := unix.Fstatat(unix.AT_FDCWD, path, &st, flags); err {
		case nil:
			return stateOf(&st), nil
		case unix.EINTR: // file systems in user space can be interrupted
		default:
			return fileState{}, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

// statIn is statFile for a file in an open directory, whatever is at that one's path now.
func statIn(dir *os.File, name string) (fileState, error) {
	var st unix.Stat_t
	err := retried(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, 0) })
	if err != nil {
		return fileState{}, &fs.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return stateOf(&st), nil
}

// renameIn renames a file in an open directory, whatever is at that one's path now.
func renameIn(dir *os.File, from, to string) error {
	err := retried(func() error { return unix.Renameat(int(dir.Fd()), from, int(dir.Fd()), to) })
	if err != nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(dir.Name(), from),
			New: filepath.Join(dir.Name(), to), Err: err}
	}
	return nil
}

// removeIn removes a file in an open directory, whatever is at that one's path now.
func removeIn(dir *os.File, name string) error {
	err := retried(func() error { return unix.Unlinkat(int(dir.Fd()), name, 0) })
	if err != nil {
		return &fs.PathError{Op: "remove", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return nil
}

// retried makes a system call until no signal interrupts it, as package os does.
func retried(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// statOpen is statFile for an open file.
func statOpen(f *os.File) (fileState, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileState{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return stateOf(&st), nil
}

// stateOf takes from st what tells versions of a file apart.
func stateOf(st *unix.Stat_t) fileState {
	return fileState{
		size:    st.Size,
		mtime:   st.Mtim.Nano(),
		ctime:   st.Ctim.Nano(),
		device:  int64(st.Dev),
		inode:   int64(st.Ino),
		linked:  st.Mode&unix.S_IFMT == unix.S_IFLNK || st.Nlink > 1,
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

// spaceAt returns how many bytes the file system of path still takes: 0 if it takes no file at all,
// a very large number if it does not say.
func spaceAt(path string) int64 {
	var st unix.Statfs_t
	switch err := unix.Statfs(path, &st); {
	case err != nil || st.Blocks == 0:
		return math.MaxInt64
	case st.Files > 0 && st.Ffree == 0:
		return 0
	case os.Geteuid() == 0:
		return int64(uint64(st.Bfree) * uint64(st.Bsize)) // root may use what is reserved
	default:
		return int64(uint64(st.Bavail) * uint64(st.Bsize))
	}
}

// onSameDisk reports whether two paths are on one file system.
func onSameDisk(a, b string) bool {
	of := func(path string) (device uint64, err error) {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return uint64(info.Sys().(*syscall.Stat_t).Dev), nil
	}
	deviceA, errA := of(a)
	deviceB, errB := of(b)
	return errA == nil && errB == nil && deviceA == deviceB
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY, 0) // it may be a FIFO
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
