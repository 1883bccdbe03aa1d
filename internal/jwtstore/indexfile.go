package jwtstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// errIndexDamaged is returned for an index file that can't be used: damaged, of another directory, or
// of another format. All that it had can be made again.
var errIndexDamaged = errors.New("the index file can't be used")

const (
	indexFormat = 1

	// These are not keys of accounts: they begin with a zero byte.
	indexIdentityKey = "\x00identity" // format 4 │ directory 8, little endian
	indexNoteKey     = "\x00note"
)

// indexBucket is the only bucket.
var indexBucket = []byte("index")

// indexFile keeps values by key on disk. What is in it can be rebuilt: any doubt about it is
// errIndexDamaged, at once and for every later call.
//
//	key ──> CRC-32C of key and value │ value      in one bucket of a bbolt file
//
// bbolt writes, in whole transactions. It has no checksums, trusts what it reads, and reads through a
// mapping of the file, so that a file that was cut is a memory fault. So it reads only what a put
// changes. Everything else is read by indexTree, which checks each page. The whole file is checked when
// it is opened: that takes about as long as reading it.
//
// What can't be noticed is that the whole file is of an earlier time, because a backup was restored
// or a disk lost its last writes. The note has to tell. Damage that comes later, while the file is
// open, is noticed when the page is read. A wrong page that is right in itself, the earlier one of the
// same keys, would be believed until it is overwritten. That loses a floor, and no JWT.
//
// The methods may be called from any goroutine. A get does not wait for a put.
type indexFile struct {
	path string

	writing sync.Mutex // held by a put and by close; guards what follows
	file    *os.File   // nil after close; bbolt has it too, and locks it
	db      *bbolt.DB  // nil: the file can't be written to so far
	// unwritable is file as it was before it could be written to. The first tree reads it.
	unwritable *os.File
	stuck      bool // bbolt panicked, and may hold its locks for ever

	mu   sync.Mutex // guards what follows, and is never held during I/O
	tree *indexTree // of the last put
	old  *indexTree // the one before it, nil at first: the next put overwrites its pages
	err  error      // once the file is damaged or closed
}

// openIndexFile opens the file of the store in the directory with this inode; 0 means that it is not
// known. It makes the file, without values and without a note, if it is not there. One that can't be
// written to can be read; each put tries again. The error wraps errIndexDamaged if removing the file
// would help.
func openIndexFile(path string, directory uint64) (*indexFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|openFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeIndexFile(path, directory); err != nil {
			return nil, fmt.Errorf("making the index: %w", err)
		}
		file, err = os.OpenFile(path, os.O_RDWR|openFlags, 0)
	}
	canWrite := !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission)
	if !canWrite {
		file, err = os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	}
	if info, statErr := os.Stat(path); err != nil && statErr == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	f := &indexFile{path: path, file: file}
	if err := f.check(directory); err != nil {
		file.Close()
		return nil, f.damage(err)
	}
	if canWrite {
		err = f.openDB()
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	return f, nil
}

// makeIndexFile makes a new file, whole or not at all.
func makeIndexFile(path string, directory uint64) error {
	temp := path + ".new"
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	f := &indexFile{path: temp, file: file}
	if err = f.openDB(); err == nil {
		err = f.write(map[string][]byte{indexIdentityKey: encodeIdentity(directory)})
	}
	if closeErr := f.close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// check reads the whole file.
func (f *indexFile) check(directory uint64) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	if f.tree, err = readIndexTree(f.file); err != nil {
		return err
	}
	// The tree jumps to and fro. Reading from the beginning to the end first is faster on most disks.
	if _, err := io.Copy(io.Discard, io.NewSectionReader(f.file, 0, info.Size())); err != nil {
		return err
	}
	if err := f.tree.check(); err != nil {
		return err
	}
	identity, err := f.tree.get(indexIdentityKey)
	if err != nil {
		return err
	}
	return checkIdentity(identity, directory)
}

// openDB lets bbolt open the file, and makes the name of the file durable. A process that made it may
// have been killed before it could.
func (f *indexFile) openDB() error {
	err := f.guard(func() (err error) {
		f.db, err = bbolt.Open(f.path, 0o600, &bbolt.Options{
			Timeout:      time.Second,
			NoStatistics: true,
			OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f.file, nil },
		})
		return err
	})
	if err != nil {
		return err
	}
	dir := filepath.Dir(f.path)
	if err = errors.Join(syncDir(dir), syncNames(dir)); err != nil {
		_ = f.db.Close()
		f.db = nil
	}
	return err
}

// reopen opens a file for writing that could only be read. f.writing must be held.
func (f *indexFile) reopen() error {
	file, err := os.OpenFile(f.path, os.O_RDWR|openFlags, 0)
	if err != nil {
		return err
	}
	f.unwritable, f.file = f.file, file
	if err := f.openDB(); err != nil {
		file.Close()
		f.unwritable, f.file = nil, f.unwritable
		return err
	}
	// Another process may have used it meanwhile, or made another.
	tree, err := readIndexTree(file)
	if err == nil && (tree.transaction != f.tree.transaction || !isAt(f.path, fileInfo(f.unwritable))) {
		err = errors.New("it was changed by another process")
	}
	if err != nil {
		return f.damage(err)
	}
	return nil
}

// fileInfo describes an open file; nil if that can't be had.
func fileInfo(file *os.File) os.FileInfo {
	info, _ := file.Stat()
	return info
}

// get returns the value of a key; nil if there is none.
func (f *indexFile) get(key string) (value []byte, err error) {
	err = f.read(func(t *indexTree) error {
		value, err = t.get(key)
		return err
	})
	return value, err
}

// note returns what the last put said of the values; nil if it said nothing.
func (f *indexFile) note() ([]byte, error) { return f.get(indexNoteKey) }

// scan returns up to max keys after a key, and their values, by key. "" is before all of them.
func (f *indexFile) scan(after string, max int) (keys []string, values [][]byte, err error) {
	from := append([]byte(after), 0)
	if after == "" {
		from = []byte{1}
	}
	err = f.read(func(t *indexTree) error {
		return t.walk(from, func(key, value []byte) bool {
			keys, values = append(keys, string(key)), append(values, bytes.Clone(value))
			return len(keys) < max
		})
	})
	if err != nil {
		return nil, nil, err
	}
	return keys, values, nil
}

// read calls do with the tree of the last put. An error is damage.
func (f *indexFile) read(do func(t *indexTree) error) error {
	t, err := f.acquire()
	if err != nil {
		return err
	}
	defer t.readers.Done()
	if err := do(t); err != nil {
		return f.damage(err)
	}
	return nil
}

// acquire returns the tree of the last put with one reader more.
func (f *indexFile) acquire() (*indexTree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.tree.readers.Add(1)
	return f.tree, nil
}

// put stores values and the note in one durable transaction. A nil value deletes its key, and a nil
// note the note. After an error that is not errIndexDamaged the file is as it was before, and may be
// written to again.
//
// A put of more than about a thousand values takes much memory.
func (f *indexFile) put(values map[string][]byte, note []byte) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	old, err := f.old, f.err
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.db == nil {
		if err := f.reopen(); err != nil {
			return err
		}
	}
	if old != nil {
		old.readers.Wait()
	}
	values = maps.Clone(values)
	if values == nil {
		values = map[string][]byte{}
	}
	values[indexNoteKey] = note
	if err := f.checkPaths(values); err != nil {
		return f.damage(err)
	}
	if err := f.write(values); err != nil {
		return f.failed(err)
	}
	return f.renew()
}

// checkPaths reads the pages that bbolt is going to read for these keys, and its list of free pages.
func (f *indexFile) checkPaths(values map[string][]byte) error {
	if err := f.tree.claimFree(make(pageClaims, f.tree.pages)); err != nil {
		return err
	}
	return f.tree.readPathsTo(slices.Sorted(maps.Keys(values)))
}

// write stores values in one transaction. f.writing must be held.
func (f *indexFile) write(values map[string][]byte) error {
	return f.guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(indexBucket)
			for _, key := range slices.Sorted(maps.Keys(values)) {
				if value := values[key]; err == nil && value == nil {
					err = b.Delete([]byte(key))
				} else if err == nil {
					err = b.Put([]byte(key), seal(key, value))
				}
			}
			return err
		})
	})
}

// renew takes the tree of the put that has just been written. f.writing must be held.
func (f *indexFile) renew() error {
	tree, err := readIndexTree(f.file)
	if err == nil && tree.transaction <= f.tree.transaction {
		err = errors.New("what was written is not there")
	}
	if err != nil {
		return f.damage(err)
	}
	f.mu.Lock()
	f.old, f.tree = f.tree, tree
	f.mu.Unlock()
	return nil
}

// failed returns the error of a put that failed. If its transaction is in the file all the same, only
// its last sync failed, and it is not known what of it is on the disk. f.writing must be held.
func (f *indexFile) failed(err error) error {
	tree, readErr := readIndexTree(f.file)
	switch {
	case errors.Is(err, errIndexDamaged):
		return f.damage(err)
	case readErr != nil:
		return f.damage(errors.Join(err, readErr))
	case tree.transaction != f.tree.transaction:
		return f.damage(fmt.Errorf("it is not known what is on the disk: %w", err))
	}
	return fmt.Errorf("writing the index: %w", err)
}

// guard calls do, which uses bbolt, and turns a panic or a memory fault into errIndexDamaged. f.writing
// must be held.
func (f *indexFile) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f.stuck = true
			err = fmt.Errorf("%w: %v", errIndexDamaged, p)
		}
	}()
	err = do()
	if errors.Is(err, bbolterrors.ErrInvalidMapping) {
		err = fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	return err
}

// damage makes every call from now on fail, and returns the error for it.
func (f *indexFile) damage(err error) error {
	if !errors.Is(err, errIndexDamaged) {
		err = fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w", f.path, err)
	}
	return f.err
}

// close ends the use of the file, after the put that is on its way.
//
// If bbolt panicked, its own Close might wait for a lock for ever. Then only the file is closed. Its
// mapping, and so its lock, stays until the process ends; a new file at the path is another one.
func (f *indexFile) close() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.file == nil {
		return nil
	}
	f.mu.Lock()
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w", f.path, fs.ErrClosed)
	}
	f.mu.Unlock()
	file := f.file
	f.file = nil
	if f.unwritable != nil {
		f.unwritable.Close()
	}
	if f.db == nil || f.stuck {
		return file.Close()
	}
	return f.db.Close() // closes the file
}

// sealSize is how much longer a sealed value is.
const sealSize = crc32.Size

// seal returns a value as it is stored.
func seal(key string, value []byte) []byte {
	b := append(make([]byte, sealSize, sealSize+len(value)), value...)
	binary.LittleEndian.PutUint32(b, sumOf([]byte(key), value))
	return b
}

// unseal returns the value that was sealed for key. It is a part of stored.
func unseal(key, stored []byte) ([]byte, error) {
	if len(stored) < sealSize || binary.LittleEndian.Uint32(stored) != sumOf(key, stored[sealSize:]) {
		return nil, fmt.Errorf("the value of %q is damaged", key)
	}
	return stored[sealSize:], nil
}

// sumOf returns the CRC of a key and its value. The length says where the one ends.
func sumOf(key, value []byte) uint32 {
	sum := crc32.Update(uint32(len(key)), castagnoli, key)
	return crc32.Update(sum, castagnoli, value)
}

// encodeIdentity returns what says which store the file belongs to.
func encodeIdentity(directory uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, indexFormat)
	return binary.LittleEndian.AppendUint64(b, directory)
}

// checkIdentity says why a file with this identity is not of the directory. 0 is any directory.
func checkIdentity(identity []byte, directory uint64) error {
	if len(identity) < 4 {
		return errors.New("it is not whole")
	}
	if format := binary.LittleEndian.Uint32(identity); format != indexFormat || len(identity) != 12 {
		return fmt.Errorf("its format is %d, and this program knows format %d", format, indexFormat)
	}
	of := binary.LittleEndian.Uint64(identity[4:])
	if of != directory && of != 0 && directory != 0 {
		return errors.New("it belongs to another directory")
	}
	return nil
}
