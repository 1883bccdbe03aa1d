//go:build !linux

package natstest

import (
	"net"
	"testing"
)

// FreePort returns a port of 127.0.0.1 on which no process listens at this moment. Another program
// may take it before the test does.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
