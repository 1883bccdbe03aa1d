package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

const (
	// sessionPause is between two sessions. After maxSessions that have failed at once, another
	// nats-server is tried: this one may be cut off from the others.
	sessionPause = 250 * time.Millisecond
	maxSessions  = 8
	// goodSession is how long a session lasts that has not failed at once.
	goodSession = 10 * time.Second
	// infoInterval is how often the stream is asked how far it is.
	infoInterval = 2 * time.Second
	// lostTimeout is how long the bucket must end before the cursor, until it counts as lost. A leader that
	// is cut off says so too, and has stepped down by then.
	lostTimeout = 15 * time.Second
	// maxApplied is how many revisions are applied at a time. They share a sync.
	maxApplied = 256
	// retryInterval is between two attempts to store what the directory has no room for.
	retryInterval = time.Second
)

// errOther ends a session whose bucket has become another one.
var errOther = errors.New("the bucket is another one than before")

// Serve follows the bucket over a connection and lets changes be committed. It returns when ctx has
// ended, or when another connection should be tried.
func (s *Store) Serve(ctx context.Context, nc *nats.Conn) {
	s.conn.Store(nc)
	defer s.conn.CompareAndSwap(nc, nil)
	defer s.saveCursor()
	asking, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { s.serveOwn(asking, nc) })
	for failed := 0; failed < maxSessions && ctx.Err() == nil; {
		began := time.Now()
		err := s.session(ctx, nc)
		if ctx.Err() != nil {
			return
		}
		s.setFailed(err)
		if failed++; time.Since(began) > goodSession {
			failed = 0
		}
		pause.For(ctx, sessionPause)
	}
}

// setFailed records why a session has ended, and logs it if the last one has ended otherwise.
func (s *Store) setFailed(err error) {
	s.mu.Lock()
	isNew := s.progress.failed != err.Error()
	s.progress.failed = err.Error()
	s.mu.Unlock()
	if isNew {
		s.log.Warn(fmt.Sprintf("the bucket %s can't be followed now: %s; stored accounts are served, "+
			"and it is tried again", s.Bucket, err))
	}
}

// setFault records why a revision can't be stored here; nil: it can.
func (s *Store) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.fault = err
}

// session is one reading of the bucket without a gap.
type session struct {
	*Store
	ctx  context.Context
	nc   *nats.Conn
	from stream // as it was when the session began
	// target is the revision that must have been applied until the bucket has been read.
	target uint64
}

// session reads the bucket until something fails.
func (s *Store) session(ctx context.Context, nc *nats.Conn) error {
	i, err := s.ensure(ctx, nc)
	if err != nil {
		return fmt.Errorf("asking for the stream: %w", err)
	}
	end, err := s.last(ctx, nc, s.prefix+">")
	if err != nil {
		return fmt.Errorf("asking for the last revision: %w", err)
	}
	ss := &session{Store: s, ctx: ctx, nc: nc, from: i, target: end.seq}
	kind, err := s.judge(i)
	if err != nil {
		return err
	}
	if kind == passNone && end.seq <= s.cursorOf(i.id) { // revisions after it may have been removed
		s.moveCursor(i.id, i.State.LastSeq)
	}
	if kind != passNone {
		if err := ss.pass(kind); err != nil {
			return err
		}
	}
	return ss.follow()
}

// follow applies what comes after the cursor.
func (ss *session) follow() error {
	ss.mu.Lock()
	start := ss.cursor.Seq + 1
	ss.mu.Unlock()
	c, err := ss.consume(ss.ctx, ss.nc, consumerConfig{DeliverPolicy: "by_start_sequence", StartSeq: start})
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	defer c.close()
	watch, stop := context.WithCancelCause(ss.ctx)
	defer stop(nil)
	go ss.watch(watch, stop)
	ss.note()
	for {
		batch, err := ss.nextBatch(watch, c)
		if err != nil {
			return err
		}
		if err := ss.applyAll(batch); err != nil {
			return err
		}
		if n := len(batch); n > 0 {
			ss.moveCursor(ss.from.id, batch[n-1].seq)
		}
		ss.note()
	}
}

// nextBatch waits for a revision, and returns it with those that are there already. A sign of life is an
// empty batch.
func (ss *session) nextBatch(ctx context.Context, c *consumer) (batch []revision, err error) {
	r, err := c.next(ctx)
	for ok := true; ok && err == nil; r, ok, err = c.ready() {
		if r.seq > 0 {
			batch = append(batch, r)
		}
		if len(batch) == maxApplied {
			return batch, nil
		}
	}
	return batch, err
}

// applyAll applies revisions, of each key only the last. Tokens come after accounts.
func (ss *session) applyAll(batch []revision) error {
	lastOf := map[string]int{}
	for i, r := range batch {
		lastOf[r.key] = i
	}
	for _, tokens := range []bool{false, true} {
		var applying errgroup.Group
		applying.SetLimit(maxApplied)
		for i, r := range batch {
			if r.key == "" || lastOf[r.key] != i || trust.IsActivationHash(r.key) != tokens {
				continue
			}
			applying.Go(func() error { return ss.applyOne(r) })
		}
		if err := applying.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// applyOne applies a revision, and tries until the directory can take it. The error means that ctx has
// ended.
func (ss *session) applyOne(r revision) error {
	for {
		var err error
		switch {
		case r.isMarker:
			err = ss.restore(r)
		default:
			_, err = ss.apply(ss.ctx, r)
		}
		if err == nil {
			return nil
		}
		if ss.ctx.Err() != nil {
			return context.Cause(ss.ctx)
		}
		ss.setFault(err)
		ss.log.Error(fmt.Sprintf("%s - revision %d of the bucket can't be stored on this server: %s; "+
			"it is tried again", logging.ShortKey(r.key), r.seq, err))
		pause.For(ss.ctx, retryInterval)
	}
}

// restore puts back what an administrator has deleted with another program.
func (ss *session) restore(r revision) error {
	ss.log.Warn(fmt.Sprintf("%s - revision %d of the bucket is a delete marker of another program: "+
		"what is stored here is put back; delete accounts by an order of the operator",
		logging.ShortKey(r.key), r.seq))
	return ss.settle(ss.ctx, r.key, settleOptions{})
}

// note records how far this server is.
func (ss *session) note() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	p := &ss.progress
	seq := ss.cursor.Seq
	p.failed, p.fault = "", nil
	p.behind = 0
	if end := max(ss.target, p.lastSeq); end > seq {
		p.behind = end - seq
	}
	if p.behind == 0 {
		p.heard = time.Now()
	}
	if seq >= ss.target && !ss.isCaughtUp() {
		close(ss.caughtUp)
		ss.Log.Info(fmt.Sprintf("the bucket %s has been read up to revision %d", ss.Bucket, seq))
	}
}

// watch asks how far the stream is, and ends the session if it is another one.
func (ss *session) watch(ctx context.Context, stop context.CancelCauseFunc) {
	for pause.For(ctx, infoInterval) {
		before := ss.cursorOf(ss.from.id) // it moves while the question is on its way
		i, err := ss.info(ctx, ss.nc)
		if err != nil {
			continue // the consumer finds out whether there is still one
		}
		ss.checkSync(i)
		ss.mu.Lock()
		isOther := i.id != ss.from.id || i.State.LastSeq < before
		ss.progress.lastSeq = i.State.LastSeq
		ss.mu.Unlock()
		if isOther {
			stop(errOther)
			return
		}
	}
}
