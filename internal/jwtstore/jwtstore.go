// Package jwtstore is where account JWTs lie: in a directory (Dir) or in memory (Memory). It does not know what a
// JWT may say; the caller's allow function decides what may be stored.
//
// A Dir is three things that follow from each other:
//
//	Put, Delete ──> aside file ──> journal record, synced ──> the answer
//	                                      │
//	                                      ├──> pending: readers get it from memory   (at once)
//	                                      ├──> ledger: which nats-server must hear   (at once)
//	                                      └──> <dir>/XX/KEY.jwt                      (within a second)
//
// The journal (journal.go) is the commit. The directory is what the journal says, written out by the materialiser
// (materialise.go), in exactly the layout that people and other programs know. The ledger (ledger.go) is the
// outbox: which change which nats-server has still to acknowledge. When all files are written and nothing is owed
// the journal says nothing that the directory does not, and Close removes it.
//
// A Delete leaves a tombstone behind, in <dir>/XX/KEY.jwt.deleted: bytes that whoever deletes chooses, for the allow
// functions of later Puts to judge by. A later Put does not remove it. Who removes the file by hand, removes the
// tombstone; who puts a KEY.jwt beside it, has stored a JWT.
//
// # Concurrency
//
// All methods may be called from any goroutine. Compare and commit (Put, Delete) are one step for each account; those
// of different accounts share their sync to stable storage. A version, or that there is none any more, becomes visible
// to Load at the moment it is durable, never before, and Put or Delete returns after that; so what Load has shown once
// is not lost by a crash. What
// nats-servers have acknowledged is written along with later commits and not synced for its own sake: a crash may
// forget an acknowledgement, and then the change is announced once more.
//
// Locks guard memory, not I/O, with three exceptions: a Put or Delete holds its own account, one at a time leads a group
// into the journal, and one goroutine at a time writes files out. Load waits for none of them, only for its turn when
// many others are busy with files.
package jwtstore

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Stamp says which version of a JWT Load returned; equal stamps mean equal bytes. The zero Stamp is no version.
//
//	of a file       {size, mtime, inode, ctime}   times in nanoseconds
//	of a commit     {-1, seq, 0, 0}               committed, its file is not written yet
//	of a hot file   {-2, n, 0, 0}                 just written to: n is new each time, so it never compares equal
type Stamp [4]int64

func commitStamp(seq uint64) Stamp { return Stamp{-1, int64(seq)} }

// Change is one committed change of an account that the nats-servers are to hear of.
type Change struct {
	Seq uint64
	Key string
	At  time.Time // of the commit
}

// maxJWT is the size of the largest JWT that is read or stored, in bytes. Real ones have one to a hundred KiB.
const maxJWT = 4 << 20

// ErrLocked says that another process, or another Dir of this one, has the directory open.
var ErrLocked = errors.New("the store directory is in use")

// ErrClosed is returned by a Put, Delete or Touch after Close.
var ErrClosed = fmt.Errorf("the JWT store is closed: %w", fs.ErrClosed)

// errIrregular is a file that can't be a JWT, whatever it contains. A Put may replace it.
var errIrregular = errors.New("not a JWT file")

// checkPut refuses what no store takes.
func checkPut(key, door string, jwt []byte) error {
	if !validName(key) {
		return fmt.Errorf("%q is not a public account key", key)
	}
	return errors.Join(checkDoor(door), checkSize("JWT", jwt))
}

// checkDelete is checkPut for a Delete. There is nothing to delete for what can't be a key.
func checkDelete(key, door string) error {
	if !validKey(key) {
		return unknown(key)
	}
	return checkDoor(door)
}

func checkDoor(door string) error {
	if len(door) > 255 {
		return errors.New("the name of the door is longer than 255 bytes")
	}
	return nil
}

func checkSize(what string, content []byte) error {
	switch {
	case len(content) == 0:
		return fmt.Errorf("an empty %s can't be stored", what)
	case len(content) > maxJWT:
		return fmt.Errorf("a %s of %d bytes can't be stored: the limit is %d", what, len(content), maxJWT)
	}
	return nil
}

// unknown is Load's error for an account that is not there.
func unknown(key string) error {
	return &fs.PathError{Op: "load", Path: key, Err: fs.ErrNotExist}
}
