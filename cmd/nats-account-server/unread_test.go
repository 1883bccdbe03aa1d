//go:build unix

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
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
	u := &unread{testEnv: newEnv(t, "", "logging { trace: true, debug: true }\n"+extra), t: t, output: read,
		url: fmt.Sprintf("http://127.0.0.1:%d", port), client: http.Client{Timeout: 5 * time.Second}}
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
	if _, err = io.Copy(io.Discard, response.Body); err == nil && response.StatusCode != http.StatusOK {
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
	for n := range 1000 {
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
