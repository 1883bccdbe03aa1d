package notifier

import "time"

// schedule says when announcements are sent.
type schedule struct {
	queue  queue                    // those in state queued
	active map[string]*announcement // those in state inFlight
}

// hasDue reports whether the first one in the queue may be sent when its time comes. It may not
// while as many as are allowed are in flight.
func (s *schedule) hasDue() bool { return s.queue.Len() > 0 && len(s.active) < maxInFlight }

// isIdle reports whether there is room for more in flight, and none is to be sent now.
func (s *schedule) isIdle(now time.Time) bool {
	return len(s.active) < maxInFlight && (s.queue.Len() == 0 || s.queue[0].due.After(now))
}

// isDelivering reports whether a change is being announced, or is to be now. One that is announced
// again later does not count.
func (s *schedule) isDelivering(now time.Time) bool {
	return len(s.active) > 0 || s.queue.Len() > 0 && !s.queue[0].due.After(now)
}

// queue is a heap of announcements, the one that is due first on top; of several, that of the
// oldest change. It implements heap.Interface.
type queue []*announcement

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].Seq < q[j].Seq
	}
	return q[i].due.Before(q[j].due)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	a := x.(*announcement)
	a.index = len(*q)
	*q = append(*q, a)
}

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// earlier returns the earlier one of two moments.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// later returns the later one of two moments.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// backoff returns the wait after a number of failures. It doubles from one second up to a maximum.
func backoff(failures int, maxWait time.Duration) time.Duration {
	return min(time.Second<<min(failures, 10), maxWait)
}
