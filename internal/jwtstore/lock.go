package jwtstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"nats-account-server/internal/pause"
)

// dirLock keeps every other process out of a directory. Beside the lock itself (grab) there is a
// note that names the holder, for the error message of another process. It has no other meaning,
// and release removes it.
//
// The note is a symbolic link to nowhere, <dir>/.lock -> pid@host. It is written and read in one
// step, takes no block of a full disk, and a search for files does not find it.
type dirLock struct {
	path string // of the directory

	mu   sync.Mutex // guards what follows
	held *grabbed   // nil: not held, because the directory can't be written to
}

// grabbed is the lock of a directory. It is given back when the files are closed, however the
// process ends.
type grabbed struct {
	files []*os.File             // what is locked
	at    map[string]fs.FileInfo // what must still be at these paths
}

// isCurrent reports whether what is locked is what is at its path. It is not if it was renamed or
// removed.
func (g *grabbed) isCurrent() bool {
	for path, info := range g.at {
		if !isAt(path, info) {
			return false
		}
	}
	return true
}

// close gives the lock back.
func (g *grabbed) close() {
	for _, f := range g.files {
		f.Close()
	}
}

const (
	noteName = ".lock"
	// lockRetryInterval is from one attempt to the next: the lock itself can't be waited for with a
	// limit.
	lockRetryInterval = 50 * time.Millisecond
)

// acquire waits for the lock. It returns nil without the lock if the directory can't be written to,
// or its disk is full: no process can do harm there. Should a write become possible, ensure takes
// the lock before it.
func (l *dirLock) acquire(ctx context.Context, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := l.ensure()
		switch {
		case err == nil, isFull(err), writable(l.path) != nil:
			return nil
		case !errors.Is(err, ErrLocked) || time.Now().After(deadline) && ctx.Err() == nil:
			return err
		case !pause.For(ctx, lockRetryInterval):
			return context.Cause(ctx)
		}
	}
}

// isFull reports whether an error means that the disk takes no new file. Nothing else can be
// written then, either.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota)
}

// ensure takes the lock of the directory that is at the path now, if it is not held yet. If it
// returns nil, no other process has begun to use the directory.
func (l *dirLock) ensure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCurrentLocked() {
		return nil
	}
	// What is held may be a part of what is to be taken. If another process is faster now, it was
	// let in by the removal of the lock.
	l.dropLocked()
	held, err := grab(l.path)
	if errors.Is(err, ErrLocked) {
		return l.inUse()
	}
	if err != nil {
		return err
	}
	l.held = held
	host, _ := os.Hostname()
	note := filepath.Join(l.path, noteName)
	_ = os.Remove(note)
	_ = os.Symlink(fmt.Sprintf("%d@%s", os.Getpid(), host), note)
	return nil
}

// owned reports whether the lock of a directory is held, even if that is not at the path any more.
func (l *dirLock) owned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil
}

// isCurrent reports whether the lock of the directory that is at the path now is held.
func (l *dirLock) isCurrent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isCurrentLocked()
}

// isCurrentLocked is isCurrent. l.mu must be held.
func (l *dirLock) isCurrentLocked() bool { return l.held != nil && l.held.isCurrent() }

// inUse returns ErrLocked with what the note says of the holder.
func (l *dirLock) inUse() error {
	note, err := os.Readlink(filepath.Join(l.path, noteName))
	if err != nil {
		return fmt.Errorf("%w: %s", ErrLocked, l.path)
	}
	pid, host, _ := strings.Cut(note, "@")
	return fmt.Errorf("%w: %s is held by process %s on host %s", ErrLocked, l.path, pid, host)
}

// release gives the lock back and removes the note and the lock file. The lock goes last: neither
// can be that of another process then.
func (l *dirLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCurrentLocked() {
		_ = os.Remove(filepath.Join(l.path, noteName))
		l.held.remove(l.path)
	}
	l.dropLocked()
}

// dropLocked gives the lock back, if it is held. l.mu must be held.
func (l *dirLock) dropLocked() {
	if l.held != nil {
		l.held.close()
		l.held = nil
	}
}
