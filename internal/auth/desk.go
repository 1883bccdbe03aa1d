package auth

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	seats        = 2  // compares at once
	maxAttempts  = 64 // logins that wait or are compared, of all addresses
	maxOfAddress = 16 // the same of one address, whose compares come one after the other

	freeFailures = 5 // in a row, before an address is slowed down
	firstWait    = time.Second
	longestWait  = time.Minute
	maxClients   = 4096             // addresses that are kept in mind
	forgetAfter  = 10 * time.Minute // without a failure
)

// Desk compares passwords for the guards of a process. It holds what must not begin anew with a reload: how many
// compares run, and which addresses are slowed down.
type Desk struct {
	seats   chan struct{}
	failed  atomic.Uint64
	log     *slog.Logger
	compare func(hash, password []byte) error

	mu       sync.Mutex
	attempts int // of all clients
	clients  map[netip.Prefix]*client
	report   report
}

// client is an address that has tried to log in. An IPv6 client owns a whole /64, so that is one address.
type client struct {
	turn     chan struct{} // whose holder is compared
	attempts int           // that wait for their turn or have it; it is kept that long
	failures int           // in a row
	until    time.Time     // nothing is compared before
	last     time.Time     // failure
	told     time.Time     // when the last line about it was logged
	untold   int           // failures since
}

// attempt is one login.
type attempt struct {
	name, password, address, hash string
}

// NewDesk returns a desk. log gets a WRN line about failures, at most one per address and minute; nil: discard.
func NewDesk(log *slog.Logger) *Desk {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Desk{
		seats:   make(chan struct{}, seats),
		log:     log,
		compare: bcrypt.CompareHashAndPassword,
		clients: map[netip.Prefix]*client{},
	}
}

// Failures is how many passwords were wrong so far.
func (d *Desk) Failures() uint64 { return d.failed.Load() }

// enter lets an address queue for a compare. Who gets a client must call judge with it.
func (d *Desk) enter(address string) (*client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, now := prefix(address), time.Now()
	c := d.clients[at]
	switch {
	case c != nil && c.until.After(now):
		return nil, &LaterError{After: c.until.Sub(now), Slowed: true}
	case d.attempts >= maxAttempts, c != nil && c.attempts >= maxOfAddress:
		return nil, &LaterError{After: time.Second}
	case c == nil:
		d.makeRoom(now)
		c = &client{turn: make(chan struct{}, 1)}
		d.clients[at] = c
	}
	d.attempts++
	c.attempts++
	return c, nil
}

// judge compares a password when it is its turn. known says whether the hash is that of the user who was named.
func (d *Desk) judge(ctx context.Context, c *client, a attempt, known bool) error {
	defer d.exit(c, a.address)
	if !take(ctx, c.turn) {
		return &LaterError{After: time.Second}
	}
	defer func() { <-c.turn }()
	if wait := d.penalty(c); wait > 0 { // the ones before it in the queue have failed
		return &LaterError{After: wait, Slowed: true}
	}
	if !take(ctx, d.seats) {
		return &LaterError{After: time.Second}
	}
	err := d.compare([]byte(a.hash), []byte(a.password))
	<-d.seats
	if err != nil || !known {
		d.fail(c, a)
		return ErrWrong
	}
	d.succeed(c)
	return nil
}

// take waits for a seat until ctx ends.
func take(ctx context.Context, seats chan struct{}) bool {
	select {
	case seats <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// exit forgets a client of whom there is nothing to remember.
func (d *Desk) exit(c *client, address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attempts--
	c.attempts--
	if c.attempts == 0 && c.told.IsZero() && c.failures == 0 {
		delete(d.clients, prefix(address))
	}
}

func (d *Desk) penalty(c *client) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Until(c.until)
}

func (d *Desk) succeed(c *client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.failures, c.until = 0, time.Time{}
}

// fail slows the client down, more with every failure.
func (d *Desk) fail(c *client, a attempt) {
	d.failed.Add(1)
	d.mu.Lock()
	now := time.Now()
	if now.Sub(c.last) > forgetAfter {
		c.failures = 0
	}
	c.failures++
	c.last = now
	if over := c.failures - freeFailures; over >= 0 {
		c.until = now.Add(min(longestWait, firstWait<<min(over, 10)))
	}
	lines := d.report.about(c, a, now)
	d.mu.Unlock()
	for _, line := range lines {
		d.log.Warn(line)
	}
}

// makeRoom keeps the table of clients bounded: it drops those who have not failed for long, and if there are none the
// one whose last failure is the oldest.
func (d *Desk) makeRoom(now time.Time) {
	if len(d.clients) < maxClients {
		return
	}
	var oldest netip.Prefix
	for at, c := range d.clients {
		if c.attempts > 0 {
			continue
		}
		if now.Sub(c.last) > forgetAfter {
			delete(d.clients, at)
			continue
		}
		if o := d.clients[oldest]; o == nil || c.last.Before(o.last) {
			oldest = at
		}
	}
	if len(d.clients) >= maxClients {
		delete(d.clients, oldest)
	}
}

// prefix is what counts as one address; what is none counts as one together.
func prefix(address string) netip.Prefix {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.WithZone("").Prefix(bits) // an address has as many bits
	return p
}
