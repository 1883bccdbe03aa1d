package accounts

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
)

const (
	// missTimeout is how long other servers get for what is not stored.
	missTimeout = time.Second
	// waitTimeout is how long a client waits for it at most, whatever the lookup waits for.
	waitTimeout = missTimeout + missTimeout/5
	// maxMisses is how many lookups at the primary there are at a time. More have to
	// wait, within the same second.
	maxMisses = 64
)

// Misses asks other servers for what is not stored, once for all that want to know the same at the
// same time.
type Misses[T any] struct {
	group   singleflight.Group  // by what, and the servers that the request has come through
	bounded *semaphore.Weighted // lookups at the primary
}

// NewMisses returns a Misses that asks for nothing yet.
func NewMisses[T any]() *Misses[T] {
	return &Misses[T]{bounded: semaphore.NewWeighted(maxMisses)}
}

// Ask returns what ask returns, within a second or so. what says what is asked for. Requests that
// have come through different servers are different ones. If bounded is set, it is one of at most
// maxMisses lookups at a time. The error wraps ErrUnreadable if there is no answer in time.
func (m *Misses[T]) Ask(
	ctx context.Context, what string, bounded bool, ask func(ctx context.Context) (T, error),
) (answer T, err error) {
	waiting, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	asked := m.group.DoChan(what+" "+Via(ctx), func() (any, error) {
		// Others may wait for the answer too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missTimeout)
		defer cancel()
		if bounded {
			if m.bounded.Acquire(ctx, 1) != nil {
				return answer,
					fmt.Errorf("%w: %d others are being asked for", ErrUnreadable, maxMisses)
			}
			defer m.bounded.Release(1)
		}
		return ask(ctx)
	})
	select {
	case result := <-asked:
		return result.Val.(T), result.Err
	case <-waiting.Done():
		return answer, fmt.Errorf("%w: %w", ErrUnreadable, waiting.Err())
	}
}
