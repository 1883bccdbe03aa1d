package logging

import (
	"fmt"
	"io"
	"log/slog"
)

// Target says where the lines of a handler go. The zero Target is the writer that it was made with.
// If several fields are set, File comes before RemoteSyslog, and that one before Syslog.
type Target struct {
	File      string // path
	SizeLimit int    // the file begins anew before it has more bytes; 0: there is no limit
	MaxFiles  int    // how many files are kept, with the current one; 0: all are

	Syslog       bool   // the syslog of this system
	RemoteSyslog string // another one: udp://host:port, tcp://host:port or unix:///path
}

// Sink is an open Target.
type Sink struct {
	writer
	closer   io.Closer
	name     string // for errors: what can't be written
	isSyslog bool
}

// Close closes the target. Nil has nothing to close.
func (s *Sink) Close() error {
	if s == nil {
		return nil
	}
	return s.closer.Close()
}

// writer takes the lines of a queue. Only one goroutine at a time writes.
type writer interface {
	writeLine(level slog.Level, line []byte) error
}

// plain is a writer without levels.
type plain struct{ io.Writer }

func (p plain) writeLine(_ slog.Level, line []byte) error {
	_, err := p.Write(line)
	return err
}

// Open opens a target. For the zero Target, the Sink is nil. It fails if a file can't be opened. A
// syslog is looked for when there is a line.
func (t Target) Open() (*Sink, error) {
	switch {
	case t.File != "":
		f, err := openFile(t)
		if err != nil {
			return nil, fmt.Errorf("error opening the log file: %w", err)
		}
		return &Sink{writer: f, closer: f, name: "the log file"}, nil
	case t.RemoteSyslog != "":
		addresses, err := parseSyslog(t.RemoteSyslog)
		if err != nil {
			return nil, err
		}
		s := &syslog{addresses: addresses, isRemote: true}
		return &Sink{writer: s, closer: s, name: "syslog", isSyslog: true}, nil
	case t.Syslog:
		s := &syslog{addresses: localSyslog}
		return &Sink{writer: s, closer: s, name: "syslog", isSyslog: true}, nil
	default:
		return nil, nil
	}
}
