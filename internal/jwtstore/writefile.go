package jwtstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// notDir refuses a path where a directory is.
func notDir(path string) error {
	if state, err := statFile(path); err == nil && state.dir {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.EISDIR}
	}
	return nil
}

// removeFile sees to it that there is no file at a path.
func removeFile(path string) error {
	if err := notDir(path); err != nil {
		return err
	}
	err := absentOrIrregular(os.Remove(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeFileIn sees to it that there is no file of this name in an open directory.
func removeFileIn(dir *os.File, name string) error {
	err := absentOrIrregular(removeIn(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// openFile opens a file of the store's own. If something else is in its place, a FIFO or a device
// for instance, the error says so: the open never waits for a process at its other end.
func openFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	state, err := statOpen(f)
	if err == nil && !state.regular {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// writeSynced makes a file with this content on stable storage, as writeNew does.
func writeSynced(path string, content []byte) error {
	_, err := writeNew(path, content, true)
	return err
}

// writeNew makes a file with this content and returns its state. If it is to be synced, the content
// is on stable storage then. Its name is not durable yet. If it fails there is no file. What is at
// the path before is removed, never written to: it may be a FIFO, or a link to something else.
func writeNew(path string, content []byte, synced bool) (state fileState, err error) {
	// openFlags save os.OpenFile four system calls.
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | openFlags
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err = removeFile(path); err == nil {
			f, err = os.OpenFile(path, flags, 0o600)
		}
	}
	if err != nil {
		return fileState{}, err
	}
	_, err = f.Write(content)
	if err == nil && synced {
		err = f.Sync()
	}
	if err == nil {
		state, err = statOpen(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return state, err
}

// move renames a file, also to a directory on another file system, behind a symbolic link.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	content, err := os.ReadFile(from)
	if err == nil {
		err = ReplaceFile(to, content)
	}
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return err
	}
	return os.Remove(from)
}

// ReplaceFile writes a file beside its place, syncs and renames it. The name is not durable yet.
func ReplaceFile(target string, content []byte) error {
	near := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".new")
	if err := writeSynced(near, content); err != nil {
		return err
	}
	return os.Rename(near, target)
}

// syncNames makes the name of a directory durable, and those of its parents. All of them may have
// been made a moment ago, by this process or by one that was killed before it could sync them.
//
// It stops at a mount point, whose name is on another disk. It also stops at a parent that this
// process may not open: no process of this program made it.
func syncNames(path string) error {
	for {
		parent := filepath.Dir(path)
		if parent == path || !onSameDisk(path, parent) {
			return nil
		}
		if err := syncDir(parent); errors.Is(err, fs.ErrPermission) {
			return nil
		} else if err != nil {
			return err
		}
		path = parent
	}
}

// durableNames remembers which directories have a durable name. A directory that was replaced has
// none yet. The zero value is empty.
type durableNames map[string]fs.FileInfo // by path

// has reports whether the name of the directory that is at the path is durable.
func (n durableNames) has(path string) bool {
	info := n[path]
	return info != nil && isAt(path, info)
}

// add records that the name is durable. If the directory has just gone, its name is not.
func (n *durableNames) add(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if *n == nil {
		*n = durableNames{}
	}
	(*n)[path] = info
}

// isAt reports whether what is at path is still this file or directory. It is not if it was renamed
// or removed.
func isAt(path string, info fs.FileInfo) bool {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(now, info)
}

// isIn reports whether an open file is what has this name in an open directory.
func isIn(dir *os.File, name string, f *os.File) bool {
	there, err := statIn(dir, name)
	open, failed := statOpen(f)
	return err == nil && failed == nil && there == open
}

// makeDurable makes a file durable that another program may have written.
func makeDurable(path string) error {
	if err := syncFile(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// moveDurable moves a file to another place, whose file it replaces, on stable storage. One that is
// in that place already becomes durable there.
func moveDurable(from, to string) error {
	if from == to {
		return makeDurable(to)
	}
	if err := syncFile(from); err != nil {
		return err
	}
	err := move(from, to)
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(from))
}

// syncFile makes the content of a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncIfThere is syncDir for a directory that need not be there.
func syncIfThere(dir string) error {
	if err := syncDir(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
