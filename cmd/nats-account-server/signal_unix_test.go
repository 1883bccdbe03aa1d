//go:build unix

package main_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

func TestASignalFindsItsProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "nas.pid")
	file := conf(t, dir, "pid_file: nas.pid\nlogging { audit: a.log }\n"+anyPort)
	p := start(t, dir, nil, "-c", file)
	p.url()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	if got, err := os.ReadFile(path); err != nil || string(got) != pid {
		t.Errorf("%q, %v", got, err)
	}
	for _, args := range [][]string{
		{"--signal", "reload=" + pid},
		{"-sl", "reload=nas.pid"},
		{"-c", file, "--signal=reload"},
		{"-P", "nas.pid", "--signal", "reload"},
	} {
		runs(t, binary, dir, 0, "", args...)
		p.wait("configuration reloaded")
	}
	runs(t, binary, dir, 0, "", "-c", file, "--signal", "reopen")
	p.wait("audit file reopened")
	// The file moves with a reload.
	conf(t, dir, "pid_file: other.pid\n"+anyPort)
	runs(t, binary, dir, 0, "", "--signal", "reload="+pid)
	p.wait("configuration reloaded")
	path = filepath.Join(dir, "other.pid")
	waitFor(t, path, pid)
	runs(t, binary, dir, 1, "error reading the pid file: open nas.pid: no such file", "--signal",
		"stop=nas.pid")
	runs(t, binary, dir, 0, "", "--signal", "stop=other.pid")
	p.wait("received sig-term, shutting down")
	if code := p.exited(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the pid file is still there: %v", err)
	}
	runs(t, binary, dir, 1, `"ldm" is no signal of this program: it must be reload, reopen or stop`,
		"--signal", "ldm")
}

func TestASignalWithoutAProcessIsForTheOnlyOneOfThisName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are found in /proc")
	}
	t.Parallel()
	dir := t.TempDir()
	// Other tests run the program at the same time.
	program := filepath.Join(dir, "nats-account-server-alone")
	if err := os.Symlink(binary, program); err != nil {
		t.Fatal(err)
	}
	runs(t, program, dir, 1, "no process of nats-account-server-alone runs", "--signal", "stop")
	first := startOther(t, program, dir, nil, "-a", "127.0.0.1", "-p", "-1")
	first.url()
	second := startOther(t, program, dir, nil, "--addr", "127.0.0.1", "--port", "0")
	second.url()
	runs(t, program, dir, 1, "2 processes of nats-account-server-alone run: ", "--signal", "stop")
	first.term()
	runs(t, program, dir, 0, "", "--signal", "stop")
	second.wait("received sig-term, shutting down")
	if code := second.exited(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
