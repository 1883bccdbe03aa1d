package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/natstest"
)

// process is the running program.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	log *logBuffer
	end chan struct{} // closed when it has ended
}

// logBuffer is what the program has written, and how much of it has been looked at.
type logBuffer struct {
	mu   sync.Mutex
	text []byte
	seen int
}

func (j *logBuffer) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, p...)
	return len(p), nil
}

func (j *logBuffer) size() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.text)
}

func (j *logBuffer) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}

// next finds a match of each pattern behind the last ones, in any order, and returns the groups of the first.
func (j *logBuffer) next(all []*regexp.Regexp) (groups []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	text, end := j.text[j.seen:], 0
	for _, re := range all {
		at := re.FindSubmatchIndex(text)
		if at == nil {
			return nil
		}
		end = max(end, at[1])
	}
	j.seen += end
	for _, group := range all[0].FindSubmatch(text) {
		groups = append(groups, string(group))
	}
	return groups
}

// start runs the program in dir; the test's end kills what is left of it.
func start(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	return startOther(t, binary, dir, env, args...)
}

// startOther runs another program in the same way.
func startOther(t testing.TB, program, dir string, env []string, args ...string) *process {
	t.Helper()
	c := exec.Command(program, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	return launch(t, c)
}

// launch runs a command that is, or becomes, the program. Its standard output is in the log too.
func launch(t testing.TB, c *exec.Cmd) *process {
	t.Helper()
	log := &logBuffer{}
	return launchInto(t, c, log, log)
}

// launchInto keeps what it writes on standard output apart.
func launchInto(t testing.TB, c *exec.Cmd, log, out *logBuffer) *process {
	t.Helper()
	p := &process{t: t, cmd: c, log: log, end: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdout = log, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.end) }()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.end
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for lines of the log behind those it waited for last, and returns the groups of the first. What
// works at the same time has its lines in any order: those are waited for together.
func (p *process) wait(patterns ...string) []string {
	p.t.Helper()
	var all []*regexp.Regexp
	for _, pattern := range patterns {
		all = append(all, regexp.MustCompile(pattern))
	}
	searched := -1 // how much there was; to search it again would find nothing
	for deadline := time.Now().Add(30 * time.Second); ; {
		if size := p.log.size(); size != searched {
			searched = size
			if groups := p.log.next(all); groups != nil {
				return groups
			}
		}
		select {
		case <-p.end:
			if groups := p.log.next(all); groups != nil {
				return groups
			}
			p.t.Fatalf("it ended before it logged %q:\n%s", patterns, p.log)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it does not log %q:\n%s", patterns, p.log)
		}
	}
}

// exited waits for the end and returns the exit code; -1 if a signal killed it.
func (p *process) exited() int {
	p.t.Helper()
	select {
	case <-p.end:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("it does not end:\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
}

var resolverLine = regexp.MustCompile(
	`resolver: "?URL\((https?://)(?:USER:PASSWORD@)?(.*)/jwt/v1/accounts/\)`)

// url waits until the program serves and returns the URL it names. What is waited for next may come before
// that line: NATS is connected meanwhile.
func (p *process) url() (url string) {
	p.t.Helper()
	defer func() {
		if url == "" {
			p.t.Logf("it says:\n%s", p.log)
		}
	}()
	natstest.Eventually(p.t, "it says where it serves", func() bool {
		select {
		case <-p.end:
			p.t.Fatal("it ended")
		default:
		}
		groups := resolverLine.FindStringSubmatch(p.log.String())
		if groups != nil {
			url = groups[1] + groups[2]
		}
		return url != ""
	})
	return url
}

// runs runs the program to its end.
func runs(t *testing.T, program, dir string, code int, want string, args ...string) {
	t.Helper()
	p := startOther(t, program, dir, nil, args...)
	if got := p.exited(); got != code || !strings.Contains(p.log.String(), want) {
		t.Errorf("%q: exit code %d, %s; want %d, %s", args, got, p.log, code, want)
	}
}

// term stops the program as an init system does.
func (p *process) term() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exited(); code != 0 {
		p.t.Fatalf("exit code %d:\n%s", code, p.log)
	}
	if bytes.Contains([]byte(p.log.String()), []byte("DATA RACE")) {
		p.t.Fatalf("a data race:\n%s", p.log)
	}
}

// conf writes a configuration file.
func conf(t testing.TB, dir, format string, args ...any) string {
	t.Helper()
	path := filepath.Join(dir, "server.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var freePort = natstest.FreePort

// warnings are the warnings and errors in the log since the start.
func (p *process) warnings() (lines []string) {
	_, log, _ := strings.Cut(p.log.String(), "nats-account-server is running")
	return append(linesOf(log, "WRN"), linesOf(log, "ERR")...)
}

// lines are those of a level; a bare "ERR" may also stand in a key.
func (p *process) lines(level string) []string { return linesOf(p.log.String(), level) }

func linesOf(log, level string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "["+level+"]") {
			lines = append(lines, line)
		}
	}
	return lines
}

// wantOnce sees that each of these texts has a line, and that there is no other warning or error. A line
// may come later than the answer to the request that it is about.
func (p *process) wantOnce(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		natstest.Eventually(p.t, "it logs "+text, func() bool {
			return strings.Contains(p.log.String(), text)
		})
	}
	lines := p.warnings()
	for _, text := range texts {
		if n := strings.Count(strings.Join(lines, ""), text); n != 1 {
			p.t.Errorf("%q is logged %d times", text, n)
		}
	}
	if len(lines) != len(texts) {
		p.t.Errorf("%d warnings and errors, %d are expected: %.4000q",
			len(lines), len(texts), lines)
	}
}
