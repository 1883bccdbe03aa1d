package dirsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// Folder is a directory of JWTs that another program writes. It is only read. What is in it counts
// once it stands still: a file that is being written is looked at again a moment later.
//
//	OpenFolder   <dir>/YZ/AB…YZ.jwt and <dir>/AB…YZ.jwt, and activation tokens in the same way
//	OpenNSC      <dir>/accounts/<name>/<name>.jwt, as nsc writes it
//
// A Folder is for one goroutine at a time, except for Find.
type Folder struct {
	top         string                 // the directory that has the files, or the directories with them
	nsc         bool                   // files are named by the account's name, not by its key
	files       map[string]*File       // by path; also those that are missing since a moment
	directories map[string]fs.FileInfo // by path: those of the last Scan, and the parent of top
	unsaved     sync.Map               // *unsaved by account key
	watcher     watcher
	trace       func(from state, on event) // for tests; nil: none
}

// File is a file of a Folder.
type File struct {
	Path string
	Key  string // of an account, or the hash of a token, by its path; "": only the JWT says it
	JWT  []byte // nil if Err is set, and when it was decided about for good
	Err  error  // why it can't be read

	state        state
	stamp        jwtstore.Stamp // of what was read last
	missingSince time.Time      // only while missing
	retryAt      time.Time      // when it is offered again; only while postponed
	subject      string         // the key of what was offered last; "" if it is not known
	taken        version        // what the store has from it, or had last; zero: nothing
	unsaved      *unsaved       // what of it is served from memory; nil: nothing
	refusal      condition      // why what was offered last is not served
}

// unsaved is the JWT of an account that the store has no room for. It is never changed.
type unsaved struct {
	key   string
	token []byte
}

// goneAfter is how long a file must not have been there to count as gone. git takes a file away
// before the new one is in its place, and so does a program that renames a directory.
const goneAfter = 100 * time.Millisecond

// OpenFolder opens a directory of JWTs by key.
func OpenFolder(dir string) (*Folder, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the path [%s] doesn't exist", dir)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("the path [%s] is not a directory", dir)
	}
	return &Folder{top: filepath.Clean(dir), files: map[string]*File{}}, err
}

// OpenNSC opens the directory in which nsc keeps an operator.
func OpenNSC(dir string) (*Folder, error) {
	if _, err := os.Stat(filepath.Join(dir, ".nsc")); err != nil {
		return nil, fmt.Errorf("%q is not a valid configuration directory", dir)
	}
	top := filepath.Join(dir, "accounts")
	_, err := os.ReadDir(top)
	return &Folder{top: top, nsc: true, files: map[string]*File{}}, err
}

// move lets an event happen to a file.
func (f *Folder) move(file *File, on event) {
	to, listed := next(file.state, on)
	if listed && f.trace != nil {
		f.trace(file.state, on)
	}
	file.state = to
}

// Rejudge has the next Scan offer every file.
func (f *Folder) Rejudge() {
	for _, file := range f.files {
		f.move(file, rejudge)
	}
}

// Scan calls offer with every file that is not as it was the last time and stands still, with every
// one whose time to be offered again has come, and with every one that can't be read. It returns
// the files that are gone, and forgets them.
//
// settled is false if a file was just written to, or is missing since a moment: then the next Scan
// may see more. The error is that of a directory that can't be read: then nothing counts as gone.
func (f *Folder) Scan(offer func(*File)) (gone []*File, settled bool, err error) {
	seen := map[string]bool{}
	settled = true
	paths, err := f.paths()
	for _, path := range paths {
		if key, ok := f.key(path); ok {
			there, hot := f.look(path, key, offer)
			seen[path] = there
			settled = settled && !hot
		}
	}
	if err != nil {
		return nil, settled, err
	}
	now := time.Now()
	for path, file := range f.files {
		switch {
		case seen[path]: // it is not looked at further: it may be decided about at this moment
		case file.state == missing && now.Sub(file.missingSince) >= goneAfter:
			delete(f.files, path)
			gone = append(gone, file)
		default:
			settled = false
			if file.state != missing {
				file.missingSince = now
				f.move(file, absence)
			}
		}
	}
	return gone, settled, nil
}

// look reads a file if it has changed, or if it is to be offered again. there says that there is a
// file, hot that it was just written to. The file must not be used after offer, which may decide
// about it in another goroutine.
func (f *Folder) look(path, key string, offer func(*File)) (there, hot bool) {
	file := f.files[path]
	if file == nil {
		file = &File{Path: path, Key: key}
	}
	known := file.stamp
	isDue := file.state == postponed && !time.Now().Before(file.retryAt)
	if isDue || file.state == unread || file.state == missing {
		known = jwtstore.Stamp{}
	}
	token, stamp, err := jwtstore.ReadFile(path, known)
	if errors.Is(err, fs.ErrNotExist) { // also a symbolic link that leads nowhere
		return false, false
	}
	f.files[path] = file
	switch {
	case err == nil && token == nil: // it is as it was
		return true, false
	case err == nil && stamp.IsHot():
		f.move(file, writing)
		return true, true
	case err != nil:
		f.move(file, failure)
	default:
		f.move(file, content)
	}
	file.JWT, file.Err, file.stamp = token, err, stamp
	offer(file)
	return true, false
}

// paths returns all that may be a file of the Folder, and notes the directories. The error is that
// of a directory which can't be read, or of a name which may be a directory or not.
func (f *Folder) paths() (all []string, err error) {
	f.directories = map[string]fs.FileInfo{}
	parent := filepath.Dir(f.top)
	for _, dir := range []string{f.top, parent} {
		if info, failed := os.Stat(dir); failed == nil {
			f.directories[dir] = info
		}
	}
	entries, err := os.ReadDir(f.top)
	for _, e := range entries {
		path := filepath.Join(f.top, e.Name())
		all = append(all, path)
		if !f.nsc && len(e.Name()) != 2 { // neither a shard of accounts nor that of tokens
			continue
		}
		info, failed := os.Stat(path) // not e.Info: a symbolic link to a directory counts as one
		if failed == nil && info.IsDir() {
			f.directories[path] = info
			var files []fs.DirEntry
			files, failed = os.ReadDir(path)
			for _, file := range files {
				all = append(all, filepath.Join(path, file.Name()))
			}
		}
		// What is removed between two of these steps is no error: its files are missing.
		if failed != nil && !jwtstore.IsAbsentOrIrregular(failed) {
			err = failed
		}
	}
	return all, err
}

// key reports whether a path is that of a JWT. The key is "" if only the JWT says it.
func (f *Folder) key(path string) (key string, ok bool) {
	path = path[len(f.top)+1:]
	if !f.nsc {
		return jwtstore.KeyOf(path)
	}
	dir, name := filepath.Split(path)
	return "", dir != "" && name == filepath.Base(dir)+".jwt"
}

// keep serves what a file has from memory, in place of what was served of it before. nil means
// nothing.
func (f *Folder) keep(file *File, now *unsaved) {
	if now != nil {
		f.unsaved.Store(now.key, now)
	}
	if file.unsaved != nil { // unless it is of the same account
		f.unsaved.CompareAndDelete(file.unsaved.key, file.unsaved)
	}
	file.unsaved = now
}

// Find implements accounts.Source: it calls take with the JWT of an account that the store has no
// room for. The error is that of take, or accounts.ErrNotFound if there is none. It may be called
// from any goroutine.
func (f *Folder) Find(_ context.Context, key string, take func(token []byte) error) error {
	if u, found := f.unsaved.Load(key); found {
		return take(u.(*unsaved).token)
	}
	return accounts.ErrNotFound
}
