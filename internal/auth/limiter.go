package auth

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
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

// errBusy is for a login that has not been compared because there are too many.
var errBusy = &RetryError{After: time.Second}

// Limiter bounds the password compares of a process and slows down addresses that fail. It outlives
// reloads.
type Limiter struct {
	compares    *semaphore.Weighted               // bounds the compares that run
	log         *slog.Logger                      // leaves out lines that come too often
	compareHash func(hash, password []byte) error // bcrypt, but in tests

	mu       sync.Mutex // is never held during a compare
	attempts int        // of all clients
	clients  map[netip.Prefix]*client
	byAge    list.List // of the clients, by their last failure: the oldest first
}

// client is an address that tries to log in, or has failed to. An IPv6 client owns a whole /64, so
// that is one address. Limiter.mu guards the counts and times.
type client struct {
	at        netip.Prefix        // its key in Limiter.clients
	place     *list.Element       // in Limiter.byAge
	comparing *semaphore.Weighted // for the one attempt that is compared
	log       *slog.Logger        // leaves out all but one line a minute
	attempts  int                 // that wait or are compared; the client is not forgotten meanwhile
	failures  int                 // in a row
	last      time.Time           // failure; zero: none
}

// NewLimiter returns a Limiter. log gets a WRN line about failures, at most one per address and
// minute; nil: discard.
func NewLimiter(log *slog.Logger) *Limiter {
	log = cmp.Or(log, slog.New(slog.DiscardHandler))
	return &Limiter{
		compares:    semaphore.NewWeighted(maxCompares),
		log:         logging.Limited(log, maxLines, lineInterval),
		compareHash: bcrypt.CompareHashAndPassword,
		clients:     map[netip.Prefix]*client{},
	}
}

// compare compares a password with a hash once no other attempt of its address is compared. known
// is false if the user does not exist or can't have the password; the attempt fails then. The error
// is ErrBadCredentials, a *RetryError, or that of ctx if ctx ends before. At first it waits for the
// other attempts of the same address, then for one of the compares.
func (l *Limiter) compare(ctx context.Context, a attempt, hash string, known bool) error {
	c, err := l.enter(prefix(a.from))
	if err != nil {
		return err
	}
	defer l.leave(c)
	// One guess at a time: an attempt must see the failures of those before it.
	if err := c.comparing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.comparing.Release(1)
	if err := l.refusal(c); err != nil { // the attempts before it have failed
		return err
	}
	if err := l.compares.Acquire(ctx, 1); err != nil {
		return err
	}
	err = l.compareHash([]byte(hash), []byte(a.password))
	// The processor is free again before anything else is done.
	l.compares.Release(1)
	// The hash of a dummy user may fit by chance. It lets no client in.
	if err != nil || !known {
		c.log.Warn(fmt.Sprintf("wrong user or password from %s, user %+q", a.from,
			a.name[:min(len(a.name), maxName)]))
		l.fail(c)
		return ErrBadCredentials
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.failures = 0
	return nil
}

// enter counts an attempt of an address. If there is no error, leave must be called. The error is a
// *RetryError: the address is slowed down, or too many attempts wait.
func (l *Limiter) enter(at netip.Prefix) (*client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, known := l.clients[at]
	if !known {
		c = &client{
			at:        at,
			comparing: semaphore.NewWeighted(1),
			log:       logging.Limited(l.log, 1, lineInterval),
		}
	}
	// A client that is slowed down takes no place among those that wait.
	if err := c.refusalLocked(); err != nil {
		return nil, err
	}
	if l.attempts >= maxAttempts || c.attempts >= maxAddressAttempts {
		return nil, errBusy
	}
	if !known { // only now, so that refused attempts push no other client out
		l.makeRoomLocked()
		l.clients[at], c.place = c, l.byAge.PushFront(c)
	}
	l.attempts++
	c.attempts++
	return c, nil
}

// leave forgets a client that has not failed. A client that has failed stays until its place is
// needed, so that its failures count.
func (l *Limiter) leave(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts--
	c.attempts--
	if c.attempts == 0 && c.last.IsZero() {
		l.forgetLocked(c)
	}
}

// forgetLocked forgets a client. l.mu must be held.
func (l *Limiter) forgetLocked(c *client) {
	delete(l.clients, c.at)
	l.byAge.Remove(c.place)
}

// refusal is refusalLocked for a caller that does not hold l.mu.
func (l *Limiter) refusal(c *client) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.refusalLocked()
}

// refusalLocked returns a *RetryError while the client is slowed down, longer with every failure.
// Limiter.mu must be held. The first failures are free. The client may try again once the delay
// since the last one is over.
func (c *client) refusalLocked() error {
	over := c.failures - freeFailures
	if over < 0 {
		return nil
	}
	delay := min(maxDelay, firstDelay<<min(over, 10)) // a shift by more could overflow
	if wait := delay - time.Since(c.last); wait > 0 {
		return &RetryError{After: wait, Slowed: true}
	}
	return nil
}

// fail counts a failure. After clientExpiry without one the count begins anew.
func (l *Limiter) fail(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(c.last) > clientExpiry {
		c.failures = 0
	}
	c.failures++
	// The delay counts from the last failure.
	c.last = time.Now()
	l.byAge.MoveToBack(c.place)
}

// makeRoomLocked keeps the table of clients bounded. If it is full, those are dropped that have not
// failed for long, and if there are none the one whose last failure is the oldest. Besides what it
// drops it looks at no more than maxAttempts clients, whatever the table holds. l.mu must be held.
func (l *Limiter) makeRoomLocked() {
	if len(l.clients) < maxClients {
		return
	}
	for at := l.byAge.Front(); at != nil; {
		c := at.Value.(*client)
		at = at.Next()
		switch {
		case c.attempts > 0: // leave still needs it
		case len(l.clients) < maxClients && time.Since(c.last) <= clientExpiry:
			return
		default:
			l.forgetLocked(c)
		}
	}
}

// prefix returns what counts as one address. It is the zero value for the zero address. An IPv4
// address counts alone, and an IPv6 address with its whole /64.
func prefix(from netip.Addr) netip.Prefix {
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, _ := from.Prefix(bits) // without the zone; an address has as many bits
	return p
}
