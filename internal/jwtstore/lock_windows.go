package jwtstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// grab takes the lock of a directory, which is a file that only one process can have open for
// writing. Windows removes it when that process ends.
func grab(path string) (held *os.File, dir fs.FileInfo, err error) {
	const sharingViolation, deleteOnClose = syscall.Errno(32), 0x04000000
	name := filepath.Join(path, ".lock-handle")
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, nil, err
	}
	h, err := syscall.CreateFile(
		p, syscall.GENERIC_WRITE, 0, nil, syscall.CREATE_ALWAYS, deleteOnClose, 0)
	if errors.Is(err, sharingViolation) {
		return nil, nil, ErrLocked
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	if dir, err = os.Stat(path); err != nil {
		_ = syscall.CloseHandle(h)
		return nil, nil, err
	}
	return os.NewFile(uintptr(h), name), dir, nil
}
