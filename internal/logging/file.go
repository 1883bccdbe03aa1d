package logging

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// logFileMode lets a group read the log, as nats-server's does.
	logFileMode = 0o640
	// backupFormat is what the name of a file gets when it has its size, as nats-server names them.
	backupFormat = ".2006.01.02.15.04.05.000000000"
)

// backupSuffix matches what backupFormat makes.
var backupSuffix = regexp.MustCompile(`^\.\d{4}(\.\d\d){5}\.\d{9}$`)

// file is a log file. Before it gets larger than its limit, it is renamed, and a new one begins.
// Only the goroutine of the queue writes; Close may come from another one.
type file struct {
	target Target
	size   int64 // of the current file; only writeLine uses it

	mu     sync.Mutex // guards the fields below; it is not held during a write
	f      *os.File
	closed bool
}

// openFile opens the file of a target for appending. A file that is larger than the limit already
// is renamed by the first line.
func openFile(t Target) (*file, error) {
	f, err := openAppend(t.File, logFileMode)
	if err != nil {
		return nil, err
	}
	return &file{target: t, f: f, size: sizeOf(f)}, nil
}

// sizeOf returns how many bytes are in a file. A pipe has none.
func sizeOf(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// writeLine implements writer. A line that is larger than the limit has a file of its own.
func (l *file) writeLine(_ slog.Level, line []byte) error {
	limit := int64(l.target.SizeLimit)
	if limit > 0 && l.size > 0 && l.size+int64(len(line)) > limit {
		// Without a new file, the present one goes on.
		_ = l.rotate()
	}
	l.mu.Lock()
	f := l.f
	l.mu.Unlock()
	err := appendLine(f, line)
	if err == nil {
		l.size += int64(len(line))
	}
	return err
}

// rotate renames the file and begins a new one. If that fails, it is tried again when as many bytes
// more are written as the limit has. The name of the old file has the local time:
// server.log.2026.11.28.20.00.00.000000000.
func (l *file) rotate() error {
	l.size = 0
	backup := l.target.File + time.Now().Format(backupFormat)
	if err := os.Rename(l.target.File, backup); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := openAppend(l.target.File, logFileMode)
	if err != nil {
		return err
	}
	l.replace(f)
	l.size = sizeOf(f)
	l.removeOld()
	return nil
}

// replace closes the current file and goes on with f.
func (l *file) replace(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
	l.f = f
	if l.closed {
		_ = f.Close()
	}
}

// removeOld removes the oldest files beyond MaxFiles. An error of one is no reason to keep the
// others. The current file counts as one of MaxFiles. 0 keeps all.
func (l *file) removeOld() {
	if l.target.MaxFiles <= 0 {
		return
	}
	backups := Backups(l.target.File)
	for len(backups) > 0 && len(backups) >= l.target.MaxFiles {
		_ = os.Remove(backups[0])
		backups = backups[1:]
	}
}

// Backups returns the paths of the former files of a log file, the oldest one first.
func Backups(path string) (backups []string) {
	entries, _ := os.ReadDir(filepath.Dir(path))
	base := filepath.Base(path)
	for _, e := range entries {
		// Other files beside the log, as those of logrotate, are none of ours.
		if name := e.Name(); len(name) > len(base) && name[:len(base)] == base &&
			backupSuffix.MatchString(name[len(base):]) {
			backups = append(backups, filepath.Join(filepath.Dir(path), name))
		}
	}
	slices.Sort(backups)
	return backups
}

// Close implements io.Closer. A write at the same time ends first, or fails with os.ErrClosed.
func (l *file) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.f.Close()
}

// openAppend opens a file for appending. A new one gets the mode. It is for the audit file too.
func openAppend(path string, mode os.FileMode) (*os.File, error) {
	// Without O_NONBLOCK, a named pipe would be waited for until a process reads it.
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, mode)
}

// appendLine writes a line to a file, wholly or not at all. The file must be opened with O_APPEND.
func appendLine(f *os.File, line []byte) error {
	// One system call writes the line, so that other processes which append to the file can't split
	// it.
	n, err := f.Write(line)
	if err != nil && n > 0 {
		// A disk that is full takes a part of a line. The next line must not continue it.
		cutBack(f, n)
	}
	return err
}

// cutBack removes the last n bytes of a file: what was written of a line before an error. If that
// fails too, a part of a line stays.
func cutBack(f *os.File, n int) {
	if info, err := f.Stat(); err == nil {
		_ = f.Truncate(info.Size() - int64(n))
	}
}
