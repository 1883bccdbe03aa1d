package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"

	"nats-account-server/internal/logging"
)

const (
	maxCompares        = 2  // at once; each takes a processor
	maxAttempts        = 64 // that wait or are compared, of all addresses
	maxAddressAttempts = 16 // the same of one address; it has one compare at a time

	freeFailures = 5           // in a row, before an address is slowed down
	firstDelay   = time.Second // after them; each further failure doubles it
	maxDelay     = time.Minute

	maxClients   = 4096             // addresses that are remembered
	clientExpiry = 10 * time.Minute // without a failure, then an address begins anew

	maxLines     = 10          // about failed logins in lineInterval, of all addresses
	lineInterval = time.Minute // between two lines about one address
	maxName      = 64          // bytes of an unchecked user name in a line
)

// Limiter bounds the password compares of a process and slows down addresses that fail. It outlives
// reloads.
type Limiter struct {
	compares    *semaphore.Weighted // bounds the compares that run
	failures    atomic.Uint64
	log         *slog.Logger                      // leaves out lines that come too often
	compareHash func(hash, password []byte) error // bcrypt, but in tests

	mu       sync.Mutex
	attempts int // of all clients
	clients  map[netip.Prefix]*client
}

// client is an address that tries to log in, or has failed to. An IPv6 client owns a whole /64, so
// that is one address. Limiter.mu guards all fields but turn and log.
type client struct {
	turn     *semaphore.Weighted // for the one attempt that is compared
	log      *slog.Logger        // leaves out all but one line a minute
	attempts int                 // that wait or are compared; the client is not forgotten meanwhile
	failures int                 // in a row
	until    time.Time           // attempts before it are refused
	last     time.Time           // failure; zero: none
}

// NewLimiter returns a Limiter. log gets a WRN line about failures, at most one per address and
// minute; nil: discard.
func NewLimiter(log *slog.Logger) *Limiter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Limiter{
		compares:    semaphore.NewWeighted(maxCompares),
		log:         logging.Limited(log, maxLines, lineInterval),
		compareHash: bcrypt.CompareHashAndPassword,
		clients:     map[netip.Prefix]*client{},
	}
}

// Failures returns how many passwords were wrong so far.
func (l *Limiter) Failures() uint64 { return l.failures.Load() }

// compare compares a password with a hash when it is the attempt's turn. known is false if the user
// does not exist; the attempt fails then. The error is ErrBadCredentials or a *RetryError.
func (l *Limiter) compare(ctx context.Context, a attempt, hash string, known bool) error {
	c, err := l.enter(a.address)
	if err != nil {
		return err
	}
	defer l.leave(c, a.address)
	if c.turn.Acquire(ctx, 1) != nil {
		return &RetryError{After: time.Second}
	}
	defer c.turn.Release(1)
	if err := l.refusal(c); err != nil { // the attempts before it have failed
		return err
	}
	if l.compares.Acquire(ctx, 1) != nil {
		return &RetryError{After: time.Second}
	}
	err = l.compareHash([]byte(hash), []byte(a.password))
	l.compares.Release(1)
	if err != nil || !known {
		l.fail(c, a)
		return ErrBadCredentials
	}
	l.succeed(c)
	return nil
}

// enter counts an attempt of an address. If there is no error, leave must be called.
func (l *Limiter) enter(address string) (*client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := prefix(address)
	c := l.clients[at]
	// A client becomes known only if it may wait, so that refused attempts push none out.
	if c == nil {
		c = &client{turn: semaphore.NewWeighted(1), log: logging.Limited(l.log, 1, lineInterval)}
	}
	if err := c.refusalLocked(); err != nil {
		return nil, err
	}
	if l.attempts >= maxAttempts || c.attempts >= maxAddressAttempts {
		return nil, &RetryError{After: time.Second}
	}
	if l.clients[at] == nil {
		l.makeRoomLocked()
		l.clients[at] = c
	}
	l.attempts++
	c.attempts++
	return c, nil
}

// leave forgets a client that has not failed.
func (l *Limiter) leave(c *client, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts--
	c.attempts--
	if c.attempts == 0 && c.last.IsZero() {
		delete(l.clients, prefix(address))
	}
}

// refusal is refusalLocked for a caller that does not hold l.mu.
func (l *Limiter) refusal(c *client) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.refusalLocked()
}

// refusalLocked returns a *RetryError while the client is slowed down. Limiter.mu must be held.
func (c *client) refusalLocked() error {
	if wait := time.Until(c.until); wait > 0 {
		return &RetryError{After: wait, Slowed: true}
	}
	return nil
}

// succeed ends the slowing down of a client.
func (l *Limiter) succeed(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.failures, c.until = 0, time.Time{}
}

// fail slows the client down, more with every failure.
func (l *Limiter) fail(c *client, a attempt) {
	l.failures.Add(1)
	c.log.Warn(fmt.Sprintf("wrong user or password from %s, user %+q", host(a.address),
		a.name[:min(len(a.name), maxName)]))
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(c.last) > clientExpiry {
		c.failures = 0
	}
	c.failures++
	c.last = now
	if over := c.failures - freeFailures; over >= 0 {
		c.until = now.Add(min(maxDelay, firstDelay<<min(over, 10)))
	}
}

// makeRoomLocked keeps the table of clients bounded. It drops those that have not failed for long,
// and if there are none the one whose last failure is the oldest. l.mu must be held.
func (l *Limiter) makeRoomLocked() {
	if len(l.clients) < maxClients {
		return
	}
	var oldest netip.Prefix
	for at, c := range l.clients {
		if c.attempts > 0 {
			continue
		}
		if time.Since(c.last) > clientExpiry {
			delete(l.clients, at)
			continue
		}
		if o := l.clients[oldest]; o == nil || c.last.Before(o.last) {
			oldest = at
		}
	}
	if len(l.clients) >= maxClients {
		delete(l.clients, oldest)
	}
}

// prefix returns what counts as one address. All that is no address counts as one together.
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

// host returns an address without its port, for a line of the log.
func host(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return "an unknown address"
	}
	return at.Addr().Unmap().String()
}
