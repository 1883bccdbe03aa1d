package jwtstore

import "golang.org/x/sys/unix"

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
