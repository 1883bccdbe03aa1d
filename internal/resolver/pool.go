package resolver

import (
	"hash/maphash"
	"sync"
)

// At most poolWorkers * (poolQueue + 1) jobs are held in memory.
const (
	poolWorkers = 32 // jobs at once; the commits of their JWTs share a sync of the journal
	poolQueue   = 16 // jobs that wait for each worker
)

// keyedPool runs jobs on a bounded number of workers. Jobs with the same key run one after the
// other, in the order in which they were added.
type keyedPool struct {
	seed    maphash.Seed
	queues  [poolWorkers]chan func()
	workers sync.WaitGroup

	mu     sync.RWMutex // held for reading while a job is added
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
