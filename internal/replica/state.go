package replica

import (
	"context"
	"time"

	"nats-account-server/internal/pause"
)

// pollInterval is how often the primary is asked for no account, so that it is known whether it
// answers.
const pollInterval = 30 * time.Second

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
	return State{Packed: r.packed.Load(), Failing: h.last != nil, Success: h.success}
}

// poll asks the primary for nothing, now and then, until ctx ends.
func (r *Replica) poll(ctx context.Context) {
	for pause.For(ctx, pollInterval) {
		r.askForNothing(ctx)
	}
}

// askForNothing asks the primary what nats-server asks it at a start: whether it is there.
func (r *Replica) askForNothing(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	body, err := r.get(ctx, pathAccounts)
	if err == nil {
		body.Close()
	}
	r.note(ctx, err)
}
