package logging

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxQueuedLines and maxQueuedBytes bound what waits for a reader that is slow. Both hold the
	// lines of about half a second under full load with trace.
	maxQueuedLines = 16384
	maxQueuedBytes = 4 << 20
)

// Why a caller does not wait any longer.
var (
	errQueueFull  = errors.New("too many lines wait to be written")
	errNotWritten = errors.New("the line is not written in time")
)

// queue writes lines in the order in which it takes them. One goroutine writes, so that a caller
// never waits for the reader of a pipe. Its methods may be called from any goroutine. It needs no
// end: the goroutine lives only while there are lines.
type queue struct {
	write func(level slog.Level, line []byte) error // called by one goroutine at a time
	// note returns the line that says how many lines were left out since a time. nil: no line does.
	note func(omitted int, since time.Time) []byte

	mu      sync.Mutex // guards the fields below
	lines   []queuedLine
	bytes   int           // of the texts in lines
	full    bool          // a line did not fit, and more than half of the queue is still unwritten
	omitted int           // lines left out since full is set
	since   time.Time     // when full was set
	room    chan struct{} // closed when full ends; nil: no goroutine waits for that
	writing bool          // drain runs
	stalled bool          // a caller has waited too long, and the queue was never empty since
}

// queuedLine is a line that waits.
type queuedLine struct {
	level   slog.Level
	text    []byte       // nil: there is nothing to write, see flush
	written chan<- error // gets what became of the line, nil: no caller waits
}

// put takes a line, or counts it if there is no room. It does not wait. The caller must not change
// the line afterwards. Once a line was left out, so are others until half of the queue is written: a
// slow reader gets many lines in a row, not every second one.
func (q *queue) put(level slog.Level, line []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.putLocked(queuedLine{level: level, text: line}) {
		q.omitted++
	}
}

// putLocked takes a line if there is room for it. An empty queue takes any line. q.mu must be held.
func (q *queue) putLocked(l queuedLine) bool {
	if len(q.lines) > 0 &&
		(q.full || len(q.lines) >= maxQueuedLines || q.bytes+len(l.text) > maxQueuedBytes) {
		if !q.full {
			q.full, q.since = true, time.Now()
		}
		return false
	}
	q.appendLocked(l)
	if !q.writing {
		q.writing = true
		go q.drain()
	}
	return true
}

// appendLocked puts a line behind the others. q.mu must be held.
func (q *queue) appendLocked(l queuedLine) {
	q.lines = append(q.lines, l)
	q.bytes += len(l.text)
}

// drain writes lines until there are no more. After an error the next line is tried all the same.
func (q *queue) drain() {
	for {
		l, ok := q.next()
		if !ok {
			return
		}
		var err error
		if l.text != nil {
			err = q.write(l.level, l.text)
		}
		if l.written != nil {
			l.written <- err
		}
	}
}

// next takes the oldest line out. It returns false if there is none; drain ends then.
func (q *queue) next() (l queuedLine, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		q.lines, q.writing, q.stalled = nil, false, false
		return queuedLine{}, false
	}
	l, q.lines[0] = q.lines[0], queuedLine{}
	q.lines = q.lines[1:]
	q.bytes -= len(l.text)
	if q.full && len(q.lines) <= maxQueuedLines/2 && q.bytes <= maxQueuedBytes/2 {
		q.openLocked()
	}
	return l, true
}

// openLocked lets the queue take lines again. The first one says how many were left out. q.mu must
// be held.
func (q *queue) openLocked() {
	if q.omitted > 0 && q.note != nil {
		q.appendLocked(queuedLine{level: slog.LevelWarn, text: q.note(q.omitted, q.since)})
	}
	q.full, q.omitted = false, 0
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// offer takes a line, whose caller waits for it with wait.
func (q *queue) offer(level slog.Level, line []byte) *offered {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := &offered{q: q, written: make(chan error, 1)}
	o.line = queuedLine{level, line, o.written}
	o.offerLocked()
	return o
}

// offered is a line whose caller waits until it is written.
type offered struct {
	q       *queue
	line    queuedLine
	written chan error      // gets what became of the line
	room    <-chan struct{} // closed when there is room for the line; nil: the queue has it
}

// offerLocked puts the line into the queue if there is room for it. q.mu must be held.
func (o *offered) offerLocked() {
	if o.room = nil; o.q.putLocked(o.line) {
		return
	}
	if o.q.room == nil {
		o.q.room = make(chan struct{})
	}
	o.room = o.q.room
}

// wait returns once the line is written, with the error of the writer. It waits for room too. If it
// lasts longer than limit, it returns an error. The line may be written later then, unless the
// error is errQueueFull.
func (o *offered) wait(limit time.Duration) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	for o.room != nil {
		select {
		case <-o.room:
			o.q.mu.Lock()
			o.offerLocked()
			o.q.mu.Unlock()
		case <-late.C:
			o.q.giveUp(1)
			return errQueueFull
		}
	}
	select {
	case err := <-o.written:
		return err
	case <-late.C:
		o.q.giveUp(0)
		return errNotWritten
	}
}

// giveUp records that a caller has waited too long, and how many lines are left out for that.
func (q *queue) giveUp(omitted int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stalled = true
	q.omitted += omitted
}

// isStalled reports whether a caller has waited too long, and the queue was never empty since.
func (q *queue) isStalled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stalled
}

// flush waits until all lines are written that were put before, at most for limit.
func (q *queue) flush(limit time.Duration) { _ = q.offer(0, nil).wait(limit) }
