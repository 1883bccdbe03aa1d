package natstest

import (
	"bytes"
	"strings"
	"sync"
)

// Log is a log that tests can read while other goroutines write it.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that has been written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Count returns how often text has been written.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }
