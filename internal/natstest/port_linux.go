package natstest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// FreePort returns a port of 127.0.0.1 on which no process listens. Until the test ends, a server can
// listen on it, stop, and listen again, and the kernel gives the port to no other program that asks for
// any port, neither to listen on nor to connect from.
//
// A socket that is bound and does not listen reserves the port. It stands in the way of no listener,
// since both allow the reuse of their address, as each listener of package net does.
func FreePort(t testing.TB) int {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return address.(*unix.SockaddrInet4).Port
}
