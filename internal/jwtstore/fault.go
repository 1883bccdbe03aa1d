package jwtstore

import (
	"sync"
	"time"
)

// commitFault is why the last commit has failed. The zero value is none.
type commitFault struct {
	mu    sync.Mutex // guards what follows
	err   error
	tried time.Time // when check called try last
}

// set records the outcome of a commit.
func (f *commitFault) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// check returns why the last commit has failed. From time to time it calls try: the fault is over
// if that succeeds.
func (f *commitFault) check(try func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil && time.Since(f.tried) >= trialInterval {
		f.tried = time.Now()
		f.err = try()
	}
	return f.err
}
