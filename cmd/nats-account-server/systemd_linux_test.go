package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/natstest"
)

// systemd is the side of a service manager: what the program tells it.
type systemd struct {
	t      *testing.T
	socket net.PacketConn
	env    []string
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	dir, err := os.MkdirTemp("", "nas") // the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	socket, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return &systemd{t, socket, []string{"NOTIFY_SOCKET=" + path}}
}

// next returns the next message, "" if there is none in time.
func (s *systemd) next(limit time.Duration) string {
	message := make([]byte, 4096)
	_ = s.socket.SetReadDeadline(time.Now().Add(limit))
	n, _, _ := s.socket.ReadFrom(message)
	return string(message[:n])
}

// want waits for a message.
func (s *systemd) want(pattern string) []string {
	s.t.Helper()
	message := s.next(30 * time.Second)
	groups := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(message)
	if groups == nil {
		s.t.Fatalf("%q is told, want %s", message, pattern)
	}
	return groups
}

func TestSystemdIsToldWhatHappens(t *testing.T) {
	t.Parallel()
	s, dir := newSystemd(t), t.TempDir()
	file := conf(t, dir, anyPort)
	p := start(t, dir, s.env, "-c", file)
	s.want("READY=1\nSTATUS=serving account JWTs")
	url := p.url()
	get(t, url+"/healthz") // it is ready
	for _, c := range []struct{ conf, status string }{
		{anyPort, "serving account JWTs"},
		{anyPort + "operator: /nope", "the new configuration is refused, the old one goes on: .*nope.*"},
	} {
		conf(t, dir, "%s", c.conf)
		before := monotonic(t)
		p.signal(syscall.SIGHUP)
		var at int64
		_, _ = fmt.Sscan(s.want(`RELOADING=1\nMONOTONIC_USEC=(\d+)`)[1], &at)
		// systemd overlooks a message from before its signal.
		if at < before || at > monotonic(t) {
			t.Errorf("the time is %d, which is not after %d", at, before)
		}
		s.want("READY=1\nSTATUS=" + c.status)
	}
	p.signal(syscall.SIGTERM)
	s.want("STOPPING=1")
	if code := p.exited(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if more := s.next(10 * time.Millisecond); more != "" {
		t.Errorf("%q without WATCHDOG_USEC", more)
	}
}

// systemd 253 and later sends SIGHUP itself and runs ExecReload, which sends another one.
func TestTwoHangupsAtOnceAreOneReload(t *testing.T) {
	t.Parallel()
	s, dir := newSystemd(t), t.TempDir()
	p := start(t, dir, s.env, "-c", conf(t, dir, anyPort))
	s.want("READY=1\nSTATUS=.*")
	for range 2 {
		// On a busy machine the second one may come too late, but not each time.
		natstest.Eventually(t, "they are one reload", func() bool {
			p.signal(syscall.SIGHUP)
			time.Sleep(10 * time.Millisecond) // kill is another process
			p.signal(syscall.SIGHUP)
			s.want(`RELOADING=1\nMONOTONIC_USEC=\d+`)
			s.want("READY=1\nSTATUS=.*")
			p.wait("configuration reloaded")
			isOne := true
			for s.next(300*time.Millisecond) != "" {
				isOne = false
			}
			return isOne
		})
	}
}

// monotonic returns the microseconds of the clock that systemd uses.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// A program that hangs must not say that it lives. A configuration file that is a pipe without a
// writer holds up a reload.
func TestTheWatchdogHearsOnlyOfAProgramThatLives(t *testing.T) {
	t.Parallel()
	s, dir := newSystemd(t), t.TempDir()
	file := conf(t, dir, anyPort)
	p := start(t, dir, append(s.env, "WATCHDOG_USEC=100000"), "-c", file)
	s.want("READY=1\nSTATUS=.*")
	for range 3 {
		s.want("WATCHDOG=1")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	for message := ""; !strings.HasPrefix(message, "RELOADING=1"); {
		if message = s.next(30 * time.Second); message == "" {
			t.Fatal("nothing is told")
		}
	}
	// It hangs when it has the pipe open: what it told before is of a program that lives.
	var pipe *os.File
	natstest.Eventually(t, "the program reads the pipe", func() bool {
		var err error
		pipe, err = os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err == nil
	})
	for s.next(10*time.Millisecond) != "" {
	}
	// One request may have been under way.
	late := 0
	for s.next(500*time.Millisecond) != "" {
		late++
	}
	if late > 1 {
		t.Errorf("%d messages while the program hangs", late)
	}
	_, _ = pipe.WriteString(anyPort)
	_ = pipe.Close()
	s.want("READY=1\nSTATUS=.*")
	s.want("WATCHDOG=1")
}

func TestTheWatchdogOfAnotherProcessIsNone(t *testing.T) {
	t.Parallel()
	s := newSystemd(t)
	env := append(s.env, "WATCHDOG_USEC=20000", "WATCHDOG_PID=1")
	start(t, t.TempDir(), env, "-hp", "127.0.0.1:0")
	s.want("READY=1\nSTATUS=.*")
	if more := s.next(100 * time.Millisecond); more != "" {
		t.Errorf("%q", more)
	}
}

// With TLS, HTTP answers the request by refusing it.
func TestTheWatchdogWorksWithTLS(t *testing.T) {
	t.Parallel()
	s, dir := newSystemd(t), t.TempDir()
	cert, key := certtest.New(t).Issue(t).Write(t, dir, "http")
	file := conf(t, dir, `http { host: "127.0.0.1", port: 0, tls { cert: %q, key: %q } }`, cert, key)
	start(t, dir, append(s.env, "WATCHDOG_USEC=100000"), "-c", file)
	s.want("READY=1\nSTATUS=.*")
	s.want("WATCHDOG=1")
}

func TestTheMemoryLimitOfAContainerIsRespected(t *testing.T) {
	t.Parallel()
	group := "/sys/fs/cgroup/memory"
	file := "memory.limit_in_bytes"
	if _, err := os.Stat(group); err != nil {
		group, file = "/sys/fs/cgroup", "memory.max"
	}
	group = filepath.Join(group, fmt.Sprint("nats-account-server-test-", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip("cgroups can't be made here: ", err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	if err := os.WriteFile(filepath.Join(group, file), []byte("536870912"), 0o600); err != nil {
		t.Skip("cgroups have no memory limit here: ", err)
	}
	within := func(env ...string) *process {
		c := exec.Command("sh", "-c", "echo $$ > "+group+"/cgroup.procs && exec "+binary+
			" -hp 127.0.0.1:0")
		c.Dir, c.Env = t.TempDir(), append(os.Environ(), env...)
		return launch(t, c)
	}
	p := within()
	p.wait("memory is limited to 512 MiB from outside: the soft limit is 460 MiB; GOMEMLIMIT comes " +
		"before it")
	p.url()
	p.term()
	p = within("GOMEMLIMIT=100MiB")
	p.url()
	p.term()
	if strings.Contains(p.log.String(), "memory is limited") {
		t.Errorf("GOMEMLIMIT is overwritten: %s", p.log)
	}
}

func TestALimitOfOpenFilesIsRaisedOrWarnedOf(t *testing.T) {
	t.Parallel()
	limited := func(ulimit string) *process {
		c := exec.Command("sh", "-c", "ulimit "+ulimit+" && exec "+binary+" -hp 127.0.0.1:0")
		c.Dir = t.TempDir()
		return launch(t, c)
	}
	p := limited("-n 1000")
	p.wait("at most 500 connections are served at once instead of 16384, because the process may not " +
		"open more files: raise its limit, with LimitNOFILE= in systemd or ulimit -n in a shell")
	p.url()
	// The soft limit alone is raised.
	p = limited("-S -n 1000")
	p.url()
	var hard syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &hard)
	if hard.Max > 17000 && strings.Contains(p.log.String(), "connections are served at once") {
		t.Errorf("a warning, though it could be raised: %s", p.log)
	}
}
