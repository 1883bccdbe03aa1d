package daemon

import (
	"context"
	"fmt"
)

// task is a part of the program that runs until it is stopped. Each has a context of its own,
// because a stop ends the tasks one after the other.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// start runs a task until ctx ends or it is stopped. If run returns an error, the whole program
// ends with it.
func (d *daemon) start(ctx context.Context, name string, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	d.tasks.Go(func() error {
		defer close(t.done)
		defer cancel()
		if err := run(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	return t
}

// stop returns when the task has ended. A nil task has not been started.
func (t *task) stop() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}
