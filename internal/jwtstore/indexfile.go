package jwtstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// errIndexDamaged is returned for an index file that can't be used: damaged, or of
// another format. All that it had can be made again.
var errIndexDamaged = errors.New("the index file can't be used")

// indexFile keeps values by key on disk. What is in it can be rebuilt: any doubt about it is
// errIndexDamaged, at once and for every later call.
//
//	table: sorted values, see indexTable │ log: one record for each put since, see indexContent
//
// A put appends a record and syncs. The values in the log are in memory too, and so is the first
// key of each block of the table. When the log has become large, a put merges table and log into a
// new file, which then takes the old one's name. So there is one whole file at any moment. A crash
// leaves the old or the new one, which have the same values.
//
// All that is read has a CRC. The blocks of the table are checked when they are read, all else when
// the file is opened. What can't be noticed is that the file ends with an earlier put, because a
// backup was restored or a disk lost its last writes: a crash leaves the same. The note has to
// tell.
//
// The methods may be called from any goroutine. A get does not wait for a put.
//
// The locks are taken in this order: writing, mu, and the content's reading.
type indexFile struct {
	path string

	writing sync.Mutex
	// broken: it is not known what of the file is on the disk, so that nothing may be appended.
	// writing guards it.
	broken  bool
	mergeAt int64 // the size of the log at which a merge is due; writing guards it
	// unwritable is what the file was when it could not be opened for writing, else nil. Then the
	// first put makes a new file. writing guards it.
	unwritable fs.FileInfo

	mu      sync.RWMutex  // guards what follows
	content *indexContent // is changed only while writing is held too
	err     error         // once the file is damaged or closed
}

// minMerge and maxMerge bound how large a log becomes, in bytes. It is in memory too. They are
// variables for tests.
var minMerge, maxMerge int64 = 1 << 20, 8 << 20

// renamesOpenFiles says that a file can be renamed while it is open, and its name be taken by
// another one. It is a variable for tests.
var renamesOpenFiles = runtime.GOOS != "windows"

// openIndexFile opens the file. It makes it, without values and without a note, if it is not there.
// One that can't be written to can be read; each put tries again. The error wraps errIndexDamaged
// if removing the file would help. The caller closes it. It is ErrLocked if another process has it
// open.
//
// The order of the steps: what is torn at the end is cut off before the name is made durable, and
// both come before the first put. The file of a merge that a crash has ended is removed last. It is
// never read, because the old file still has all values.
func openIndexFile(path string) (*indexFile, error) {
	f := &indexFile{path: path}
	c, err := f.open(path)
	if errors.Is(err, fs.ErrNotExist) {
		f.content = &indexContent{indexTable: &indexTable{}} // without a file
		err = f.rewrite()
	} else if f.content = c; err == nil && f.unwritable == nil {
		// What a crash tore is taken off. And it may have come before the name was durable.
		dir := filepath.Dir(path)
		// Without the cut a part of the torn record could stay behind the next one.
		err = errors.Join(c.file.Truncate(c.size), syncDir(dir), syncNames(dir))
	}
	if err != nil {
		_ = f.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.planMerge()
	_ = os.Remove(f.next()) // a crash may have left it
	return f, nil
}

// next returns the path of the file that is to replace this one, and is not whole yet.
func (f *indexFile) next() string { return f.path + ".next" }

// open opens the file at path and reads all but its blocks. If it can be written to, and its file
// system has locks, no other process uses it from now on.
func (f *indexFile) open(path string) (*indexContent, error) {
	file, err := os.OpenFile(path, os.O_RDWR|openFlags, 0)
	canWrite := !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission)
	// A put makes another file then, see prepare. The stat is kept to notice that another process
	// has written to this one.
	if !canWrite {
		if file, err = os.OpenFile(path, os.O_RDONLY|openFlags, 0); err == nil {
			f.unwritable, err = file.Stat()
		}
	}
	// A directory at the path counts as damage, whatever the error of the open was.
	if info, statErr := os.Stat(path); err != nil && statErr == nil && !info.Mode().IsRegular() {
		return nil, damagedIndex("it is not a file")
	}
	if err != nil {
		return nil, err
	}
	// Without locks on this file system, the lock of the store's directory has to do.
	if canWrite && errors.Is(tryLock(file), ErrLocked) {
		file.Close()
		return nil, ErrLocked
	}
	c, err := readIndexContent(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return c, nil
}

// isThere reports whether the file is at its path. It is not if it was removed. After an error of
// the file it reports false.
func (f *indexFile) isThere() (there bool) {
	_ = f.read(func(c *indexContent) error {
		info, err := c.file.Stat()
		there = err == nil && isAt(f.path, info)
		return nil
	})
	return there
}

// get returns the value of a key; nil if there is none. The value is the caller's own.
func (f *indexFile) get(key string) (value []byte, err error) {
	err = f.read(func(c *indexContent) error {
		v, err := c.get(key)
		value = bytes.Clone(v)
		return err
	})
	return value, err
}

// note returns what the last put said of the values; nil if it said nothing.
func (f *indexFile) note() (note []byte, err error) {
	err = f.read(func(c *indexContent) error {
		note = bytes.Clone(c.note)
		return nil
	})
	return note, err
}

// filter says what of an index file is wanted. A func that is nil wants all. Both may say yes to
// what is not wanted: they look at encoded values.
type filter struct {
	// block is asked of a block of keys and values. If it says no, none in the block is wanted.
	block func(content []byte) bool
	value func(value []byte) bool
}

// scan returns up to max keys after a key, and their values, by key. "" is before all of them. A
// value that is not wanted is nil. Of the keys in a block that is not wanted, all but the first are
// left out. The slices are the caller's own. The error is damage, or that of a closed file. max
// bounds the memory that a call takes.
func (f *indexFile) scan(
	after string, max int, want filter,
) (keys []string, values [][]byte, err error) {
	keys, values = make([]string, 0, max), make([][]byte, 0, max)
	err = f.read(func(c *indexContent) error {
		for e, err := range c.from(after+"\x00", want.block) {
			// A nil error ends the loop too: the wanted number of keys is reached.
			if err != nil || len(keys) == max {
				return err
			}
			var value []byte
			if want.value == nil || want.value(e.value) {
				value = bytes.Clone(e.value)
			}
			keys, values = append(keys, e.key), append(values, value)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return keys, values, nil
}

// read calls do with the content. What do returns is damage or nil. do must not keep anything of
// the content. The content's own lock keeps its file open until do returns, while a merge may put
// another content in its place.
func (f *indexFile) read(do func(*indexContent) error) error {
	f.mu.RLock()
	c, err := f.content, f.err
	if err == nil {
		c.reading.RLock()
	}
	f.mu.RUnlock()
	if err != nil {
		return err
	}
	err = do(c)
	c.reading.RUnlock()
	return f.noteDamage(err)
}

// noteDamage makes every call from now on fail if err is damage. It returns err.
func (f *indexFile) noteDamage(err error) error {
	if !errors.Is(err, errIndexDamaged) {
		return err
	}
	err = fmt.Errorf("%s: %w", f.path, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = cmp.Or(f.err, err)
	return err
}

// put stores values, which are not nil, and the note in one durable step. After an error that is
// not errIndexDamaged the file is as it was before, and may be written to again. values may be
// empty: then only the note changes.
//
// The order: a file that can't be appended to is made anew first, then the record is durable, then
// a merge may follow. A crash before the sync leaves the file as it was, perhaps with a torn
// record, which the next open cuts off. A crash during the merge leaves the old file or the new
// one, and both have the values.
func (f *indexFile) put(values map[string][]byte, note []byte) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	err := f.prepare()
	if err == nil {
		err = f.append(encodeIndexPut(values, note))
	}
	if err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	if f.logSize() < f.mergeAt {
		return nil
	}
	if err := f.merge(); errors.Is(err, errIndexDamaged) {
		return err
	}
	return nil // the put is durable whether there could be a merge or not
}

// tidy merges once the log has become as large as the smallest that is merged: the next open reads
// a log as a whole, and keeps it in memory. What it fails at, the next put finds.
func (f *indexFile) tidy() {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.prepare() == nil && f.logSize() >= minMerge {
		_ = f.merge()
	}
}

// prepare makes a new file if nothing may be appended to this one: it is of an earlier format for
// instance. f.writing must be held.
//
// It returns the damage of an earlier call. After a failed sync it is not known which bytes are on
// the disk, so only a new file will do.
func (f *indexFile) prepare() error {
	if err := f.read(func(*indexContent) error { return nil }); err != nil {
		return err
	}
	// This process had no lock while it could only read. A merge now would undo what another
	// process has written.
	if before := f.unwritable; before != nil {
		now, err := os.Stat(f.path)
		if err != nil || !os.SameFile(now, before) || now.Size() != before.Size() {
			return f.noteDamage(damagedIndex("another process has changed it"))
		}
	}
	if f.broken || f.unwritable != nil || f.content.format < indexFormat ||
		f.logSize() > maxIndexLog/2 {
		return f.merge()
	}
	return nil
}

// logSize returns the length of the log. f.writing must be held.
func (f *indexFile) logSize() int64 { return f.content.size - f.content.end }

// append appends a record. f.writing must be held.
//
// The order: write, sync, and only then the content in memory. So a reader never sees a value that
// a crash could take back.
func (f *indexFile) append(content []byte) error {
	c := f.content
	record := appendIndexRecord(nil, c.number, c.size, content)
	if len(record) > maxIndexLog/2 {
		return errors.New("too much for one put")
	}
	_, err := c.file.WriteAt(record, c.size)
	if err == nil {
		err = syncData(c.file)
		f.broken = err != nil
	}
	if err != nil {
		// What failed must not come back after a crash.
		f.broken = c.file.Truncate(c.size) != nil || f.broken
		return err
	}
	// The record is on the disk already. What memory can't take is damage, since both differ from
	// then on.
	after, err := c.with(content, int64(len(record)))
	if err != nil {
		return f.noteDamage(err)
	}
	f.use(after)
	return nil
}

// use makes c what is read.
func (f *indexFile) use(c *indexContent) {
	f.mu.Lock()
	f.content = c
	f.mu.Unlock()
}

// merge merges table and log into a new file. If it fails, on a full disk for instance, the old one
// will do for some more puts. f.writing must be held. It takes as long as all values take to be
// written, and readers go on meanwhile.
func (f *indexFile) merge() error {
	err := f.rewrite()
	f.planMerge()
	return f.noteDamage(err)
}

// planMerge says when the next merge is due: after one that failed, when the log is a quarter
// longer. f.writing must be held, or f not be in use yet. A log of 1 MiB is the least that is
// merged, and 8 MiB the most that waits for it. Between these it is a quarter of the table, so that
// each value is written few times.
func (f *indexFile) planMerge() {
	f.mergeAt = max(minMerge, min(f.content.end/4, maxMerge), f.logSize()*5/4)
}

// rewrite writes a new file with all values. f.writing must be held, or f not be in use yet.
//
// The order: the new file is whole and synced under the name .next, then it is opened and checked,
// then it takes the name, then the directory is synced. A crash before the rename leaves the old
// file and a .next that the next open removes. A crash after it leaves either of the two, which
// have the same values.
func (f *indexFile) rewrite() error {
	old := f.content
	if err := writeIndexFile(f.next(), old.note, old.from("", nil)); err != nil {
		return err
	}
	// A new file that can't be read must not replace one that can.
	c, err := f.open(f.next())
	if err == nil {
		err = f.replace(c)
	}
	if err != nil {
		_ = os.Remove(f.next())
		return err
	}
	err = syncDir(filepath.Dir(f.path))
	f.broken, f.unwritable = err != nil, nil // a crash may bring back the old file
	return err
}

// replace gives the new file, whose content is c, the name of the old one. f.writing must be held.
// Readers of the old content end undisturbed: closing it waits for them. After an error the old
// file is in use as before, and c is closed.
func (f *indexFile) replace(c *indexContent) error {
	if !renamesOpenFiles {
		return f.replaceClosed(c)
	}
	if err := os.Rename(f.next(), f.path); err != nil {
		_ = c.close()
		return err
	}
	old := f.content
	f.use(c)
	_ = old.close()
	return nil
}

// replaceClosed is replace for a system that renames no open files. Those that read wait for it.
//
// Both files are closed for the rename, and the one that has the name afterwards is opened again.
// So a failed rename leaves the old content in use. If nothing can be opened, every later call
// fails.
func (f *indexFile) replaceClosed(c *indexContent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = c.close()
	_ = f.content.close()
	err := os.Rename(f.next(), f.path)
	if err == nil {
		f.content = c
	}
	file, openErr := os.OpenFile(f.path, os.O_RDWR, 0)
	if openErr != nil {
		f.err = cmp.Or(f.err, openErr)
	}
	f.content.file = file
	return errors.Join(err, openErr)
}

// close ends the use of the file, after the put that is on its way. Every later call gives
// fs.ErrClosed.
func (f *indexFile) close() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.content == nil {
		return nil
	}
	c := f.content
	f.content = nil
	f.err = cmp.Or(f.err, fmt.Errorf("%s: %w", f.path, fs.ErrClosed))
	return c.close()
}
