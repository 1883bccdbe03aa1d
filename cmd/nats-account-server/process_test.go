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

// next finds the first match behind the last one.
func (j *logBuffer) next(re *regexp.Regexp) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := re.FindSubmatchIndex(j.text[j.seen:])
	if at == nil {
		return nil
	}
	var groups []string
	for i := 0; i < len(at); i += 2 {
		groups = append(groups, string(j.text[j.seen+at[i]:j.seen+at[i+1]]))
	}
	j.seen += at[1]
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

// wait waits for a line of the log behind the one it waited for last, and returns its groups.
func (p *process) wait(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	searched := -1 // how much there was; to search it again would find nothing
	for deadline := time.Now().Add(30 * time.Second); ; {
		if size := p.log.size(); size != searched {
			searched = size
			if groups := p.log.next(re); groups != nil {
				return groups
			}
		}
		select {
		case <-p.end:
			if groups := p.log.next(re); groups != nil {
				return groups
			}
			p.t.Fatalf("it ended before it logged %q:\n%s", pattern, p.log)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it does not log %q:\n%s", pattern, p.log)
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

// url waits until the program serves and returns the URL it names.
func (p *process) url() string {
	p.t.Helper()
	groups := p.wait(`resolver: "?URL\((https?://)(?:USER:PASSWORD@)?(.*)/jwt/v1/accounts/\)`)
	return groups[1] + groups[2]
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
