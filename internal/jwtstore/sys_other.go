//go:build !(linux || darwin || freebsd)

package jwtstore

import (
	"io/fs"
	"math"
	"os"
)

const openFlags = 0

// statFile follows symbolic links. There is no inode and no ctime here, so that only size and mtime
// tell versions apart.
func statFile(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	return stateOf(info), nil
}

// statOpen is statFile for an open file.
func statOpen(f *os.File) (fileState, error) {
	info, err := f.Stat()
	if err != nil {
		return fileState{}, err
	}
	return stateOf(info), nil
}

func stateOf(info fs.FileInfo) fileState {
	return fileState{
		size:    info.Size(),
		mtime:   info.ModTime().UnixNano(),
		regular: info.Mode().IsRegular(),
		dir:     info.IsDir(),
	}
}

// writable says whether there is a dir; whether a file can be made in it is found out by making it.
func writable(dir string) error {
	_, err := os.Stat(dir)
	return err
}

// spaceAt is not known.
func spaceAt(string) int64 { return math.MaxInt64 }

// syncDir does nothing: directories can't be synced here.
func syncDir(string) error { return nil }
