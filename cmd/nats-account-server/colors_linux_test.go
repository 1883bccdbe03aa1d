package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/jwttest"
)

// TestColoursAreForTerminals starts the program with an operator that is not there, so that it
// writes an error and ends.
func TestColoursAreForTerminals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	always := jwttest.File(t, dir, "always.conf", []byte("logging { colors: true }"))
	never := jwttest.File(t, dir, "never.conf", []byte("logging { colors: false }"))
	for _, c := range []struct {
		terminal  bool
		conf, env string
		colours   bool
	}{
		{terminal: true, colours: true},
		{terminal: true, env: "NO_COLOR=1"},
		{terminal: true, env: "NO_COLOR=", colours: true},
		{terminal: true, env: "TERM=dumb"},
		{terminal: true, conf: never},
		{terminal: true, conf: always, env: "NO_COLOR=1", colours: true},
		{terminal: true, conf: always, env: "TERM=dumb", colours: true},
		{},
		{conf: never},
		{conf: always, colours: true},
	} {
		output := exec.Command(binary, "-operator", "/nope", "-c", c.conf)
		output.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm", c.env)
		read := inFile
		if c.terminal {
			read = inTerminal
		}
		log := read(t, output)
		plain := strings.Contains(log, "[ERR] ")
		coloured := strings.Contains(log, "[\x1b[31mERR\x1b[0m] ")
		if coloured != c.colours || plain == coloured {
			t.Errorf("%+v: %q", c, log)
		}
	}
}

// inFile returns what a command that fails writes on standard error, which is a file.
func inFile(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	path := jwttest.File(t, t.TempDir(), "log", nil)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c.Stderr = file
	if err := c.Run(); err == nil {
		t.Fatal("the command does not fail")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// inTerminal is inFile for a terminal.
func inTerminal(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = terminal
	err = c.Run()
	// What the program writes is less than the terminal keeps for its reader, also once it is
	// closed.
	_ = terminal.Close()
	if err == nil {
		t.Fatal("the command does not fail")
	}
	text, err := io.ReadAll(master) // one read may return the first lines only
	if !errors.Is(err, unix.EIO) {  // the end of a terminal
		t.Fatal(err)
	}
	return string(text)
}
