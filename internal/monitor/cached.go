package monitor

import (
	"sync"
	"time"
)

const (
	// keepFactor is how many times longer what is remembered counts than it took to find out. So
	// not more than a twentieth of a processor is spent, however often it is asked for.
	keepFactor = 20
	// minKeep is how long it counts at least.
	minKeep = 500 * time.Millisecond
	// maxWait is for how long callers wait for what is being found out, from when that began. What
	// takes longer is found out in the background.
	maxWait = 100 * time.Millisecond
)

// cached remembers what takes time to find out, such as a sum over a million accounts. The value is
// as it was a moment ago: up to 500 ms, or 20 times as long as it took to find out, and longer if
// nothing has changed. find and version are set before the first use. All callers share what is
// found out. T is shared by all callers, so none may change what it points to.
type cached[T any] struct {
	find func() T // it may take any time; two never run at the same time
	// version is another number when there is something new to find. nil: that is not known.
	version func() uint64

	mu      sync.Mutex // guards what follows
	known   T
	at      time.Time     // when it was found out; zero: it was not yet
	took    time.Duration // as long as that took
	of      uint64        // version before that
	finding chan struct{} // closed when what is being found out is known; nil: nothing is
	began   time.Time     // when the last finding did
}

// get returns what was found out not long ago, or is found out now. It waits as long as there is
// nothing to return. Only the first call after a start waits for longer than maxWait.
func (c *cached[T]) get() T {
	known, isKnown, finding := c.look()
	if !isKnown {
		<-finding
		known, _, _ = c.look()
	}
	return known
}

// look is get for a caller that does not wait for long. It reports whether anything is known, and
// returns a channel that is closed when more is; nil: nothing is being found out. An old value is
// returned while a new one is being found out and takes longer than maxWait.
func (c *cached[T]) look() (known T, isKnown bool, finding <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < c.keepLocked() {
		return c.known, true, nil
	}
	if c.finding == nil {
		c.finding, c.began = make(chan struct{}), time.Now()
		go c.refresh()
	}
	finding = c.finding
	// The lock is given back while this caller waits, so that others can read what is known. What
	// took long the last time is not waited for.
	if wait := maxWait - time.Since(c.began); wait > 0 && c.took <= maxWait {
		c.mu.Unlock()
		select {
		case <-finding:
		case <-time.After(wait):
		}
		c.mu.Lock()
	}
	return c.known, !c.at.IsZero(), finding
}

// keepLocked returns for how long what is known counts. If nothing has changed it is worth finding
// out seldom, but not never: accounts expire without a change. c.mu must be held. The 20 times 20
// are a four hundredth of a processor, for a survey of one second 400 s.
func (c *cached[T]) keepLocked() time.Duration {
	if c.version != nil && c.version() == c.of {
		return max(minKeep, keepFactor*keepFactor*c.took)
	}
	return max(minKeep, keepFactor*c.took)
}

// refresh finds it out. The version is read before, so that a change meanwhile counts as one after.
// It runs in a goroutine of its own, and ends the wait of all that look.
func (c *cached[T]) refresh() {
	version := uint64(0)
	if c.version != nil {
		version = c.version()
	}
	found := c.find()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = version
	c.known, c.at, c.took = found, time.Now(), time.Since(c.began)
	close(c.finding)
	c.finding = nil
}
