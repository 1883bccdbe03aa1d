package dirsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// Folder is a directory of JWTs that another program writes. It is only read. What is in it counts
// once it stands still: a file that is being written is looked at again a moment later.
//
//	OpenFolder   <dir>/YZ/AB…YZ.jwt and <dir>/AB…YZ.jwt, and activation tokens in the same way
//	OpenNSC      <dir>/accounts/<name>/<name>.jwt, as nsc writes it
//
// A Folder is for one goroutine at a time, except for Find.
type Folder struct {
	// top is the directory that has files, and directories with files.
	top string
	// last is top as the last Scan saw it that found it to be the directory, and known how many
	// files there were; nil before the first Scan.
	last  fs.FileInfo
	known int
	// nsc says that files are named by the account's name, and not by its key.
	nsc bool
	// files are those that are there, and those that are missing since a moment, by path.
	files map[string]*File
	// directories are those that the last Scan has read, and the parent of top, which may be
	// replaced as a whole.
	directories []string
	scans       int                        // how many there were
	trace       func(from state, on event) // for tests; nil: none

	// unsaved is what the store does not have of the files, by account key. The map is never
	// changed, only replaced; nil before the first Scan.
	unsaved atomic.Pointer[map[string]unsaved]

	watcher   *fsnotify.Watcher      // nil before the first Watch, and if there can't be one
	watched   map[string]fs.FileInfo // by path: the directories that watcher was given
	unwatched error                  // why changes in some may not be noticed; nil: all are
}

// File is a file of a Folder.
type File struct {
	Path string
	Key  string // of an account, or the hash of a token, by its path; "": only the JWT says it
	JWT  []byte // nil if Err is set, and once it was decided about for good
	Err  error  // why it can't be read

	state        state
	stamp        jwtstore.Stamp // of what was read last
	seen         int            // the number of the last Scan in which it was there
	missingSince time.Time      // only while missing
	retryAt      time.Time      // when it is offered again; only while postponed

	subject string            // the key of what was offered last; "" if it is not known
	taken   version           // what the store has from it, or had last; zero: nothing
	unsaved bool              // JWT is good, and the store has no room for it
	bad     error             // why it is not served, as Find says it; nil: it is, or may be later
	refusal logging.Condition // why what was offered last is not stored
}

// unsaved is the JWT of a file that the store has no room for, or why the file is not served.
type unsaved struct {
	token []byte
	err   error // wraps accounts.ErrDamaged or accounts.ErrUnreadable
}

// goneAfter is how long a file must not have been there to count as gone. git takes a file away
// before the new one is in its place, and so does a program that renames a directory.
const goneAfter = 100 * time.Millisecond

// OpenFolder opens a directory of JWTs by key. The directory must exist. The Folder must not be
// used if there is an error.
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

// OpenNSC opens the directory in which nsc keeps an operator. The file .nsc must be in it, and the
// directory accounts.
func OpenNSC(dir string) (*Folder, error) {
	if _, err := os.Stat(filepath.Join(dir, ".nsc")); err != nil {
		return nil, fmt.Errorf("%q is not a valid configuration directory", dir)
	}
	top := filepath.Join(dir, "accounts")
	_, err := os.ReadDir(top)
	return &Folder{top: top, nsc: true, files: map[string]*File{}}, err
}

// move lets an event happen to a file. An event that the table does not list changes nothing.
func (f *Folder) move(file *File, on event) {
	to, listed := next(file.state, on)
	if listed && f.trace != nil {
		f.trace(file.state, on)
	}
	file.state = to
}

// Rejudge has the next Scan offer every file. Files that are missing stay missing: they are read
// anyway when they are back.
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
	f.scans++
	settled = true
	paths, err := f.paths() // err is returned once the files that can be read were offered
	for _, path := range paths {
		if key, ok := f.key(path); ok && f.read(path, key, offer) {
			settled = false
		}
	}
	if err == nil {
		err = f.checkTop()
	}
	if err != nil {
		return nil, settled, err
	}
	now := time.Now()
	for path, file := range f.files {
		switch {
		case file.seen == f.scans: // it is left alone here: it may be decided about just now
		case file.state != missing:
			file.missingSince, settled = now, false
			f.move(file, absence)
		case now.Sub(file.missingSince) < goneAfter:
			settled = false
		default:
			delete(f.files, path)
			gone = append(gone, file)
		}
	}
	return gone, settled, nil
}

// checkTop returns an error if what is at the path of top now is another directory, which has none
// of the files that there were: the file system of the one that was there may have been unmounted.
func (f *Folder) checkTop() error {
	info, err := os.Stat(f.top)
	if err != nil {
		return err
	}
	lacking := 0
	for _, file := range f.files {
		if file.seen != f.scans {
			lacking++
		}
	}
	if f.known > 0 && lacking >= f.known && !os.SameFile(f.last, info) {
		return fmt.Errorf("another directory is at %s, which has none of the files that were "+
			"there (was its file system unmounted?)", f.top)
	}
	f.last, f.known = info, len(f.files)
	return nil
}

// read reads a file if it has changed, or if it is to be offered again. hot says that it was just
// written to. The file must not be used after offer, which may decide about it in another
// goroutine.
func (f *Folder) read(path, key string, offer func(*File)) (hot bool) {
	file := f.files[path]
	if file == nil {
		file = &File{Path: path, Key: key}
	}
	known := file.stamp // the zero stamp has it read, whether it has changed or not
	isDue := file.state == postponed && !time.Now().Before(file.retryAt)
	if isDue || file.state == unread || file.state == missing {
		known = jwtstore.Stamp{}
	}
	token, stamp, err := jwtstore.ReadFile(path, known)
	if errors.Is(err, fs.ErrNotExist) { // also a symbolic link that leads nowhere
		return false
	}
	f.files[path], file.seen = file, f.scans
	switch {
	case err == nil && token == nil: // it is as it was
		return false
	// Its times may not show the next write, and it may be half of what is being written. The stamp
	// is not noted, so the next Scan reads the file again.
	case err == nil && stamp.IsHot():
		f.move(file, writing)
		return true
	case err != nil:
		f.move(file, failure)
	default:
		f.move(file, content)
	}
	file.JWT, file.Err, file.stamp = token, err, stamp
	offer(file)
	return false
}

// paths returns all that may be a file of the Folder, and notes the directories. The error is that
// of a directory which can't be read, or of a name which may be a directory or not.
func (f *Folder) paths() (all []string, err error) {
	f.directories = []string{filepath.Dir(f.top)}
	read := func(dir string) []fs.DirEntry {
		entries, failed := os.ReadDir(dir)
		switch {
		case failed == nil:
			f.directories = append(f.directories, dir)
		// What was removed since it was listed is no error: its files are missing.
		case dir == f.top || !jwtstore.IsAbsentOrIrregular(failed):
			err = failed
		}
		return entries
	}
	for _, e := range read(f.top) {
		path := filepath.Join(f.top, e.Name())
		all = append(all, path)
		// A shard has two characters. It may be a symbolic link.
		if e.Type().IsRegular() || !f.nsc && len(e.Name()) != 2 {
			continue
		}
		for _, file := range read(path) {
			all = append(all, filepath.Join(path, file.Name()))
		}
	}
	return all, err
}

// key reports whether a path is that of a JWT. The key is "" if only the JWT says it. Other files
// are ignored without a word.
func (f *Folder) key(path string) (key string, ok bool) {
	// Every path begins with top and a separator.
	path = path[len(f.top)+1:]
	if !f.nsc {
		return jwtstore.KeyOf(path)
	}
	dir, name := filepath.Split(path)
	return "", dir != "" && name == filepath.Base(dir)+".jwt"
}

// serveUnsaved has Find know what is not stored of the files as they are now. Find sees either the
// map before or all of the new one.
func (f *Folder) serveUnsaved() {
	all := map[string]unsaved{}
	for _, file := range f.files {
		switch {
		case file.unsaved:
			all[file.subject] = unsaved{token: file.JWT}
		case file.bad != nil && all[file.subject].token == nil:
			all[file.subject] = unsaved{err: file.bad}
		}
	}
	f.unsaved.Store(&all)
}

// Find implements accounts.Source: it calls take with the JWT of an account that the store has no
// room for. The error is that of take, or wraps accounts.ErrDamaged or accounts.ErrUnreadable if
// the account has a file that can't be served, or is accounts.ErrNotFound. It may be called from
// any goroutine.
func (f *Folder) Find(_ context.Context, key string, take func(token []byte) error) error {
	known := f.unsaved.Load()
	if known == nil {
		return accounts.ErrNotFound
	}
	switch what := (*known)[key]; {
	case what.token != nil:
		return take(what.token)
	case what.err != nil:
		return what.err
	}
	return accounts.ErrNotFound
}
