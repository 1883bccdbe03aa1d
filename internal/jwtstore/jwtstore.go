// Package jwtstore keeps account JWTs, in a directory (Dir) or in memory (Memory). It does not know
// what a JWT may say: the allow function of the caller decides what may be stored.
//
// The parts of a Dir:
//
//	journal    every committed change, and what nats-servers have acknowledged
//	unflushed  the committed changes whose files are not written yet; readers look here first
//	directory  one file for each JWT and each tombstone; key <-> path
//	flusher    writes the files of what is unflushed, in the background
//	Outbox     which nats-server has still to acknowledge which change
//	Index      what is known of each account: the stored version, and the newest one ever accepted
//
// The way of a change:
//
//	Put, Delete ──> journal record, synced ──> answer
//	                  ├──> unflushed: readers see it         at once
//	                  ├──> Index, in memory                  at once
//	                  ├──> Outbox: it is to be announced     at once
//	                  ├──> <dir>/XX/KEY.jwt                  by the flusher, soon if few come
//	                  └──> Index, on disk                    after that
//
// The record in the journal is the commit; nothing else is written before the answer. The directory
// follows, in exactly the layout that people and other programs know. If a newer JWT was put into
// it by hand since the commit, that stays, and the change is not written. If all files are written
// and nothing is pending in the outbox, the journal says nothing that the directory does not, and
// Close removes it.
//
// A Delete leaves a tombstone in <dir>/XX/KEY.jwt.deleted: bytes that the caller chooses, which the
// allow functions of later changes see. A later Put does not remove it. To remove that file by hand
// is to remove the tombstone; to put a KEY.jwt beside it is to store a JWT.
//
// # Files
//
// In the order in which to read them:
//
//	dir.go, memory.go   the two stores; what a start does
//	writer.go           Put, Delete and Touch: compare and commit
//	journal.go          the commit; record.go has its format, replay.go reads it
//	checkpoint.go       when the journal begins anew, and ends
//	unflushed.go        what is committed, and in no file yet
//	directory.go        the files; layout.go has their paths, file.go reads one, writefile.go
//	                    writes, moves and removes one
//	watch_linux.go      whether a file may have changed since it was read
//	flusher.go          what is unflushed is written: flushbatch.go, batchsync.go
//	index.go            of a Version and a Floor, see version.go; index_entries.go has what it
//	                    keeps, index_open.go and index_save.go when that is read and written
//	importers.go        which accounts import from one, by the index
//	indexfile.go        how the index is on disk: indextable.go, indexlog.go
//	outbox.go           outbox_*.go are its parts
//	scan.go             what was changed by hand
//	encoding.go         numbers, texts and keys, as all of these files have them
//
// What can go wrong with a directory: double.go (an account has two files), newer.go (a newer file
// was put there before a change was flushed), presence.go (it is gone, or another one is there),
// lock.go (another process has it), index_open.go (its index was elsewhere before), state.go and
// check.go (it takes no files).
//
// # Concurrency
//
// All methods may be called from any goroutine. Compare and commit (Put, Delete) are one step for
// each account. Changes of different accounts share their sync to stable storage.
//
// A change becomes visible to Load when it is durable, never before, and Put or Delete returns
// after that. So what Load has shown once is not lost by a crash. The outbox has the change a
// moment after Load. Acknowledgements of nats-servers are written along with later commits and not
// synced for their own sake. After a crash an acknowledgement may be missing; then the change is
// announced once more.
//
// Locks guard memory, not I/O, with four exceptions: a Put or Delete holds its own account, the
// holder of the commit token writes the journal, one goroutine at a time flushes, and a call of the
// Index may read its file. Load waits for none of them. It waits only when many other goroutines do
// the same, which is to read a file, or to see that it is unchanged.
package jwtstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// Stamp identifies the version that Load returned; equal stamps mean equal bytes. The zero Stamp is
// no version.
//
//	of a file              {size, mtime, inode, ctime}   times in Unix ns
//	of an unflushed JWT    {-1, seq, 0, 0}
//	of a hot file          {-2, n, 0, 0}                 n is new each time
//
// A hot file was written to just now: its times may not tell the next change. So its stamp never
// compares equal.
type Stamp [4]int64

// CommitStamp is the stamp under which Load returns the change with this sequence number, until its
// file is written.
func CommitStamp(seq uint64) Stamp { return Stamp{-1, int64(seq)} }

// Modified returns when the file was last written; the zero time if that is just now, or there is
// no file.
func (s Stamp) Modified() time.Time {
	if s[0] < 0 || s == (Stamp{}) {
		return time.Time{}
	}
	return time.Unix(0, s[1])
}

// Change is one committed change of an account, to be announced to the nats-servers. The zero
// Change is none.
type Change struct {
	Seq uint64
	Key string
	At  time.Time // of the commit, by the clock then; only to be shown
	// Known is since when this process knows the change: since the commit, or since its own start.
	// It has the monotonic clock of this process, so what is subtracted from it does not depend on
	// clocks that are set.
	Known time.Time
}

const (
	// maxJWT is the size of the largest JWT that is read or stored, in bytes. Real ones have one to
	// a hundred KiB.
	maxJWT = 4 << 20
	// maxOrigin is the length of the longest origin, in bytes: the journal has one byte for
	// it.
	maxOrigin = 255
)

// ErrLocked is returned when another process, or another Dir of this one, has the directory open.
var ErrLocked = errors.New("the store directory is in use")

// ErrClosed is returned by a Put, Delete or Touch after Close.
var ErrClosed = fmt.Errorf("the JWT store is closed: %w", fs.ErrClosed)

// ErrDirectory is wrapped with the cause while the directory of a store is not there or can't be
// read.
var ErrDirectory = errors.New("the store directory is not there or can't be read")

// errIrregular is returned for a file that can't be a JWT, whatever it contains. A Put may replace
// it.
var errIrregular = errors.New("not a JWT file")

// unknown is Load's error for an account that is not there.
func unknown(key string) error {
	return &fs.PathError{Op: "load", Path: key, Err: fs.ErrNotExist}
}

// CursorPath returns the path of a file beside the journal of the store in a directory. Its content
// belongs to the caller: how far a bucket that other servers share was read.
func CursorPath(dir string) string { return filepath.Join(dir, journalDir, cursorName) }
