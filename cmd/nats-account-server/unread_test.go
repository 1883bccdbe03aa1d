//go:build unix

package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// unread is the program with its output in a pipe that no process reads.
type unread struct {
	*process
	*testEnv
	t      *testing.T
	output *os.File // the end of the pipe to read from
	url    string
	client http.Client
}

func startUnread(t *testing.T, extra string) *unread {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	defer write.Close()
	port := freePort(t)
	u := &unread{testEnv: newEnv(t, "",
		"logging { trace: true, debug: true }\n"+extra), t: t, output: read,
		url:    fmt.Sprintf("http://127.0.0.1:%d", port),
		client: http.Client{Timeout: 5 * time.Second}}
	c := exec.Command(binary, "-c", u.conf, "-hp", fmt.Sprintf("127.0.0.1:%d", port))
	c.Dir, c.Stderr, c.Stdout = u.dir, write, write
	u.process = &process{t: t, cmd: c, log: &logBuffer{}, end: make(chan struct{})}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.Wait(); close(u.end) }()
	t.Cleanup(u.kill)
	natstest.Eventually(t, "the program serves", func() bool { return u.healthy() == nil })
	return u
}

// healthy returns why the program is not.
func (u *unread) healthy() error {
	response, err := u.client.Get(u.url + "/healthz?" + strings.Repeat("x", 100))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(io.Discard, response.Body); err == nil &&
		response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return err
}

// push pushes a new account.
func (u *unread) push() int {
	u.t.Helper()
	a := jwttest.NewAccount(u.t)
	response, err := u.client.Post(u.url+"/jwt/v1/accounts/"+a.ID, "application/jwt",
		strings.NewReader(string(u.op.Account(u.t, a))))
	if err != nil {
		u.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// fill causes more lines than a pipe holds.
func (u *unread) fill() {
	u.t.Helper()
	for n := range 2000 {
		if err := u.healthy(); err != nil {
			u.t.Fatalf("/healthz, after %d others: %v", n, err)
		}
	}
}

func TestAnUnreadLogStopsNothing(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]bool{"a full pipe": false, "a closed pipe": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := startUnread(t, "")
			if closed {
				u.output.Close()
			}
			u.fill()
			if status := u.push(); status != http.StatusOK {
				t.Errorf("a push: %d", status)
			}
			began := time.Now()
			u.signal(syscall.SIGTERM)
			if code := u.exited(); code != 0 || time.Since(began) > 10*time.Second {
				t.Errorf("exit code %d after %s", code, time.Since(began))
			}
		})
	}
}

func TestARequiredAuditLineThatIsNotReadFailsThePush(t *testing.T) {
	t.Parallel()
	u := startUnread(t, "logging { audit_required: true }, http { writetimeout: 1000 }")
	u.fill()
	a := jwttest.NewAccount(t)
	token := u.op.Account(t, a)
	push := func() (*http.Response, string) {
		t.Helper()
		response, err := u.client.Post(u.url+"/jwt/v1/accounts/"+a.ID, "application/jwt",
			strings.NewReader(string(token)))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response, string(body)
	}
	response, body := push()
	if response.StatusCode != http.StatusServiceUnavailable ||
		response.Header.Get("Retry-After") == "" ||
		!strings.Contains(body, "this is done, but it is not in the audit") {
		t.Errorf("%s %q", response.Status, body)
	}
	if status, _ := get(t, u.url+"/jwt/v1/accounts/"+a.ID); status != http.StatusOK {
		t.Errorf("the account: %d", status)
	}
	go func() { _, _ = io.Copy(u.log, u.output) }() // ends with the process
	u.wait(`audit {.*"accepted"`)
	if response, body := push(); response.StatusCode != http.StatusOK {
		t.Errorf("%s %q", response.Status, body)
	}
	u.wait(`audit {.*"unchanged"`)
	u.term()
	u.wait("http stopped") // the last line is written
}

func TestANamedPipeForTheAuditNeedsAReader(t *testing.T) {
	t.Parallel()
	s := newEnv(t, "", "logging { audit: pipe }")
	path := filepath.Join(s.dir, "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := start(t, s.dir, nil, "-c", s.conf); p.exited() != 1 || len(p.lines("ERR")) != 1 {
		t.Errorf("without a reader: %s", p.log)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // does not wait for the other end
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	p, url := s.start(t)
	a := jwttest.NewAccount(t)
	mustPush(t, url, a.ID, s.op.Account(t, a))
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil || !strings.Contains(line, a.ID) {
		t.Errorf("read from the pipe: %q, %v", line, err)
	}
	p.term()
}
