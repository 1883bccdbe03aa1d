// Package process joins the program to the system that runs it.
//
//	process.go  the pid file
//	signal.go   --signal: a signal to a process that runs already
//	systemd.go  what systemd is told: ready, reloading, stopping, alive
//	memory.go   the memory limit that a container or systemd sets
//
// It reads no configuration and logs nothing: errors and texts are returned.
package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// WritePID writes the id of this process to a file, without a line end, as nats-server does. remove
// removes the file, unless another process has written it in the meantime. An empty path is no
// file. The file is replaced if it is there: after a kill -9 the old one is left. Whether a server
// uses the same store is decided by the store's lock, not by this file. The error names the path.
func WritePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(path, []byte(pid), 0o644); err != nil {
		return nil, fmt.Errorf("error writing the pid file: %w", err)
	}
	return func() {
		// A server that was started with the same configuration may have written its own id.
		if content, err := os.ReadFile(path); err == nil && string(content) == pid {
			_ = os.Remove(path)
		}
	}, nil
}

// readPID reads a process id from a file. White space around the number does not matter. An id of 0
// or less would be a group of processes for kill(2), so it is an error.
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
