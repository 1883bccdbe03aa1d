package process

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifyTimeout bounds a message to systemd, which takes them at once if it lives.
const notifyTimeout = time.Second

// Systemd tells systemd what the program does, by its protocol sd_notify. A nil Systemd tells
// nothing: then the program was not started by systemd, or the unit has no Type=notify. See
// sd_notify(3): each message is a datagram of lines KEY=value. Its methods may be called from any
// goroutine, as each message has a socket of its own.
type Systemd struct {
	address  *net.UnixAddr
	interval time.Duration // of Alive; 0 means that systemd does not watch
}

// NewSystemd returns the Systemd of the environment that a unit gives. It is nil if there is none.
// NOTIFY_SOCKET has the path of the socket. WATCHDOG_USEC is the time of WatchdogSec= in
// microseconds; it counts for the process WATCHDOG_PID only, since children inherit the
// environment.
func NewSystemd() *Systemd {
	path := os.Getenv("NOTIFY_SOCKET")
	// A socket whose name begins with @ has no file. Go writes it in the same way.
	if path == "" || (path[0] != '/' && path[0] != '@') {
		return nil
	}
	s := &Systemd{address: &net.UnixAddr{Name: path, Net: "unixgram"}}
	pid := os.Getenv("WATCHDOG_PID")
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		// systemd recommends half of the time after which it ends the program.
		s.interval = time.Duration(usec) * time.Microsecond / 2
	}
	return s
}

// WatchdogInterval returns how often Alive must be called; 0 means that it need not be.
func (s *Systemd) WatchdogInterval() time.Duration {
	if s == nil {
		return 0
	}
	return s.interval
}

// Ready says that the program serves, also after a reload. status is shown by systemctl status. A
// unit of Type=notify is started only with this message. status has one line in the protocol.
func (s *Systemd) Ready(status string) error {
	return s.send("READY=1\nSTATUS=" + strings.ReplaceAll(status, "\n", "; "))
}

// Reloading says that a reload begins. Ready must follow. Since version 253 a unit of
// Type=notify-reload needs both messages.
func (s *Systemd) Reloading() error {
	// systemd tells by the time whether the message is about its own SIGHUP.
	return s.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic().Microseconds()))
}

// Stopping says that the program ends. systemd then waits for TimeoutStopSec=.
func (s *Systemd) Stopping() error { return s.send("STOPPING=1") }

// Alive says that the program lives. If it is not called for WatchdogSec=, systemd ends the program
// and starts it again.
func (s *Systemd) Alive() error { return s.send("WATCHDOG=1") }

// send sends a message. It takes notifyTimeout at most. An error changes nothing for the program:
// the caller logs it.
func (s *Systemd) send(message string) error {
	if s == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, s.address)
	if err != nil {
		return fmt.Errorf("systemd can't be told: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyTimeout))
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("systemd can't be told: %w", err)
	}
	return nil
}
