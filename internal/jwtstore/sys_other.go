//go:build !(linux || darwin || freebsd)

package jwtstore

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// openFlags are none: there is no FIFO that an open would wait for.
const openFlags = 0

// statFile follows symbolic links. There is no inode and no ctime here, so that only size and mtime
// tell versions apart.
func statFile(path string) (fileState, error) { return stateOf(os.Stat(path)) }

// statIn is statFile for a file in a directory. What is at the directory's path now counts.
func statIn(dir *os.File, name string) (fileState, error) {
	return statFile(filepath.Join(dir.Name(), name))
}

// renameIn renames a file in a directory. What is at that one's path now counts.
func renameIn(dir *os.File, from, to string) error {
	return os.Rename(filepath.Join(dir.Name(), from), filepath.Join(dir.Name(), to))
}

// removeIn removes a file in a directory, also one that is read-only. What is at that one's path now
// counts.
func removeIn(dir *os.File, name string) error {
	path := filepath.Join(dir.Name(), name)
	if err := notDir(path); err != nil { // os.Remove would remove an empty one
		return err
	}
	return os.Remove(path)
}

// statOpen is statFile for an open file.
func statOpen(f *os.File) (fileState, error) { return stateOf(f.Stat()) }

// stateOf takes what os.Stat returns.
func stateOf(info fs.FileInfo, err error) (fileState, error) {
	if err != nil {
		return fileState{}, err
	}
	return fileState{
		size:    info.Size(),
		mtime:   info.ModTime().UnixNano(),
		regular: info.Mode().IsRegular(),
		dir:     info.IsDir(),
	}, nil
}

// writable says whether there is a dir; whether a file can be made in it is found out by making it.
func writable(dir string) error {
	_, err := os.Stat(dir)
	return err
}

// spaceAt is not known.
func spaceAt(string) int64 { return math.MaxInt64 }

// onSameDisk is not known. It does not matter, because directories can't be synced.
func onSameDisk(_, _ string) bool { return false }

// syncDir does nothing: directories can't be synced here.
func syncDir(string) error { return nil }
