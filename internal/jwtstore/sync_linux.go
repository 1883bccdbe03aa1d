package jwtstore

import (
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// syncData makes the content of f durable, and of its metadata only what it takes to read it.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// syncAll makes everything durable that has been written to the file system of an open directory.
func syncAll(dir *os.File) error { return os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd()))) }

// canSyncAll reports whether syncAll can be relied on: the file system is one that keeps its files
// on a disk itself. One in user space need not pass a sync on, and one on top of others need not
// pass errors on.
func canSyncAll(dir *os.File) bool {
	var st unix.Statfs_t
	if !syncsTellErrors() || unix.Fstatfs(int(dir.Fd()), &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// syncsTellErrors reports whether syncfs tells write errors: since Linux 5.8.
var syncsTellErrors = sync.OnceValue(func() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	return isAtLeast(unix.ByteSliceToString(name.Release[:]), 5, 8)
})

// isAtLeast reports whether the release of a kernel, such as 6.8.0-45-generic, is this one or
// later.
func isAtLeast(release string, major, minor int) bool {
	var is [2]int
	_, err := fmt.Sscanf(release, "%d.%d", &is[0], &is[1])
	return err == nil && slices.Compare(is[:], []int{major, minor}) >= 0
}
