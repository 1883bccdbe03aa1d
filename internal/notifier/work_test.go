package notifier

import (
	"sync"
	"testing"
)

// TestWorkIsDoneOnceForEachTimeThatItChanges walks what can happen to one that is queued: it waits in
// the queue at most once, is never done twice at a time, and those that wait for it are told at the end.
func TestWorkIsDoneOnceForEachTimeThatItChanges(t *testing.T) {
	type queue = *workQueue[string]
	add := func(q queue) { q.addLocked("A") }
	take := func(q queue) { q.take() }
	finish := func(q queue) { q.finish("A") }
	for _, c := range []struct {
		name           string
		before         []func(queue)
		happens        func(queue)
		isQueued, done bool
	}{
		{"it is added", nil, add, true, false},
		{"it waits, and is added again", []func(queue){add}, add, true, false},
		{"it waits, and is taken", []func(queue){add}, take, false, false},
		{"it is being done, and is added again", []func(queue){add, take}, add, false, false},
		{"it is being done, and is added a third time", []func(queue){add, take, add}, add, false, false},
		{"it is done", []func(queue){add, take}, finish, false, true},
		{"it is done, and was added again", []func(queue){add, take, add}, finish, true, false},
		{"it is done once more", []func(queue){add, take, add, finish, take}, finish, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newWorkQueue[string](new(sync.Mutex), 2, 1)
			q.addLocked("another")
			take(q)
			for _, e := range c.before {
				e(q)
			}
			done := q.whenDoneLocked("A")
			if (done == nil) != (len(c.before) == 0) {
				t.Errorf("what is to be done is known: %v", done != nil)
			}
			c.happens(q)
			if isQueued := len(q.items) == 1; isQueued != c.isQueued || len(q.items) > 1 {
				t.Errorf("queued: %q", q.items)
			}
			isDone := false
			select {
			case <-done:
				isDone = true
			default:
			}
			if isDone != c.done || (q.known["A"] == nil) != c.done {
				t.Errorf("it is done: %v", isDone)
			}
		})
	}
}
