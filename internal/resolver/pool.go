package resolver

import (
	"hash/maphash"
	"sync"
)

// At most poolWorkers * (poolQueue + 1) jobs are held in memory.
const (
	// poolWorkers is how many jobs run at once. The commits of their JWTs share a sync of the
	// journal.
	poolWorkers = 32
	// poolQueue is how many jobs wait for each worker.
	poolQueue = 16
)

// keyedPool runs jobs on a bounded number of workers. Jobs with the same key run one after the
// other, in the order in which they were added.
type keyedPool struct {
	seed maphash.Seed
	// queues has one queue for each worker. The hash of a key says which.
	queues  [poolWorkers]chan func()
	workers sync.WaitGroup

	// mu is held for reading while a job is added, so that no queue is closed meanwhile.
	mu     sync.RWMutex
	closed bool
}

// newKeyedPool starts the workers. They end with close.
func newKeyedPool() *keyedPool {
	p := &keyedPool{seed: maphash.MakeSeed()}
	for i := range p.queues {
		queue := make(chan func(), poolQueue)
		p.queues[i] = queue
		p.workers.Go(func() {
			for job := range queue {
				job()
			}
		})
	}
	return p
}

// add does nothing if the pool is closed. It blocks while the worker's queue is full: further
// messages then wait in nats.go's own bounded buffer.
func (p *keyedPool) add(key string, job func()) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.closed {
		p.queues[maphash.String(p.seed, key)%poolWorkers] <- job
	}
}

// close returns when every job that was added is done.
func (p *keyedPool) close() {
	p.mu.Lock()
	p.closed = true
	for _, queue := range p.queues {
		close(queue)
	}
	p.mu.Unlock()
	p.workers.Wait()
}
