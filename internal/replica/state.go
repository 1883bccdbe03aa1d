package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// warnInterval is how often a line says at most that the primary is in trouble.
const warnInterval = time.Minute

// State is how far a replica is behind its primary.
type State struct {
	Packed  bool      // the initial pack is in, or none is asked for
	Failing bool      // the primary did not answer as it should when it was last asked
	Success time.Time // when it last did; zero: never
}

// State returns how far the replica is behind.
func (r *Replica) State() State {
	h := &r.health
	h.mu.Lock()
	defer h.mu.Unlock()
	return State{Packed: r.packed.Load(), Failing: h.failing, Success: h.success}
}

// health is how the primary is doing. The zero health has had no request.
type health struct {
	mu      sync.Mutex
	failing bool      // the last request was not answered as it should be
	success time.Time // when one was so last
	told    bool      // the last line says that it is in trouble
	warned  time.Time // when a line last said so
}

// note writes a line when the primary begins to be in trouble, and when that is over. err is the
// outcome of a request.
func (r *Replica) note(ctx context.Context, err error) {
	// That the primary lacks something is a good answer.
	isBad := err != nil && !errors.Is(err, errLacking)
	if isBad && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the request was given up
	}
	h, now := &r.health, r.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing = isBad; !isBad {
		h.success = now
	}
	switch {
	// A primary that fails now and then must not fill the log, so a warning has its interval.
	case isBad && !h.told && (h.warned.IsZero() || now.Sub(h.warned) >= warnInterval):
		h.told, h.warned = true, now
		r.Log.Warn(fmt.Sprintf("the primary does not answer as it should, what is stored is "+
			"served - %s", err))
	// Each warning is followed by one line that ends it.
	case !isBad && h.told:
		h.told = false
		r.Log.Info("the primary answers again")
	}
}
