package natstest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/natstest"
)

// TestWhatWasSentBeforeTheConnectionBrokeArrivesAfterTheStall, and nothing of it arrives before.
func TestWhatWasSentBeforeTheConnectionBrokeArrivesAfterTheStall(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	relay := natstest.NewRelay(t, 0, server.Addr().String())
	client, err := net.Dial("tcp", strings.TrimPrefix(relay.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	there, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	relay.Stall(natstest.ToServer)
	write(t, client, "stalled")
	write(t, there, "not stalled")
	b := make([]byte, len("not stalled"))
	if _, err := io.ReadFull(client, b); err != nil || string(b) != "not stalled" {
		t.Errorf("the client has got %q, %v", b, err)
	}
	write(t, client, ", and more")
	client.Close()
	natstest.Eventually(t, "all of it is held back", func() bool {
		return relay.Holds(natstest.ToServer, "stalled, and more")
	})
	_ = there.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := there.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server has got %q before, %v", b[:n], err)
	}
	_ = there.SetReadDeadline(time.Time{})
	relay.Release(natstest.ToServer)
	if got, err := io.ReadAll(there); err != nil || string(got) != "stalled, and more" {
		t.Errorf("the server has got %q, %v", got, err)
	}
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}
