package natstest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Relay passes data between a client and a nats-server. It can close and freeze the connections.
type Relay struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	conns   map[net.Conn]bool
	down    bool
	trigger []byte        // for CutAfter; nil if there is none
	cut     chan struct{} // closed when the trigger was sent
	frozen  chan struct{} // closed by Thaw; nil if the relay is not frozen
}

// NewRelay returns a relay from a port, 0 for any, to a nats-server's URL. It runs until the test
// ends.
func NewRelay(t testing.TB, port int, url string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{
		listener: l,
		target:   strings.TrimPrefix(url, "nats://"),
		conns:    map[net.Conn]bool{},
		cut:      make(chan struct{}),
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.Down()
		running.Wait()
	})
	return r
}

// URL returns the URL for clients.
func (r *Relay) URL() string { return "nats://" + r.listener.Addr().String() }

// Down closes every connection, and closes new ones at once until Up is called.
func (r *Relay) Down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	r.thawLocked()
	for c := range r.conns {
		c.Close()
	}
}

// Up ends Down.
func (r *Relay) Up() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

// Point sets the URL of the nats-server for further connections.
func (r *Relay) Point(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = strings.TrimPrefix(url, "nats://")
}

// Freeze stops the data on every connection until Thaw is called. It closes no connection, so
// neither side notices.
func (r *Relay) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen == nil {
		r.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze. Data that was sent in the meantime arrives now.
func (r *Relay) Thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.thawLocked()
}

// thawLocked ends Freeze. r.mu must be held.
func (r *Relay) thawLocked() {
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

// writer writes to a connection. It waits while the relay is frozen.
type writer struct {
	r *Relay
	c net.Conn
}

func (w writer) Write(p []byte) (int, error) {
	w.r.mu.Lock()
	frozen := w.r.frozen
	w.r.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return w.c.Write(p)
}

// CutAfter calls Down when a client has sent text. The server gets the text, but the client gets no
// reply. The channel is closed then.
func (r *Relay) CutAfter(text string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trigger = []byte(text)
	return r.cut
}

// serve connects a client to the nats-server and returns when the connection has ended.
func (r *Relay) serve(client net.Conn) {
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil || !r.track(client, server) {
		client.Close()
		if err == nil {
			server.Close()
		}
		return
	}
	defer r.untrack(client, server)
	var both sync.WaitGroup
	both.Go(func() { r.upstream(server, client) })
	both.Go(func() {
		_, _ = io.Copy(writer{r, client}, server)
		client.Close()
		server.Close()
	})
	both.Wait()
}

// upstream copies what the client sends, and looks for the trigger.
func (r *Relay) upstream(server, client net.Conn) {
	defer client.Close()
	defer server.Close()
	var seen []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		seen = append(seen, buf[:n]...)
		if r.triggered(seen) {
			client.Close() // before the server can reply
			_, _ = server.Write(buf[:n])
			r.Down()
			close(r.cut)
			return
		}
		if len(seen) > 1<<20 {
			seen = seen[len(seen)-(64<<10):]
		}
		if _, err := (writer{r, server}).Write(buf[:n]); err != nil {
			return
		}
	}
}

// triggered reports whether the trigger was sent. It does so only once.
func (r *Relay) triggered(seen []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trigger == nil || !bytes.Contains(seen, r.trigger) {
		return false
	}
	r.trigger = nil
	return true
}

// track remembers connections, for Down. It returns false if the relay is down.
func (r *Relay) track(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return false
	}
	for _, c := range conns {
		r.conns[c] = true
	}
	return true
}

func (r *Relay) untrack(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
		c.Close()
	}
}
