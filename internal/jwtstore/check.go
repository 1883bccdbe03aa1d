package jwtstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckDir returns why a directory can't be made or written to; nil if it can. It changes nothing,
// so it does not find everything: Windows says only when a file is made that it can't be.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	_, unresolved := os.Lstat(dir)
	switch {
	// A symbolic link to nothing keeps the directory from being made.
	case errors.Is(err, fs.ErrNotExist) && unresolved == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir:
		return CheckDir(filepath.Dir(dir)) // dir is made in this one
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("not a directory")}
	}
	if err := writable(dir); err != nil {
		return err
	}
	if isVirtual(dir) {
		return &fs.PathError{Op: "write to", Path: dir,
			Err: errors.New("it is on a file system of the kernel, which takes no files")}
	}
	return nil
}

// CheckStore is CheckDir for everything that OpenDir makes in the directory of a store.
func CheckStore(dir string) error {
	if err := CheckDir(dir); err != nil {
		return err
	}
	return CheckDir(filepath.Join(dir, journalDir))
}
