package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
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

// trace is what all runs of the program under strace in one test did.
type trace struct {
	t    testing.TB
	dir  string // of the files of strace
	runs []tracedRun
}

// tracedRun is one process.
type tracedRun struct {
	file string // of strace
	dir  string // in which it ran
	left leftBehind
}

// leftBehind is the content of each file that a run left in its directory, nil of a directory.
type leftBehind map[string][]byte

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
	tr.lookAtLeft()
	file := filepath.Join(tr.dir, fmt.Sprint("run", len(tr.runs)))
	tr.runs = append(tr.runs, tracedRun{file: file, dir: dir})
	flags := []string{"-f", "-y", "-xx", "-s", "1000000", "-e", "signal=none", "-e",
		"trace=" + syscalls, "-o", file, program}
	return startOther(tr.t, "strace", dir, env, append(flags, args...)...)
}

// lookAtLeft records what the last run left behind, once it has ended.
func (tr *trace) lookAtLeft() {
	tr.t.Helper()
	if len(tr.runs) == 0 {
		return
	}
	last := &tr.runs[len(tr.runs)-1]
	last.left = leftBehind{}
	err := filepath.WalkDir(last.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var content []byte
		if entry.Type().IsRegular() {
			content, err = os.ReadFile(path)
		}
		last.left[path] = content
		return err
	})
	if err != nil {
		tr.t.Fatal(err)
	}
}

// calls reads what all runs have done.
func (tr *trace) calls() (all []sysCall) {
	tr.t.Helper()
	tr.lookAtLeft()
	line := 0
	for _, run := range tr.runs {
		f, err := os.Open(run.file)
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
		for _, p := range begun {
			if c, ok := p.killed(line, run.left); ok {
				all = append(all, c)
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

// killed returns a call whose end is not in the trace, since a kill came first. It reports whether
// the call was carried out nevertheless, which the next run sees and the trace does not: a client
// has its answer, or a file is as the call makes it.
func (p pending) killed(line int, left leftBehind) (sysCall, bool) {
	name, args, found := strings.Cut(p.text, "(")
	if !found {
		return sysCall{}, false
	}
	c := parseArgs(name, args)
	c.start, c.end = p.start, line
	return c, c.answers() || left.shows(c)
}

// shows reports whether a call of the last moment can be seen in what is left.
func (left leftBehind) shows(c sysCall) bool {
	content, isThere := left[c.path]
	switch c.name {
	case "openat", "mkdir", "mkdirat":
		return isThere
	case "unlink", "unlinkat", "rmdir":
		return !isThere
	case "rename", "renameat", "renameat2":
		_, isMoved := left[c.to]
		return isMoved && !isThere
	case "write":
		return bytes.HasSuffix(content, c.data)
	case "pwrite64":
		return int64(len(content)) >= c.at && bytes.HasPrefix(content[c.at:], c.data)
	case "ftruncate":
		return isThere && int64(len(content)) == c.at
	default: // a sync leaves nothing to be seen, and may not have been carried out
		return false
	}
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
		begun[pid] = pending{m[1] + "(" + m[2], start}
		return sysCall{}, false
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
		dir := c.path // both names are relative to it; "" if they are not
		c.path = nameIn(dir, strs[0][1])
		c.flags = quoted.ReplaceAllString(args, "")
		if len(strs) > 1 {
			c.to = nameIn(dir, strs[1][1])
		}
	}
	return c
}

// nameIn returns the path of a name that a call has, which may be relative to an open directory.
func nameIn(dir, hexed string) string {
	name := string(unhex(hexed))
	if dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
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

// TestWhatAKilledCallDidIsInTheTrace: the next process sees what it did.
func TestWhatAKilledCallDidIsInTheTrace(t *testing.T) {
	t.Parallel()
	left := leftBehind{"/s": nil, "/s/dir": nil, "/s/file": []byte("abcd"), "/s/moved": nil}
	for call, wanted := range map[string]bool{
		`mkdirat(AT_FDCWD, "/s/dir", 0700)`:                   true,
		`mkdirat(AT_FDCWD, "/s/other", 0700)`:                 false,
		`openat(AT_FDCWD, "/s/file", O_WRONLY|O_CREAT)`:       true,
		`unlinkat(AT_FDCWD, "/s/file", 0)`:                    false,
		`unlinkat(AT_FDCWD, "/s/other", 0)`:                   true,
		`renameat(AT_FDCWD, "/s/temp", AT_FDCWD, "/s/moved")`: true,
		`renameat(AT_FDCWD, "/s/dir", AT_FDCWD, "/s/moved")`:  false,
		`renameat(3</s>, "temp", 3</s>, "moved")`:             true,
		`renameat(3</s>, "dir", 3</s>, "moved")`:              false,
		`unlinkat(3</s>, "file", 0)`:                          false,
		`unlinkat(3</s>, "other", 0)`:                         true,
		`pwrite64(3</s/file>, "cd", 2, 2)`:                    true,
		`pwrite64(3</s/file>, "ef", 2, 4)`:                    false,
		`pwrite64(3</s/file>, "ef", 2, 9)`:                    false,
		`write(3</s/file>, "bcd", 3)`:                         true,
		`ftruncate(3</s/file>, 4)`:                            true,
		`ftruncate(3</s/file>, 0)`:                            false,
		`fsync(3</s/file>)`:                                   false,
	} {
		for _, end := range []string{" = ?", " <unfinished ...>"} {
			begun := map[string]pending{}
			text := "7 " + hexed(call) + end
			if end != " = ?" {
				text = "7 " + strings.TrimSuffix(hexed(call), ")") + end
			}
			if _, ok := parseLine(text, 1, begun); ok {
				t.Errorf("%s has an end", text)
			}
			p := begun["7"]
			if _, ok := p.killed(2, left); ok != wanted {
				t.Errorf("%s%s: carried out: %v", call, end, ok)
			}
		}
	}
}

// hexed writes paths and data as strace -xx does.
func hexed(call string) string {
	return regexp.MustCompile(`"[^"]*"|<[^>]*>`).ReplaceAllStringFunc(call, func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s[1 : len(s)-1]) {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
		return s[:1] + b.String() + s[len(s)-1:]
	})
}
