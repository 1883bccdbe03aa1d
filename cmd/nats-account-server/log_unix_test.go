//go:build unix

package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// waitFor waits until a file matches, and returns its first group.
func waitFor(t *testing.T, path, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var groups []string
	natstest.Eventually(t, pattern+" in "+path, func() bool {
		text, _ := os.ReadFile(path)
		groups = re.FindStringSubmatch(string(text))
		return groups != nil
	})
	return groups[len(groups)-1]
}

func TestTheLogGoesToAFileThatIsReopenedAndLimited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "nas.log")
	p := start(t, dir, nil, "-hp", "127.0.0.1:0", "-l", "nas.log", "-DV")
	url := "http://" + waitFor(t, path, `URL\(http://(.*)/jwt/v1/accounts/\)`)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGUSR1)
	waitFor(t, path, `\[INF\] log file reopened\n`)
	get(t, url+"/jwt/v1/help")
	waitFor(t, path, `/jwt/v1/help\n`)
	p.term()
	waitFor(t, path, `closed JWT store\n`)
	if text := strings.TrimSpace(p.log.String()); text != "" {
		t.Errorf("on standard error: %s", text)
	}
	// A file with a limit begins anew, and old ones go.
	file := conf(t, dir, "http { host: \"127.0.0.1\", port: 0 }\n"+
		"logging { file: small.log, size_limit: 300, max_files: 3 }")
	p = start(t, dir, nil, "-c", file)
	waitFor(t, filepath.Join(dir, "small.log"), "resolver: ")
	p.term()
	files, err := filepath.Glob(filepath.Join(dir, "small.log*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%q, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 300 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// A file that can't be opened refuses the reload.
func TestAReloadChangesWhereTheLogGoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.log"), filepath.Join(dir, "two.log")
	file := conf(t, dir, anyPort+"logging { file: one.log }")
	p := start(t, dir, nil, "-c", file)
	waitFor(t, one, "resolver: ")
	conf(t, dir, anyPort+"logging { file: none/two.log, format: json }")
	p.signal(syscall.SIGHUP)
	waitFor(t, one, `the old one goes on: error opening the log file: open .*two.log: no such file`)
	conf(t, dir, anyPort+"logging { file: two.log, format: json }")
	p.signal(syscall.SIGHUP)
	waitFor(t, two, `(?m)^{"time":.*"msg":"configuration reloaded"}$`)
	conf(t, dir, anyPort)
	p.signal(syscall.SIGHUP)
	p.wait(`\[INF\] configuration reloaded`) // on standard error
	p.term()
	if text, err := os.ReadFile(two); err != nil || strings.Contains(string(text), "closed JWT store") {
		t.Errorf("%s, %v", text, err)
	}
}

// systemd and a shell show standard error only.
func TestAFailedStartIsOnStandardErrorToo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	p := start(t, dir, nil, "-hp", taken.Addr().String(), "-l", "nas.log", "-P", "nas.pid")
	p.wait("nats-account-server: error creating listener: .* in use\n")
	if code := p.exited(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	waitFor(t, filepath.Join(dir, "nas.log"), `\[ERR\] error creating listener: .* in use\n`)
	p = start(t, dir, nil, "-hp", "127.0.0.1:0", "-l", "none/nas.log")
	p.wait("error opening the log file: open .*none/nas.log: no such file or directory\n")
	if code := p.exited(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	// What is wrong is found by -t too, and -t makes no file.
	p = start(t, dir, nil, "-t", "-l", "none/nas.log", "-P", "none/nas.pid")
	p.wait("error opening the log file: open .*none/nas.log: no such file or directory\n")
	p.wait("error opening the pid file: open .*none/nas.pid: no such file or directory\n")
	p.exited()
}

// A whole life, line by line.
func TestEveryLineIsJSONIfThatIsTheFormat(t *testing.T) {
	t.Parallel()
	nats := fmt.Sprintf("nats://127.0.0.1:%d", freePort(t))
	s := newEnv(t, nats, "logging { format: json, pid: true }")
	p := start(t, s.dir, nil, "-c", filepath.Join(s.dir, "server.conf"), "-DV", "-dump")
	url := "http://" + p.wait(`URL\(http://(.*)/jwt/v1/accounts/\)`)[1]
	a := jwttest.NewAccount(t)
	mustPush(t, url, a.ID, s.op.Account(t, a))
	get(t, url+"/jwt/v1/accounts/%22%0ax")
	p.signal(syscall.SIGHUP)
	p.wait("configuration reloaded")
	p.term()
	allowed := []string{"time", "level", "msg", "pid", "audit", "configuration"}
	audited := false
	for line := range strings.Lines(p.log.String()) {
		if line == "\n" {
			continue // this one is on standard output, as the original has it
		}
		var l struct {
			Time       time.Time
			Level, Msg string
			PID        int
			Audit      struct{ Account string }
		}
		var members map[string]any
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.PID != p.cmd.Process.Pid ||
			time.Since(l.Time).Abs() > time.Minute ||
			!slices.Contains([]string{"ERROR", "WARN", "INFO", "DEBUG", "TRACE"}, l.Level) {
			t.Errorf("%q: %v", line, err)
		}
		for name := range members {
			if !slices.Contains(allowed, name) {
				t.Errorf("the member %s is not documented: %s", name, line)
			}
		}
		audited = audited || l.Msg == "audit" && l.Audit.Account == a.ID
	}
	if !audited || !strings.Contains(p.log.String(), `"configuration":{"Logging":{`) {
		t.Errorf("the audit or the configuration is not there:\n%s", p.log)
	}
}

func TestTheLogGoesToSyslog(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "nas") // the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, err := net.ListenPacket("unixgram", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	p := start(t, dir, nil, "-hp", "127.0.0.1:0", "-r", "unix://"+filepath.Join(dir, "s"))
	var all strings.Builder
	for !strings.Contains(all.String(), "resolver: ") {
		packet := make([]byte, 4096)
		_ = socket.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, _, err := socket.ReadFrom(packet)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(packet[:n])
	}
	want := fmt.Sprintf(`^<29>[-\d]+T[:\d]+\S+ \S+ nats-account-server\[%d\]: `+
		"starting NATS Account server, version ", p.cmd.Process.Pid)
	if !regexp.MustCompile(want).MatchString(all.String()) {
		t.Errorf("%q", all.String())
	}
	// Without syslog, the lines are on standard error.
	_ = socket.Close()
	p.signal(syscall.SIGTERM)
	p.exited()
	for _, want := range []string{"syslog can't be written, its lines are here until it can: ",
		"closed JWT store"} {
		wantSaid(t, p.log.String(), want)
	}
}
