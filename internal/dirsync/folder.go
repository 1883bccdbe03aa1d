package dirsync

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// Folder is a directory of JWTs that another program writes. It is only read. What is in it counts
// once it stands still: a file that is being written is looked at again a moment later.
//
//	OpenFolder   <dir>/YZ/AB…YZ.jwt and <dir>/AB…YZ.jwt, and activation tokens in the same way
//	OpenNSC      <dir>/accounts/<name>/<name>.jwt, as nsc writes it
//
// A Folder is for one goroutine at a time.
type Folder struct {
	root    string // ends in a separator
	nsc     bool
	files   map[string]*File // by path
	watcher watcher
	trace   func(from state, on event) // for tests; nil: none
}

// File is a file of a Folder.
type File struct {
	Path string
	Key  string // of an account, or the hash of a token, by its path; "": only the JWT says it
	JWT  []byte // nil if Err is set, and when it was decided about for good
	Err  error  // why it can't be read

	state        state
	stamp        jwtstore.Stamp // of what was read last; zero: it is to be read again
	missingSince time.Time      // only while missing
	taken        *version       // what the store has from it, or had last; nil: nothing
	kept         *kept          // what of it is served from memory; nil: nothing
	retryAt      time.Time      // when it is due; only while waiting, postponed or unsaved
	refusedKey   string         // whose JWT was not taken; "" if that is not known
	refusal      string         // why, as it was logged last; "": its content was not refused
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
	return newFolder(dir, false), err
}

// OpenNSC opens the directory in which nsc keeps an operator.
func OpenNSC(dir string) (*Folder, error) {
	if _, err := os.Stat(filepath.Join(dir, ".nsc")); err != nil {
		return nil, fmt.Errorf("%q is not a valid configuration directory", dir)
	}
	_, err := os.ReadDir(filepath.Join(dir, "accounts"))
	return newFolder(dir, true), err
}

// newFolder returns a Folder none of whose files was read.
func newFolder(dir string, nsc bool) *Folder {
	root := filepath.Clean(dir) + string(filepath.Separator)
	return &Folder{root: root, nsc: nsc, files: map[string]*File{}}
}

// move lets an event happen to a file.
func (f *Folder) move(file *File, on event) {
	to, listed := next[file.state][on]
	if !listed {
		return
	}
	if f.trace != nil {
		f.trace(file.state, on)
	}
	file.state = to
}

// Rejudge has the next Scan offer every file.
func (f *Folder) Rejudge() {
	for _, file := range f.files {
		f.reread(file)
	}
}

// reread has the next Scan offer a file, whether it has changed or not.
func (f *Folder) reread(file *File) {
	f.move(file, rejudge)
	file.stamp = jwtstore.Stamp{}
}

// Scan calls offer with every file that is not as it was the last time and stands still, and with
// every one that can't be read. It returns the files that are gone, and forgets them. settled is
// false if a file was just written to, or is missing since a moment: then the next Scan may see
// more. The error is that of a directory that can't be read: then nothing counts as gone.
func (f *Folder) Scan(offer func(*File)) (gone []*File, settled bool, err error) {
	seen := map[string]bool{}
	settled = true
	directories, err := f.directories()
	for _, dir := range directories {
		// A shard may be removed between the two reads. That is no error: its files are missing.
		entries, failed := os.ReadDir(dir)
		if failed != nil && (dir == f.top() || !errors.Is(failed, fs.ErrNotExist)) {
			err = failed
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			key, ok := f.key(path)
			if !ok {
				continue
			}
			there, hot := f.look(path, key, offer)
			seen[path] = there
			settled = settled && !hot
		}
	}
	if err != nil {
		return nil, settled, err
	}
	gone, allThere := f.missing(seen)
	return gone, settled && allThere, nil
}

// look reads a file if it has changed. there says that there is a file, hot that it was just
// written to. The file must not be used after offer, which may decide about it in another
// goroutine.
func (f *Folder) look(path, key string, offer func(*File)) (there, hot bool) {
	file := f.files[path]
	if file == nil {
		file = &File{Path: path, Key: key}
	}
	jwt, stamp, err := jwtstore.ReadFile(path, file.stamp)
	if errors.Is(err, fs.ErrNotExist) { // also a symbolic link that leads nowhere
		return false, false
	}
	f.files[path] = file
	switch {
	case err != nil:
		file.JWT, file.Err, file.stamp = nil, err, jwtstore.Stamp{}
		f.move(file, failure)
		offer(file)
	case jwt == nil: // it is as it was
	case stamp.IsHot():
		file.stamp = stamp
		f.move(file, writing)
		return true, true
	default:
		file.JWT, file.Err, file.stamp = jwt, nil, stamp
		f.move(file, content)
		offer(file)
	}
	return true, false
}

// missing returns the files that were there once and have been missing for goneAfter, and whether
// all others are there.
func (f *Folder) missing(seen map[string]bool) (gone []*File, allThere bool) {
	allThere = true
	now := time.Now()
	for path, file := range f.files {
		switch {
		case seen[path]: // it is not looked at further: it may be decided about at this moment
			continue
		case file.state != missing:
			file.missingSince, file.stamp = now, jwtstore.Stamp{}
			f.move(file, absence)
		case now.Sub(file.missingSince) >= goneAfter:
			f.move(file, stayedAway)
			delete(f.files, path)
			gone = append(gone, file)
			continue
		}
		allThere = false
	}
	return gone, allThere
}

// top is the directory whose absence means that nothing is known of the files.
func (f *Folder) top() string {
	if f.nsc {
		return f.root + "accounts"
	}
	return strings.TrimSuffix(f.root, string(filepath.Separator))
}

// directories are those that files can be in. The error is that of a name which may be a directory
// or not.
func (f *Folder) directories() (all []string, err error) {
	all = []string{f.top()}
	entries, err := os.ReadDir(f.top())
	for _, e := range entries {
		if !f.nsc && !isShard(e.Name()) {
			continue
		}
		path := filepath.Join(f.top(), e.Name())
		info, failed := os.Stat(path) // not e.Info: a symbolic link to a directory counts as one
		switch {
		case failed != nil && !jwtstore.IsAbsentOrIrregular(failed):
			err = failed
		case failed == nil && info.IsDir():
			all = append(all, path)
		}
	}
	return all, err
}

// isShard reports whether a directory of this name can have files of accounts or of activation
// tokens.
func isShard(name string) bool { return len(name) == 2 && (trust.IsBase32(name) || name == "==") }

// key reports whether a path is that of a JWT. The key is "" if only the JWT says it.
func (f *Folder) key(path string) (key string, ok bool) {
	if !f.nsc {
		return jwtstore.KeyOf(strings.TrimPrefix(path, f.root))
	}
	dir, name := filepath.Split(path)
	inTop := filepath.Clean(dir) == f.top()
	return "", !inTop && name == filepath.Base(dir)+".jwt"
}
