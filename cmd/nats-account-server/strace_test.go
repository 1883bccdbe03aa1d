package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nats-account-server/internal/jwttest"
)

// syscalls are those that change what is on the disk, make it durable, or answer a client.
const syscalls = "openat,write,pwrite64,fsync,fdatasync,syncfs,ftruncate,rename,renameat,renameat2," +
	"unlink,unlinkat,mkdir,mkdirat,rmdir"

// sysCall is a system call that succeeded. Others may have run between its start and its end.
type sysCall struct {
	name       string
	path, to   string // to of a rename
	data       []byte // of a write
	at         int64  // offset or size, -1 where the file's own offset counts
	flags      string
	start, end int // line numbers of the trace
}

// traced makes the program run under strace; a trace is what all its runs in one test did.
type trace struct {
	t     testing.TB
	dir   string
	files []string
}

// newTrace skips the test where nothing can be traced.
func newTrace(t testing.TB) *trace {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		jwttest.Lacks(t, "strace", err)
	}
	if out, err := exec.Command(path, "-f", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		jwttest.Lacks(t, "strace", fmt.Sprintf("%v %s", err, out))
	}
	return &trace{t: t, dir: t.TempDir()}
}

// start runs the program in dir; what it does is added to the trace.
func (tr *trace) start(dir string, args ...string) *process {
	tr.t.Helper()
	return tr.startOther(binary, dir, nil, args...)
}

// startOther is start for another program.
func (tr *trace) startOther(program, dir string, env []string, args ...string) *process {
	tr.t.Helper()
	file := filepath.Join(tr.dir, fmt.Sprint("run", len(tr.files)))
	tr.files = append(tr.files, file)
	flags := []string{"-f", "-y", "-xx", "-s", "1000000", "-e", "signal=none", "-e",
		"trace=" + syscalls, "-o", file, program}
	return startOther(tr.t, "strace", dir, env, append(flags, args...)...)
}

// calls reads what all runs have done.
func (tr *trace) calls() (all []sysCall) {
	tr.t.Helper()
	line := 0
	for _, name := range tr.files {
		f, err := os.Open(name)
		if err != nil {
			tr.t.Fatal(err)
		}
		defer f.Close()
		begun := map[string]pending{}
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 16<<20)
		for ; scan.Scan(); line++ {
			if c, ok := parseLine(scan.Text(), line, begun); ok {
				all = append(all, c)
			}
		}
		if err := scan.Err(); err != nil {
			tr.t.Fatal(err)
		}
		// A kill came before the trace could say that the client has its answer.
		for _, p := range begun {
			if args, is := strings.CutPrefix(p.text, "write("); is {
				if c := parseArgs("write", args); c.answers() {
					c.start, c.end = p.start, line
					all = append(all, c)
				}
			}
		}
		line++
	}
	return all
}

// pending is a call that another thread has interrupted in the trace.
type pending struct {
	text  string
	start int
}

var (
	resumed = regexp.MustCompile(`^<\.\.\. \w+ resumed>`)
	whole   = regexp.MustCompile(`^(\w+)\((.*)\)\s+= (-?\d+|\?)`)
	fdArg   = regexp.MustCompile(`^\d+<([^>]*)>`)
	quoted  = regexp.MustCompile(`"([^"]*)"`)
)

// parseLine reads a line of a trace: "<pid> <call>", where a call may be in two parts.
func parseLine(text string, line int, begun map[string]pending) (sysCall, bool) {
	pid, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	start := line
	if head, is := strings.CutSuffix(rest, "<unfinished ...>"); is {
		begun[pid] = pending{head, line}
		return sysCall{}, false
	}
	if tail := resumed.FindString(rest); tail != "" {
		p := begun[pid]
		delete(begun, pid)
		rest, start = p.text+rest[len(tail):], p.start
	}
	m := whole.FindStringSubmatch(rest)
	if m == nil || strings.HasPrefix(m[3], "-") {
		return sysCall{}, false
	}
	c := parseArgs(m[1], m[2])
	c.start, c.end = start, line
	if m[3] == "?" { // the process was killed in the middle of it
		return c, c.answers()
	}
	if c.name == "write" || c.name == "pwrite64" {
		n, _ := strconv.Atoi(m[3])
		c.data = c.data[:n]
	}
	return c, true
}

func parseArgs(name, args string) sysCall {
	args = strings.TrimSpace(args) // of an interrupted call
	c := sysCall{name: name, at: -1}
	if fd := fdArg.FindStringSubmatch(args); fd != nil {
		c.path = string(unhex(fd[1]))
	}
	strs := quoted.FindAllStringSubmatch(args, -1)
	last := args[strings.LastIndexByte(args, ' ')+1:]
	switch name {
	case "write":
		c.data = unhex(strs[0][1])
	case "pwrite64":
		c.data = unhex(strs[0][1])
		c.at = number(last)
	case "ftruncate":
		c.at = number(last)
	case "fsync", "fdatasync", "syncfs":
	default:
		c.path = string(unhex(strs[0][1]))
		c.flags = quoted.ReplaceAllString(args, "")
		if len(strs) > 1 {
			c.to = string(unhex(strs[1][1]))
		}
	}
	return c
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err) // the trace is not what this reads
	}
	return n
}

// unhex decodes "\x41\x42".
func unhex(s string) []byte {
	b := make([]byte, 0, len(s)/4)
	for i := 0; i+3 < len(s); i += 4 {
		n, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
		b = append(b, byte(n))
	}
	return b
}

// answers says that the call tells a client that its push is stored.
func (c sysCall) answers() bool {
	stored := bytes.HasPrefix(c.data, []byte("HTTP/1.1 200")) && bytes.Contains(c.data,
		[]byte("stored; "))
	return c.name == "write" && (stored || string(c.data) == stepDone)
}
