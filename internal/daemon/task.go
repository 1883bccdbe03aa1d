package daemon

import (
	"context"
	"fmt"
)

// task is a part of the program that runs until it is stopped. Each has a context of its own,
// because a stop ends the tasks one after the other. It ends in one of three ways: its work is
// done, stop is called, or the program ends.
type task struct {
	// cancel ends the context of the task. It may be called many times.
	cancel context.CancelFunc
	// done is closed when run has returned.
	done chan struct{}
}

// start runs a task until ctx ends or it is stopped. If run returns an error, the whole program
// ends with it. name is for the error, as in "http: …". d.tasks must be set.
func (d *daemon) start(ctx context.Context, name string, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	d.tasks.Go(func() error {
		// done is closed also if run fails, so that stop never waits in vain.
		defer close(t.done)
		defer cancel()
		if err := run(ctx); err != nil {
			// The name tells the operator which part has failed.
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	return t
}

// stop returns when the task has ended. A nil task has not been started. It may be called more than
// once.
func (t *task) stop() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}
