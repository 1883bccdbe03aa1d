package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// signals are the commands of Signal. stop is an orderly end here; nats-server kills the process.
// term and quit are names of nats-server that scripts use. The others have the same names there.
var signals = map[string]syscall.Signal{
	"reload": syscall.SIGHUP,
	"reopen": reopenSignal,
	"stop":   syscall.SIGTERM,
	"term":   syscall.SIGTERM,
	"quit":   syscall.SIGINT,
}

// Signal sends a signal to a process that runs. The command is like reload, reload=123 or
// reload=/run/server.pid. Without a process id and a file, it is the process of pidFile. If that is
// empty too, it is the only other process whose program has the name of this one. It returns when
// the signal is sent: what the process does with it is in its log. The error is for people and says
// what to give instead.
func Signal(command, pidFile string) error {
	name, to, _ := strings.Cut(command, "=")
	signal, known := signals[name]
	switch {
	case !known:
		return fmt.Errorf("%q is no signal of this program: it must be reload, reopen or stop",
			name)
	case runtime.GOOS == "windows":
		return errors.New("there are no signals on Windows: stop or restart the service, as with " +
			"\"sc stop nats-account-server\"; a new configuration needs a restart")
	}
	pid, err := find(to, pidFile)
	if err != nil {
		return err
	}
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Signal(signal)
	}
	if errors.Is(err, os.ErrProcessDone) { // its text would be about a process that has run
		err = errors.New("there is no such process")
	}
	if err != nil {
		return fmt.Errorf("the signal %s for process %d was not sent: %w", name, pid, err)
	}
	return nil
}

// find returns the process that gets a signal. to is what follows the "=": a process id, or the
// path of a pid file.
func find(to, pidFile string) (int, error) {
	if to == "" {
		to = pidFile
	}
	if to == "" {
		return findByName()
	}
	if pid, err := strconv.Atoi(to); err == nil {
		if pid <= 0 {
			return 0, fmt.Errorf("%d is no process id", pid)
		}
		return pid, nil
	}
	pid, err := readPID(to)
	if err != nil {
		return 0, err
	}
	// After a crash, another program may have got the id in the file.
	if name := nameOf(pid); name != "" && name != ownName() {
		return 0, fmt.Errorf("process %d of the pid file %s is %s, not %s: the file is of a "+
			"process that has ended", pid, to, name, ownName())
	}
	return pid, nil
}

// findByName returns the only other process whose program has the name of this one. It reads /proc,
// which Linux has. Processes of other users are found too; the signal to them fails.
func findByName() (int, error) {
	entries, err := os.ReadDir("/proc")
	isSelf := func(e os.DirEntry) bool { return e.Name() == "self" }
	if err != nil || !slices.ContainsFunc(entries, isSelf) {
		return 0, errors.New("this system does not show its processes in /proc: give the " +
			"process id or the pid file, as in --signal reload=/run/server.pid")
	}
	var found []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && nameOf(pid) == ownName() {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("no process of %s runs", ownName())
	case 1:
		return strconv.Atoi(found[0])
	}
	return 0, fmt.Errorf("%d processes of %s run: %s: say which one, as in --signal reload=%s",
		len(found), ownName(), strings.Join(found, ", "), found[0])
}

// ownName is the name of this program.
func ownName() string { return filepath.Base(os.Args[0]) }

// nameOf returns the name of the program of a process, "" if it is not known.
func nameOf(pid int) string {
	// The name in /proc/…/comm has 15 characters at most.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(line) == 0 {
		return ""
	}
	program, _, _ := bytes.Cut(line, []byte{0})
	return filepath.Base(string(program))
}
