package jwtstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// errQuota is the error of a user whose share of the disk is full: ERROR_DISK_QUOTA_EXCEEDED.
const errQuota = syscall.Errno(1295)

// grab takes the lock of a directory, which is a file that only one process can have open for
// writing. Windows removes it when that process ends.
func grab(dir string) (*grabbed, error) {
	const sharingViolation, deleteOnClose = syscall.Errno(32), 0x04000000
	name := filepath.Join(dir, ".lock-handle")
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(
		p, syscall.GENERIC_WRITE, 0, nil, syscall.CREATE_ALWAYS, deleteOnClose, 0)
	if errors.Is(err, sharingViolation) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	info, err := os.Stat(dir)
	if err != nil {
		_ = syscall.CloseHandle(h)
		return nil, err
	}
	file := os.NewFile(uintptr(h), name)
	return &grabbed{files: []*os.File{file}, at: map[string]fs.FileInfo{dir: info}}, nil
}

// remove has nothing to do.
func (*grabbed) remove(string) {}

// tryLock takes no lock: another process can't be kept from one file here.
func tryLock(*os.File) error { return nil }
