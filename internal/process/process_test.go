package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAPIDFileHasThisProcessAndIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.pid")
	remove, err := WritePID(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != fmt.Sprint(os.Getpid()) {
		t.Errorf("%q, %v", got, err)
	}
	remove()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error(err)
	}
	// What another process has written is not ours.
	if remove, err = WritePID(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	remove()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if _, err := WritePID(filepath.Join(path, "x")); err == nil ||
		!strings.HasPrefix(err.Error(), "error writing the pid file: open ") {
		t.Error(err)
	}
	if remove, err = WritePID(""); err != nil {
		t.Fatal(err)
	}
	remove()
}

func TestASignalThatCanNotBeSentSaysWhy(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("processes are not in /proc")
	}
	const unused = 1<<22 + 1 // no process has such an id
	for _, c := range []struct{ command, file, want string }{
		{"ldm", "", `"ldm" is no signal of this program: it must be reload, reopen or stop`},
		{"", "", `"" is no signal`},
		{"stop", "", "no process of process.test runs"},
		{"stop=", "", "no process of process.test runs"},
		{"stop=-1", "", "-1 is no process id"},
		{"reload=" + fmt.Sprint(unused), "",
			fmt.Sprintf("the signal reload for process %d was not sent: there is no such process", unused)},
		{"reload=/nope.pid", "", "error reading the pid file: open /nope.pid: no such file"},
		{"reload", "/nope.pid", "error reading the pid file: open /nope.pid: no such file"},
		{"reload", file("empty", ""), "empty has no process id in it"},
		{"reload=" + file("word", "x"), "", "word has no process id in it"},
		// The process with the id 1 is another program.
		{"stop", file("stale", "1\n"), "not process.test: the file is of a process that has ended"},
	} {
		if err := Signal(c.command, c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.command, c.file, err, c.want)
		}
	}
}

func TestTheMemoryLimitIsTheSmallestOfAllCgroups(t *testing.T) {
	const none = "9223372036854771712" // what version 1 has without a limit
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no Linux": {nil, 0},
		"version 2": {map[string]string{
			"proc/self/cgroup":             "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n",
			"sys/fs/cgroup/a/memory.max":   "1000000\n",
		}, 1000000},
		"version 2 in a container": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "2000000\n",
		}, 2000000},
		"the path of the host in a container": {map[string]string{
			"proc/self/cgroup":         "0::/../../kubepods/x\n",
			"sys/fs/cgroup/memory.max": "2000000\n",
		}, 2000000},
		"no limit": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "max\n",
		}, 0},
		"version 1": {map[string]string{
			"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/p/x\n0::/\n",
			"sys/fs/cgroup/memory/p/x/memory.limit_in_bytes": "3000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     none,
		}, 3000000},
		"version 1 without a limit": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": none,
		}, 0},
	} {
		root := fstest.MapFS{}
		for path, content := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(content)}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
