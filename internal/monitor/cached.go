package monitor

import (
	"sync"
	"time"
)

const (
	// restFactor is how many times longer what is remembered counts than it took to find out. So not
	// more than a twentieth of a processor is spent, however often it is asked for.
	restFactor = 20
	// leastRest is how long it counts at least.
	leastRest = 500 * time.Millisecond
	// patience is what a caller waits for. What takes longer is found out in the background.
	patience = 100 * time.Millisecond
)

// cached remembers what takes time to find out.
type cached[T any] struct {
	find func() T

	mu      sync.Mutex // guards what follows
	known   T
	at      time.Time     // when it was found out; zero: it was not yet
	took    time.Duration // as long as that took
	finding chan struct{} // closed when what is being found out is known; nil: nothing is
}

// get returns what was found out not long ago, or is found out now.
func (c *cached[T]) get() T {
	c.mu.Lock()
	isFirst := c.at.IsZero()
	if !isFirst && time.Since(c.at) < max(leastRest, restFactor*c.took) {
		defer c.mu.Unlock()
		return c.known
	}
	if c.finding == nil {
		c.finding = make(chan struct{})
		go c.refresh()
	}
	finding := c.finding
	c.mu.Unlock()
	if isFirst {
		<-finding // there is nothing else to show
	} else {
		select {
		case <-finding:
		case <-time.After(patience):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// refresh finds it out.
func (c *cached[T]) refresh() {
	began := time.Now()
	found := c.find()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.at, c.took = found, time.Now(), time.Since(began)
	close(c.finding)
	c.finding = nil
}
