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

// Relay stands between a client and a nats-server and can cut the line.
type Relay struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	conns   map[net.Conn]bool
	down    bool
	trigger []byte // text from the client after which the line is cut before an answer comes back
	cut     chan struct{}
	frozen  chan struct{} // closed when it thaws; nil while it is not frozen
}

// NewRelay relays from a port (0: any) to a nats-server's URL until the test ends.
func NewRelay(t testing.TB, port int, url string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{listener: l, target: strings.TrimPrefix(url, "nats://"), conns: map[net.Conn]bool{}, cut: make(chan struct{})}
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

// URL is where clients connect.
func (r *Relay) URL() string { return "nats://" + r.listener.Addr().String() }

// Down cuts every connection and refuses new ones until Up.
func (r *Relay) Down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	r.thaw()
	for c := range r.conns {
		c.Close()
	}
}

// Up lets connections through again.
func (r *Relay) Up() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

// Point lets connections that come from now on lead to another URL.
func (r *Relay) Point(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = strings.TrimPrefix(url, "nats://")
}

// Freeze lets nothing through until Thaw and closes nothing: nobody is told that the line is dead.
func (r *Relay) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen == nil {
		r.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze. What was sent meanwhile arrives now.
func (r *Relay) Thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.thaw()
}

func (r *Relay) thaw() {
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

// gate writes when the relay is not frozen.
type gate struct {
	r *Relay
	c net.Conn
}

func (g gate) Write(p []byte) (int, error) {
	g.r.mu.Lock()
	frozen := g.r.frozen
	g.r.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return g.c.Write(p)
}

// CutAfter goes Down once the client has sent text: the server gets it, but no answer comes back. The channel is
// closed then.
func (r *Relay) CutAfter(text string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trigger = []byte(text)
	return r.cut
}

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
	both.Go(func() { _, _ = io.Copy(gate{r, client}, server); client.Close(); server.Close() })
	both.Wait()
}

// upstream copies what the client says and watches for the trigger.
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
			client.Close() // first, so that no answer gets through
			_, _ = server.Write(buf[:n])
			r.Down()
			close(r.cut)
			return
		}
		if len(seen) > 1<<20 {
			seen = seen[len(seen)-(64<<10):]
		}
		if _, err := (gate{r, server}).Write(buf[:n]); err != nil {
			return
		}
	}
}

func (r *Relay) triggered(seen []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trigger == nil || !bytes.Contains(seen, r.trigger) {
		return false
	}
	r.trigger = nil
	return true
}

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
