package notifier

import (
	"context"
	"sync"

	"nats-account-server/internal/pause"
)

// workQueue has what is to be done in the background, the oldest first and each once.
type workQueue[T comparable] struct {
	mu    *sync.Mutex // guards items and known: that of the Notifier
	items []T
	known map[T]bool    // those in items
	most  int           // how many there may be
	wake  chan struct{} // its capacity is how many goroutines work
}

// newWorkQueue returns an empty queue.
func newWorkQueue[T comparable](mu *sync.Mutex, most, goroutines int) *workQueue[T] {
	return &workQueue[T]{mu: mu, known: make(map[T]bool), most: most,
		wake: make(chan struct{}, goroutines)}
}

// addLocked queues one, and reports whether there was room for it. q.mu must be held.
func (q *workQueue[T]) addLocked(one T) bool {
	if !q.known[one] {
		if len(q.items) >= q.most {
			return false
		}
		q.known[one] = true
		q.items = append(q.items, one)
	}
	pause.Wake(q.wake)
	return true
}

// take takes the oldest one out; ok is false if there is none.
func (q *workQueue[T]) take() (one T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return one, false
	}
	one, q.items = q.items[0], q.items[1:]
	delete(q.known, one)
	return one, true
}

// work begins goroutines that call do with what is in the queue, until ctx ends.
func (q *workQueue[T]) work(ctx context.Context, tasks *sync.WaitGroup, do func(T)) {
	pause.Wake(q.wake) // an earlier session may have left some
	for range cap(q.wake) {
		tasks.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-q.wake:
				}
				q.workOff(ctx, do)
			}
		})
	}
}

// workOff does what is in the queue, one after the other.
func (q *workQueue[T]) workOff(ctx context.Context, do func(T)) {
	for ctx.Err() == nil {
		one, ok := q.take()
		if !ok {
			return
		}
		do(one)
	}
}
