// Package process joins the program to the system that runs it: its pid file, signals to a process
// that runs already, systemd, and the limits that a container or systemd sets.
package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// WritePID writes the id of this process to a file, without a line end, as nats-server does. remove
// removes the file, unless another process has written it in the meantime. An empty path is no
// file.
func WritePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(path, []byte(pid), 0o644); err != nil {
		return nil, fmt.Errorf("error writing the pid file: %w", err)
	}
	return func() {
		if content, err := os.ReadFile(path); err == nil && string(content) == pid {
			_ = os.Remove(path)
		}
	}, nil
}

// readPID reads a process id from a file.
func readPID(path string) (int, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("error reading the pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("the pid file %s has no process id in it", path)
	}
	return pid, nil
}
