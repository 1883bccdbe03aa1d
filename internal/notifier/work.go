package notifier

import (
	"context"
	"sync"

	"nats-account-server/internal/pause"
)

// workQueue has what is to be done in the background, the oldest first and each once. What is being
// done and is added again is done once more afterwards, never twice at a time.
type workQueue[T comparable] struct {
	mu    *sync.Mutex   // guards items and known: that of the Notifier
	items []T           // those that wait
	known map[T]*job    // of those that wait or are being done
	most  int           // how many may wait
	wake  chan struct{} // its capacity is how many goroutines work
}

// job is how far one of a workQueue has got.
type job struct {
	state jobState
	done  chan struct{} // closed when it is done; nil if no caller waits for that
}

// jobState is where a job stands. One that is done is not known any more.
type jobState int

const (
	jobWaits jobState = iota // it is in items
	jobBegun                 // it is being done
	jobAgain                 // the same, and it was added again since
)

// newWorkQueue returns an empty queue.
func newWorkQueue[T comparable](mu *sync.Mutex, most, goroutines int) *workQueue[T] {
	return &workQueue[T]{mu: mu, known: make(map[T]*job), most: most,
		wake: make(chan struct{}, goroutines)}
}

// addLocked queues one, and reports whether there was room for it. q.mu must be held.
func (q *workQueue[T]) addLocked(one T) bool {
	j := q.known[one]
	switch {
	case j != nil && j.state == jobWaits:
	case j != nil:
		j.state = jobAgain
	case len(q.items) >= q.most:
		return false
	default:
		q.queueLocked(one, &job{})
	}
	return true
}

// queueLocked puts one at the end of the queue. q.mu must be held.
func (q *workQueue[T]) queueLocked(one T, j *job) {
	j.state = jobWaits
	q.known[one] = j
	q.items = append(q.items, one)
	pause.Wake(q.wake)
}

// whenDoneLocked returns a channel that is closed when one is done, nil if there is nothing to do.
// q.mu must be held.
func (q *workQueue[T]) whenDoneLocked(one T) <-chan struct{} {
	j := q.known[one]
	if j == nil {
		return nil
	}
	if j.done == nil {
		j.done = make(chan struct{})
	}
	return j.done
}

// take takes the oldest one out; ok is false if there is none.
func (q *workQueue[T]) take() (one T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return one, false
	}
	one, q.items = q.items[0], q.items[1:]
	q.known[one].state = jobBegun
	return one, true
}

// finish ends what take has begun.
func (q *workQueue[T]) finish(one T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := q.known[one]
	if j.state == jobAgain {
		q.queueLocked(one, j)
		return
	}
	delete(q.known, one)
	if j.done != nil {
		close(j.done)
	}
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
		q.finish(one)
	}
}
