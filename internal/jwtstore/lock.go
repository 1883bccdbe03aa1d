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
	path string                           // of the directory
	warn func(format string, args ...any) // see Options

	mu   sync.Mutex  // guards what follows
	held *os.File    // nil: not held, because the directory can't be written to
	info fs.FileInfo // of the directory that is locked
}

const (
	noteName = ".lock"
	// lockRetryInterval is from one attempt to the next: the lock itself can't be waited for with a
	// limit.
	lockRetryInterval = 50 * time.Millisecond
)

// acquire waits for the lock. It does not wait in a directory that can't be written to, where no
// process can do harm. Should that become possible, ensure takes the lock before the first write.
func (l *dirLock) acquire(ctx context.Context, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := l.ensure()
		switch {
		case errors.Is(err, ErrLocked) && writable(l.path) != nil:
			return nil
		case !errors.Is(err, ErrLocked) || time.Now().After(deadline) && ctx.Err() == nil:
			return err
		case !pause.For(ctx, lockRetryInterval):
			return context.Cause(ctx)
		}
	}
}

// ensure takes the lock of the directory that is at the path now, if it is not held yet. If it
// returns nil, no other process has begun to use the directory.
func (l *dirLock) ensure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCurrentLocked() {
		return nil
	}
	held, dir, err := grab(l.path)
	switch {
	case errors.Is(err, ErrLocked):
		return l.inUse()
	case held == nil:
		return err
	case err != nil:
		l.warn("%s can't be locked (%s): see to it that no other account server uses it",
			l.path, err)
	}
	l.dropLocked()
	l.held, l.info = held, dir
	if !l.isCurrentLocked() { // it was renamed or removed before the lock was taken
		l.dropLocked()
		return l.inUse()
	}
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

// isCurrentLocked reports whether what is locked is what is at the path.
func (l *dirLock) isCurrentLocked() bool {
	return l.held != nil && isAt(l.path, l.info)
}

// inUse returns ErrLocked with what the note says of the holder.
func (l *dirLock) inUse() error {
	note, err := os.Readlink(filepath.Join(l.path, noteName))
	if err != nil {
		return fmt.Errorf("%w: %s", ErrLocked, l.path)
	}
	pid, host, _ := strings.Cut(note, "@")
	return fmt.Errorf("%w: %s is held by process %s on host %s", ErrLocked, l.path, pid, host)
}

// release gives the lock back and removes the note. The lock goes last: the note can't be that of
// another process then.
func (l *dirLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCurrentLocked() {
		_ = os.Remove(filepath.Join(l.path, noteName))
	}
	l.dropLocked()
}

// dropLocked gives the lock back, if it is held.
func (l *dirLock) dropLocked() {
	if l.held != nil {
		l.held.Close()
		l.held = nil
	}
}
