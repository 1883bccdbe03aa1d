package jwtstore

import (
	"fmt"
	"os"
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
	return syncsTellErrors() && unix.Fstatfs(int(dir.Fd()), &st) == nil && isOfDisks(uint32(st.Type))
}

// isOfDisks reports whether a type of file systems keeps its files on a disk of this system.
func isOfDisks(fileSystem uint32) bool {
	switch fileSystem {
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
	var major, minor int // a release is 6.8.0-45-generic for instance
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 8)
})

// isVirtual reports whether a directory is on a file system in which the kernel shows what it
// knows. No program can make files there, whatever the permissions of the directory say.
func isVirtual(dir string) bool {
	switch fileSystem(dir) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC,
		unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC:
		return true
	}
	return false
}

// fileSystem returns the number of the type of the file system that a path is on, as statfs(2)
// lists them; 0 if it is not known.
func fileSystem(path string) uint32 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	return uint32(st.Type)
}
