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
)

// dirLock keeps every other process out of a directory. Beside the lock (grab) there is a note that says who holds
// it, for the message that somebody else reads; it means nothing by itself and is removed by release.
//
// The note is a symbolic link to nowhere, <dir>/.lock -> pid@host: it is written and read in one step, takes no
// block of a full disk, and no search for files finds it.
type dirLock struct {
	path string
	warn func(string, ...any)

	mu   sync.Mutex
	held *os.File    // nil: not held, because nobody can write here
	info fs.FileInfo // of the directory that is locked
}

const (
	noteName  = ".lock"
	lockRetry = 50 * time.Millisecond
)

// acquire waits for the lock. In a directory that can't be written to it is not waited for, as nobody can do harm:
// ensure takes it before the first write, should that become possible.
func (l *dirLock) acquire(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, ErrLocked)
	defer cancel()
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		err := l.ensure()
		if !errors.Is(err, ErrLocked) || writable(l.path) != nil {
			return l.unlessReadOnly(err)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, ErrLocked) {
				return cause
			}
			return err
		}
	}
}

func (l *dirLock) unlessReadOnly(err error) error {
	if errors.Is(err, ErrLocked) {
		return nil
	}
	return err
}

// ensure takes the lock of the directory that is at the path now, if it is not held yet. Nobody else can have
// started to use the directory when it returns nil.
func (l *dirLock) ensure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current() {
		return nil
	}
	held, dir, err := grab(l.path)
	switch {
	case errors.Is(err, ErrLocked):
		return l.inUse()
	case held == nil:
		return err
	case err != nil:
		l.warn("%s can't be locked (%s): see to it that no other account server uses it", l.path, err)
	}
	l.drop()
	l.held, l.info = held, dir
	if !l.current() { // it was renamed or removed while we locked it
		l.drop()
		return l.inUse()
	}
	note := filepath.Join(l.path, noteName)
	_ = os.Remove(note)
	_ = os.Symlink(whoami(), note)
	return nil
}

// owned says whether the lock of a directory is held, even if that is not at the path any more.
func (l *dirLock) owned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil
}

// current says whether what is locked is what is at the path.
func (l *dirLock) current() bool {
	if l.held == nil {
		return false
	}
	now, err := os.Stat(l.path)
	return err == nil && os.SameFile(now, l.info)
}

// inUse is ErrLocked with what is known about who holds it.
func (l *dirLock) inUse() error {
	who, err := os.Readlink(filepath.Join(l.path, noteName))
	if err != nil {
		return fmt.Errorf("%w: %s", ErrLocked, l.path)
	}
	pid, host, _ := strings.Cut(who, "@")
	return fmt.Errorf("%w: %s is held by process %s on host %s", ErrLocked, l.path, pid, host)
}

func whoami() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%d@%s", os.Getpid(), host)
}

// release gives the lock back and removes the note. The lock goes last, so that the note is nobody else's.
func (l *dirLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current() {
		_ = os.Remove(filepath.Join(l.path, noteName))
	}
	l.drop()
}

func (l *dirLock) drop() {
	if l.held != nil {
		l.held.Close()
		l.held = nil
	}
}
