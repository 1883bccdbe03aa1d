package natstest_test

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nats-account-server/internal/natstest"
)

// TestAFreePortStaysFree shows that a port is there for a server that stops and starts again, and that
// the kernel gives it to no connection meanwhile.
func TestAFreePortStaysFree(t *testing.T) {
	t.Parallel()
	port := natstest.FreePort(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var restricted error
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { // the kernel may choose from one port only
			restricted = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, port|port<<16)
		})
	}}
	for range 2 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if c, err := dialer.Dial("tcp", other.Addr().String()); restricted != nil {
			t.Skip("this kernel can't restrict the ports of a connection: ", restricted)
		} else if err == nil {
			c.Close()
			t.Errorf("a connection got the port %d", port)
		}
	}
}
