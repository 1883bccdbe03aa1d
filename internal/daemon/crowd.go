package daemon

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// mostSeats bounds the connections of one front, whatever the system would permit. An idle one takes 20 KiB.
	mostSeats = 16384
	// mostHeld bounds the memory that unfinished requests take beyond that, in bytes.
	mostHeld = 64 << 20
	// fewBytes of each request are not counted: an idle connection's buffer has room for them.
	fewBytes = 4 << 10
	// headerWeight is how many bytes of memory a byte of a header takes, if its lines are as short as can be.
	headerWeight = 8
	// grace is what a newcomer gets to say what it wants while others who have had as much can go instead.
	grace = 250 * time.Millisecond
	// crowdedEvery is how often a line says that it is crowded.
	crowdedEvery = time.Minute
)

// phase is what is going on with a connection, and how dispensable it is: the earlier, the more.
type phase int

const (
	waiting   phase = iota // not a byte of a request, or of the next one
	asking                 // the header of a request is on its way
	sending                // its body is
	answering              // the request is complete: never hung up on
)

// crowd bounds the connections of a front and the memory that their requests take. When one connection more would be
// too many, or one byte more, it hangs up on the most dispensable one, and among equals on the one that has been in its
// phase longest: who comes with a whole request is served, however many others just sit there.
type crowd struct {
	seats int   // how many connections there may be
	room  int64 // how much memory for their requests, in bytes
	warn  func(format string, args ...any)

	mu      sync.Mutex
	taken   int
	held    int64                // by all requests
	leaving int64                // of it, by those that were hung up on and have not let go yet
	let     *sync.Cond           // somebody has let go
	lines   [answering]list.List // of *seat, who came into the phase first is first
	closed  bool
	hungUp  int       // since told
	told    time.Time // when the last line was written
}

func newCrowd(warn func(string, ...any)) *crowd {
	c := &crowd{seats: seats(), room: mostHeld, warn: warn}
	c.let = sync.NewCond(&c.mu)
	return c
}

// seatsWithin is how many connections a process that may have this many descriptors open takes. The others are for
// the store's files and NATS.
func seatsWithin(descriptors uint64) int {
	return int(min(mostSeats, descriptors-min(descriptors/2, 512)))
}

// watch lets s tell what becomes of the connections that admit gives it. It comes after everything else is set.
func (c *crowd) watch(s *http.Server) {
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, seatKey{}, seatOf(conn))
	}
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			c.enter(seatOf(conn), waiting)
		}
	}
	s.Handler = c.attend(s.Handler)
	s.RegisterOnShutdown(c.close) // net/http would wait for who has not finished a header
}

// admit gives every connection of l a seat.
func (c *crowd) admit(l net.Listener) net.Listener { return &entrance{Listener: l, crowd: c} }

type entrance struct {
	net.Listener
	crowd *crowd
}

// Accept implements net.Listener. When the system has no descriptor left although there are seats, somebody has to
// go all the same; net/http tries again after a moment.
func (d *entrance) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err == nil {
		return d.crowd.seat(conn.(*net.TCPConn)), nil
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		d.crowd.shrink(err)
	}
	return nil, err
}

// seat is one connection. What follows crowd is guarded by the crowd's lock.
type seat struct {
	*net.TCPConn
	crowd *crowd

	phase phase
	since time.Time     // in this phase
	place *list.Element // in the phase's line; nil: in none
	bytes int64         // of the request
	held  int64         // memory of it that counts
	heard bool          // has sent a request
	out   bool          // has no seat any more
	gone  bool          // and holds nothing
}

type seatKey struct{}

// seatOf finds the seat below whatever encrypts it.
func seatOf(conn net.Conn) *seat {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	return conn.(*seat)
}

// Read implements net.Conn.
func (s *seat) Read(p []byte) (int, error) {
	n, err := s.TCPConn.Read(p)
	if n > 0 {
		s.crowd.receive(s, int64(n))
	}
	return n, err
}

// Close implements net.Conn. net/http calls it when it has done with the connection.
func (s *seat) Close() error {
	s.crowd.forget(s)
	return s.TCPConn.Close()
}

// move puts s at the end of a phase's line, for who holds the lock.
func (s *seat) move(p phase) {
	if s.place != nil {
		s.crowd.lines[s.phase].Remove(s.place)
		s.place = nil
	}
	s.phase = p
	if p < answering && !s.out {
		s.since = time.Now()
		s.place = s.crowd.lines[p].PushBack(s)
	}
}

// stand takes the seat away, for who holds the lock.
func (s *seat) stand() {
	if !s.out {
		s.out = true
		s.move(answering)
		s.crowd.taken--
		s.crowd.leaving += s.held
		s.crowd.let.Broadcast() // it may be among those who wait
	}
}

// count adds n bytes to the request of s, for who holds the lock.
func (s *seat) count(n int64) {
	before := max(0, s.bytes-fewBytes)
	s.bytes += n
	more := max(0, s.bytes-fewBytes) - before
	if s.phase == asking {
		more *= headerWeight
	}
	s.hold(more)
}

// hold adds to the memory that counts, for who holds the lock.
func (s *seat) hold(more int64) {
	s.held += more
	s.crowd.held += more
	if s.out {
		s.crowd.leaving += more
	}
}

// forget ends what s takes. Others may be waiting for that.
func (c *crowd) forget(s *seat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.gone {
		return
	}
	s.stand()
	s.hold(-s.held)
	s.gone = true
	c.let.Broadcast()
}

// seat lets a newcomer in, at somebody else's cost if need be. If nobody can be spared, it is the newcomer's.
func (c *crowd) seat(conn *net.TCPConn) *seat {
	s := &seat{TCPConn: conn, crowd: c}
	c.mu.Lock()
	c.taken++
	s.move(waiting)
	var out *seat
	if c.closed || c.taken > c.seats {
		out = c.spare(waiting, 0)
	}
	c.mu.Unlock()
	c.hangUp(out, "too many clients")
	return s
}

// receive counts n bytes that s has sent. Who has sent more than a few does not go on before there is memory for them.
func (c *crowd) receive(s *seat, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.phase == waiting {
		s.move(asking)
	}
	if s.gone {
		return
	}
	for s.count(n); s.held > 0 && c.held > c.room && !s.out; {
		if c.held-c.leaving <= c.room {
			c.let.Wait()
			continue
		}
		out := c.spare(asking, 1)
		if out == nil {
			return
		}
		c.mu.Unlock()
		c.hangUp(out, "too much from too many clients")
		c.mu.Lock()
	}
}

// shrink makes room although there should be some.
func (c *crowd) shrink(why error) {
	c.mu.Lock()
	out := c.spare(waiting, 0)
	c.mu.Unlock()
	if out != nil {
		_ = out.TCPConn.Close()
	}
	c.tell(why.Error())
}

// spare takes the seat of the most dispensable connection, but of none before a phase and of none that holds less; nil
// if there is none. It is for who holds the lock, and hangs up afterwards.
func (c *crowd) spare(from phase, held int64) (s *seat) {
	latest := time.Now().Add(-grace)
	for p := from; p < answering; p++ {
		first := c.first(p, held)
		if first == nil {
			continue
		}
		if s == nil || first.since.Before(s.since) {
			s = first
		}
		if s.since.Before(latest) {
			break
		}
	}
	if s != nil {
		s.stand()
		c.hungUp++
	}
	return s
}

// first is who has been in a phase longest, of those that hold enough. For who holds the lock.
func (c *crowd) first(p phase, held int64) *seat {
	for at := c.lines[p].Front(); at != nil; at = at.Next() {
		if s := at.Value.(*seat); s.held >= held {
			return s
		}
	}
	return nil
}

// hangUp closes what is below an encryption, too: a farewell would have to be waited for.
func (c *crowd) hangUp(s *seat, why string) {
	if s != nil {
		_ = s.TCPConn.Close()
		c.tell(why)
	}
}

// tell says that it is crowded, but not too often.
func (c *crowd) tell(why string) {
	c.mu.Lock()
	now, hungUp, taken, held := time.Now(), c.hungUp, c.taken, c.held
	due := !c.closed && now.Sub(c.told) >= crowdedEvery
	if due {
		c.hungUp, c.told = 0, now
	}
	c.mu.Unlock()
	if due {
		c.warn("http: %s: hung up on %d that were idle or slow; %d connections of at most %d take %d bytes of at most %d",
			why, hungUp, taken, c.seats, held, c.room)
	}
}

// enter brings s into a phase. A new request starts to count from nothing.
func (c *crowd) enter(s *seat, p phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p == waiting {
		s.bytes = 0
		s.hold(-s.held)
	}
	s.heard = s.heard || p > asking
	s.move(p)
}

// hearOut waits until everybody who has come has sent a request, at most for a while.
func (c *crowd) hearOut(most time.Duration) {
	for end := time.Now().Add(most); c.someoneUnheard() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // as net/http's own Shutdown polls
	}
}

func (c *crowd) someoneUnheard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := waiting; p <= asking; p++ {
		for at := c.lines[p].Front(); at != nil; at = at.Next() {
			if !at.Value.(*seat).heard {
				return true
			}
		}
	}
	return false
}

// close hangs up on everybody who has not finished a header, also on who comes later.
func (c *crowd) close() {
	c.mu.Lock()
	c.closed = true
	var out []*seat
	for p := waiting; p <= asking; p++ {
		for at := c.lines[p].Front(); at != nil; at = c.lines[p].Front() {
			s := at.Value.(*seat)
			s.stand()
			out = append(out, s)
		}
	}
	c.mu.Unlock()
	for _, s := range out {
		_ = s.TCPConn.Close()
	}
}

// attend tells h's requests whose body is on its way from those that are complete.
func (c *crowd) attend(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := r.Context().Value(seatKey{}).(*seat)
		if r.Body == http.NoBody {
			c.enter(s, answering)
			h.ServeHTTP(w, r)
			return
		}
		c.enter(s, sending)
		r.Body = &body{ReadCloser: r.Body, seat: s}
		h.ServeHTTP(w, r)
		c.enter(s, answering) // the answer may not have left yet
	})
}

// body is the body of a request, which is complete when there is no more to be had of it.
type body struct {
	io.ReadCloser
	seat *seat
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.seat.crowd.enter(b.seat, answering)
	}
	return n, err
}
