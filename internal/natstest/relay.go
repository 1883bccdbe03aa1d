package natstest

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Direction is a way of data through a Relay.
type Direction int

const (
	ToServer Direction = iota
	ToClient
)

// Relay passes data between a client and a nats-server, or between two nats-servers of which the
// one that dials is the client. It can close, stall and delay the connections. What one side has
// sent before it closed a connection arrives at the other side nevertheless, also after a stall of
// any length. So it is with real networks: a sender can't take back what is on its way.
type Relay struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	conns   map[net.Conn]bool
	down    bool
	delay   time.Duration // of what is sent from now on, in both directions
	trigger []byte        // for CutAfter; nil if there is none
	cut     chan struct{} // closed when the trigger was sent
	// stalled has for each direction a channel that Release closes, nil if it is not stalled.
	stalled [2]chan struct{}
	held    [2]map[*backlog]bool // for each direction, of every connection
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
		held:     [2]map[*backlog]bool{{}, {}},
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

// Down closes every connection, and closes new ones at once until Up is called. What a stall has
// held back is lost.
func (r *Relay) Down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for c := range r.conns {
		c.Close()
	}
	r.releaseLocked(ToServer)
	r.releaseLocked(ToClient)
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

// Freeze stalls both directions until Thaw is called.
func (r *Relay) Freeze() {
	r.Stall(ToServer)
	r.Stall(ToClient)
}

// Thaw ends Freeze.
func (r *Relay) Thaw() {
	r.Release(ToServer)
	r.Release(ToClient)
}

// Delay makes the way longer: what is sent from now on arrives so much later, in both directions.
func (r *Relay) Delay(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = by
}

// due returns when what is sent now is to arrive.
func (r *Relay) due() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.delay)
}

// Stall holds back what is sent in one direction, on every connection, until Release is called. It
// closes no connection and goes on reading, so neither side notices.
func (r *Relay) Stall(d Direction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stalled[d] == nil {
		r.stalled[d] = make(chan struct{})
	}
}

// Release ends Stall. What was sent in the meantime arrives now.
func (r *Relay) Release(d Direction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releaseLocked(d)
}

// releaseLocked ends Stall. r.mu must be held.
func (r *Relay) releaseLocked(d Direction) {
	if r.stalled[d] != nil {
		close(r.stalled[d])
		r.stalled[d] = nil
	}
}

// Holds reports whether text has been sent in one direction and is held back.
func (r *Relay) Holds(d Direction, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.held[d] {
		if l.has([]byte(text)) {
			return true
		}
	}
	return false
}

// newBacklog returns the backlog of one direction of a connection. forget is to be called at its
// end.
func (r *Relay) newBacklog(d Direction) (l *backlog, forget func()) {
	l = &backlog{}
	l.some.L = &l.mu
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[d][l] = true
	return l, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.held[d], l)
	}
}

// waitReleased returns when a direction is not stalled.
func (r *Relay) waitReleased(d Direction) {
	for {
		r.mu.Lock()
		stalled := r.stalled[d]
		r.mu.Unlock()
		if stalled == nil {
			return
		}
		<-stalled
	}
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
	both.Go(func() { r.pass(server, client, ToServer) })
	both.Go(func() { r.pass(client, server, ToClient) })
	both.Wait()
}

// pass copies from one connection to the other, and closes the other one when all has been sent. It
// returns when both have ended.
func (r *Relay) pass(to, from net.Conn, d Direction) {
	held, forget := r.newBacklog(d)
	defer forget()
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		defer to.Close()
		for b, due := held.first(); b != nil; b, due = held.first() {
			time.Sleep(time.Until(due))
			r.waitReleased(d)
			if _, err := to.Write(b); err != nil {
				return
			}
			held.drop()
		}
	})
	defer held.end()
	var seen []byte
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		b = b[:n]
		if d == ToServer {
			if seen = append(seen, b...); r.triggered(seen) {
				from.Close() // before the server can reply
				_, _ = to.Write(b)
				r.Down()
				close(r.cut)
				return
			}
			seen = seen[max(0, len(seen)-(64<<10)):]
		}
		held.add(b, r.due())
	}
}

// backlog is what has been read and not yet been written. It has no bound: a stalled connection
// takes everything, so that its sender does not notice.
type backlog struct {
	mu     sync.Mutex
	some   sync.Cond // chunks has become longer, or ended is set
	chunks [][]byte
	due    []time.Time // of each chunk: when it is to arrive
	ended  bool
}

// add appends a chunk, which must not be empty.
func (l *backlog) add(b []byte, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chunks, l.due = append(l.chunks, b), append(l.due, due)
	l.some.Signal()
}

// end says that no more chunks follow.
func (l *backlog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.some.Signal()
}

// first returns the next chunk, waiting for one, and when it is to arrive; nil after the last.
func (l *backlog) first() (chunk []byte, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.chunks) == 0 && !l.ended {
		l.some.Wait()
	}
	if len(l.chunks) == 0 {
		return nil, due
	}
	return l.chunks[0], l.due[0]
}

// drop removes the chunk that first has returned.
func (l *backlog) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chunks, l.due = l.chunks[1:], l.due[1:]
}

// has reports whether the chunks contain text.
func (l *backlog) has(text []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(bytes.Join(l.chunks, nil), text)
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
