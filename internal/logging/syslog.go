package logging

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// syslogTimeout bounds a connection to syslog, and a write. After a failure, it is not tried
	// again for as long: the lines go elsewhere then.
	syslogTimeout = time.Second
	// daemonFacility is the facility of each line: a system daemon.
	daemonFacility = 3
)

// localSyslog is where a syslog of the same system may listen.
var localSyslog = []syslogAddress{
	{"unixgram", "/dev/log"}, {"unix", "/dev/log"}, {"unixgram", "/var/run/syslog"},
	{"unix", "/var/run/syslog"}, {"unixgram", "/var/run/log"}, {"unix", "/var/run/log"},
}

// syslogAddress is an address as package net has it.
type syslogAddress struct{ network, address string }

// syslog sends lines to a syslog, in the form of the package log/syslog. That package has no
// timeouts, and is not there on Windows.
type syslog struct {
	addresses []syslogAddress // the first one that can be dialled is used
	isRemote  bool            // the lines have the name of this machine

	mu     sync.Mutex
	conn   net.Conn  // nil: it must be dialled
	next   time.Time // nothing is dialled before that
	closed bool
}

// parseSyslog parses the URL of a syslog.
func parseSyslog(text string) ([]syslogAddress, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
	case (u.Scheme == "udp" || u.Scheme == "tcp") &&
		u.Hostname() != "" && u.Port() != "" && u.Path == "":
		return []syslogAddress{{u.Scheme, u.Host}}, nil
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return []syslogAddress{{"unixgram", u.Path}, {"unix", u.Path}}, nil
	}
	return nil, fmt.Errorf("%q is no address of a syslog: it must be like udp://host:514, "+
		"tcp://host:514 or unix:///dev/log", text)
}

// CheckSyslog returns an error if text is no URL of a syslog.
func CheckSyslog(text string) error {
	_, err := parseSyslog(text)
	return err
}

// writeLine implements writer. A connection that was lost is dialled once more.
func (s *syslog) writeLine(level slog.Level, line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	message := s.message(time.Now(), level, line)
	wasOpen := s.conn != nil
	err := s.sendLocked(message)
	if err != nil && wasOpen {
		err = s.sendLocked(message)
	}
	return err
}

// message returns a line as syslog wants it.
func (s *syslog) message(now time.Time, level slog.Level, line []byte) []byte {
	priority := daemonFacility<<3 | levelOf(level).severity
	name := filepath.Base(os.Args[0])
	if s.isRemote {
		host, _ := os.Hostname()
		return fmt.Appendf(nil, "<%d>%s %s %s[%d]: %s", priority, now.Format(time.RFC3339), host,
			name, os.Getpid(), line)
	}
	return fmt.Appendf(nil, "<%d>%s %s[%d]: %s", priority, now.Format(time.Stamp), name,
		os.Getpid(), line)
}

// sendLocked sends a message, over a new connection if there is none. s.mu must be held.
func (s *syslog) sendLocked(message []byte) error {
	if err := s.dialLocked(); err != nil {
		return err
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
	if _, err := s.conn.Write(message); err != nil {
		_ = s.conn.Close()
		s.conn = nil
		return err
	}
	return nil
}

// dialLocked makes a connection if there is none. s.mu must be held.
func (s *syslog) dialLocked() error {
	if s.conn != nil {
		return nil
	}
	if time.Now().Before(s.next) {
		return errors.New("it could not be reached a moment ago")
	}
	var all []error
	for _, a := range s.addresses {
		conn, err := net.DialTimeout(a.network, a.address, syslogTimeout)
		if err == nil {
			s.conn = conn
			return nil
		}
		all = append(all, err)
	}
	s.next = time.Now().Add(syslogTimeout)
	// The first address is the usual one.
	return all[0]
}

// Close implements io.Closer.
func (s *syslog) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}
