package daemon

import "context"

// task is a part of the program that runs until it is stopped.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// start runs a task. If run returns an error, the whole program ends.
func (d *daemon) start(run func(context.Context) error) *task {
	// A stop ends the tasks one after the other, so that no common context can do it.
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{cancel: cancel, done: make(chan struct{})}
	d.tasks.Go(func() error {
		defer close(t.done)
		return run(ctx)
	})
	return t
}

// stop returns when the task has ended. A nil task is not running.
func (t *task) stop() {
	if t != nil {
		t.cancel()
		<-t.done
	}
}
