package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	unfitPause   = 2 * time.Second // of a stream that a person must change
	// deniedPause is before the next connection of a user who lacks a permission. nats-server logs
	// each attempt.
	deniedPause = 10 * time.Second
	// rightsInterval is after how long a connection ends over which nothing may be published: the
	// user may have other creds by now.
	rightsInterval = time.Minute
	maxSessions    = 8
	// goodSession is how long a session lasts that has not failed at once.
	goodSession = 10 * time.Second
	// infoInterval is how often the stream is asked how far it is.
	infoInterval = 2 * time.Second
	// staleTimeout is how long the bucket must say what a leader that is cut off may say too, until
	// that counts. Such a leader has stepped down by then.
	staleTimeout = 15 * time.Second
	// maxApplied is how many revisions are applied at a time. They share a sync.
	maxApplied = 256
	// maxUnflushed is how many bytes the files may lack before more is read. The directory itself
	// takes pushes that have many times as much.
	maxUnflushed = 4 << 20
	// retryInterval is between two attempts to store what the directory has no room for.
	retryInterval = time.Second
)

// errOther ends a session whose bucket has become another one.
var errOther = errors.New("the bucket is another one than before")

// errMustCompare ends a session of which everything must be compared once more. The next one begins
// at once, and is not counted as failed.
var errMustCompare = errors.New("everything must be compared again")

// errChanged ends a session whose stream must be changed back.
var errChanged = errors.New("another program has changed the stream's configuration")

// errRights ends a session whose user may not publish.
var errRights = errors.New("another connection may have other rights")

// errStalled ends a session whose consumer says that it is alive, and delivers nothing.
var errStalled = errors.New("the consumer delivers nothing although there is more (was it paused?)")

// maxStalled is how often in a row watch finds the cursor where it was, before the end of the
// stream. That is some 6 s.
const maxStalled = 3

// follower reads the bucket over one connection after the other. Only the goroutine of Serve uses
// lost and tail. watch and Store.TrustIsNew use the atomic fields too.
type follower struct {
	*parts
	// mustCompare asks for another comparison of everything.
	mustCompare atomic.Bool
	keys        atomic.Int64 // how many the bucket had when it was last asked
	lost        since        // the bucket ends before the cursor
	tail        since        // it ends after its last message: those behind that were removed
}

// since is from when on something has been so; zero: it is not.
type since struct{ at time.Time }

// lasted returns for how long something has been so that is so now, or is not.
func (s *since) lasted(isSo bool) time.Duration {
	switch {
	case !isSo:
		s.at = time.Time{}
		return 0
	case s.at.IsZero():
		s.at = time.Now()
	}
	return time.Since(s.at)
}

// serve is Serve.
//
// serve returns when ctx has ended, after maxSessions that have failed one after the other, with
// errRights, and for a permission that is missing. Nothing of it runs any more then, and the
// cursor's file is written.
func (f *follower) serve(ctx context.Context, nc *nats.Conn) {
	f.stream.rights.use(nc)
	f.stream.conn.Store(nc)
	// Another Serve may have put its own there.
	defer f.stream.conn.CompareAndSwap(nc, nil)
	defer f.revisions.save()
	asking, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { f.syncing.serve(asking, nc, true) })
	for failed := 0; failed < maxSessions && ctx.Err() == nil; {
		began := time.Now()
		err := f.session(ctx, nc)
		switch {
		case ctx.Err() != nil, errors.Is(err, errRights):
			return
		case errors.Is(err, errMustCompare):
			continue
		}
		f.status.setLeader(err)
		// A stream that was made a moment ago is not known to every nats-server.
		if failed > 0 || !errors.Is(err, nats.ErrNoResponders) {
			f.setFailed(err)
		}
		if failed++; time.Since(began) > goodSession {
			failed = 0
		}
		if asDenied(err) != nil {
			pause.For(ctx, deniedPause)
			return // another connection may have other rights
		}
		if f.status.now().unfit != "" {
			pause.For(ctx, unfitPause)
		}
		pause.For(ctx, sessionPause)
	}
}

// setFailed records why a session has ended, and logs it if that is due. A denial is logged already.
func (f *follower) setFailed(err error) {
	if f.status.setFailed(err.Error()) && asDenied(err) == nil {
		f.log.Warn(fmt.Sprintf("the bucket %s can't be followed now: %s; stored accounts are served, "+
			"and it is tried again", f.stream.bucket, err))
	}
}

// session is one reading of the bucket without a gap. A gap in what its consumer delivers ends it.
// Its methods run in the goroutine of Serve, except watch, applyOne and what a pass does with many
// keys at once.
type session struct {
	*follower
	ctx  context.Context
	nc   *nats.Conn
	from streamInfo // as it was when the session began
	end  revision   // the last one then; the zero revision if there was none
	// target is the revision that must have been applied until the bucket has been read.
	target uint64
}

// session reads the bucket until something fails. The error says why it has ended, and is never
// nil.
func (f *follower) session(ctx context.Context, nc *nats.Conn) error {
	// The stream is made or changed before anything is read: what a stream of another kind
	// acknowledges may be lost.
	i, err := f.stream.ensure(ctx, nc)
	f.status.setUnfit(err)
	if err != nil {
		return fmt.Errorf("asking for the stream: %w", err)
	}
	// The end is taken from the last message, and not from the stream's last_seq. Another leader
	// may have answered, and the target must be what a consumer delivers.
	end, err := f.stream.last(ctx, nc, f.stream.prefix+">")
	if err != nil {
		return fmt.Errorf("asking for the last revision: %w", err)
	}
	if i.Cluster.hasMajority() {
		f.status.setLeader(nil)
	}
	f.stream.probe(ctx, nc)
	ss := &session{follower: f, ctx: ctx, nc: nc, from: i, end: end, target: end.seq}
	kind, err := ss.judge()
	if err != nil {
		return err
	}
	// The request is cleared before the comparison: one that comes meanwhile asks for another.
	if kind != passNone {
		f.mustCompare.Store(false)
		if err := ss.pass(kind); err != nil {
			f.mustCompare.Store(true)
			return err
		}
	}
	ss.skipTail()
	return ss.follow()
}

// skipTail moves the cursor to the end of a bucket of which the last messages were removed. An old
// leader does not know the last message either, if another one was asked for the end. Without
// skipTail the server would count as behind for ever.
func (ss *session) skipTail() {
	at, last := ss.revisions.now().of(ss.from.id()), ss.from.State.LastSeq
	if ss.tail.lasted(ss.end.seq <= at && at < last) >= staleTimeout {
		ss.revisions.move(newCursor(ss.from.id(), last, ss.end))
	}
}

// follow applies what comes after the cursor. follow applies a batch, then moves the cursor, then
// says how far it is. A batch whose end was not reached is delivered again by the next consumer.
func (ss *session) follow() error {
	c, err := ss.stream.consume(ss.ctx, ss.nc, nats.ConsumerConfig{
		DeliverPolicy: nats.DeliverByStartSequencePolicy,
		OptStartSeq:   ss.revisions.now().Seq + 1})
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	defer c.close()
	watch, stop := context.WithCancelCause(ss.ctx)
	defer stop(nil)
	go ss.watch(watch, stop)
	ss.note()
	for {
		if ss.mustCompare.Load() {
			return errMustCompare
		}
		ss.dir.FlushOver(maxUnflushed)
		batch, err := c.nextBatch(watch)
		if err != nil {
			return err
		}
		ss.setReading()
		if err := ss.applyAll(batch); err != nil {
			return err
		}
		// A revision that the policy refuses, or without a key, moves the cursor too.
		if n := len(batch); n > 0 {
			last := batch[n-1]
			ss.revisions.move(newCursor(ss.from.id(), last.seq, last))
		}
		ss.note()
	}
}

// setReading records that something has come from the bucket.
func (ss *session) setReading() {
	if lasted := ss.status.setReading(); lasted > 0 {
		ss.stream.log.Info(fmt.Sprintf("the bucket %s is followed again, after %s",
			ss.stream.bucket, lasted.Round(100*time.Millisecond)))
	}
}

// applyAll applies revisions, of each key only the last. Tokens come after accounts. Up to
// maxApplied go on at once, and share the syncs of the journal. A token needs its account.
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

// applyOne applies a revision, and tries until the directory can take it. The error means that ctx
// has ended. So the cursor never passes a revision that is in no journal here. nil also says that
// it was refused.
func (ss *session) applyOne(r revision) error {
	for {
		var err error
		isRefused := r.isMarker
		if !r.isMarker {
			isRefused, err = ss.applier.apply(ss.ctx, r)
		}
		if err == nil && isRefused && !r.isOfServer() {
			err = ss.restore(r)
		}
		if err == nil {
			return nil
		}
		if ss.ctx.Err() != nil {
			return context.Cause(ss.ctx)
		}
		ss.status.setFault(err)
		ss.log.Error(fmt.Sprintf("%s - revision %d of the bucket can't be stored on this server: %s; "+
			"it is tried again", logging.ShortKey(r.key), r.seq, err))
		pause.For(ss.ctx, retryInterval)
	}
}

// restore puts back what an administrator has deleted or replaced with another program. If a later
// revision is in the bucket by now, that is taken instead.
func (ss *session) restore(r revision) error {
	if r.isMarker {
		ss.log.Warn(fmt.Sprintf("%s - revision %d of the bucket is a delete marker of another program: "+
			"what is stored here is put back; delete accounts by an order of the operator",
			logging.ShortKey(r.key), r.seq))
	}
	_, err := ss.settler.settle(ss.ctx, r.key, settleOptions{})
	return err
}

// note records how far this server is.
func (ss *session) note() {
	seq := ss.revisions.now().Seq
	if !ss.status.setApplied(seq, ss.target) {
		return
	}
	ss.stream.log.Info(fmt.Sprintf("the bucket %s has been read up to revision %d", ss.stream.bucket, seq))
}

// lacksKeys reports whether accounts are to be compared again, since the bucket has fewer keys than
// before. No account server removes one: a limit did, which another program has set. A call counts
// the keys anew: the second of two finds no difference, but mustCompare stays set.
func (f *follower) lacksKeys(i streamInfo) bool {
	if !i.Cluster.hasMajority() { // it may be old
		return f.mustCompare.Load()
	}
	if had := f.keys.Swap(int64(i.State.Keys)); int64(i.State.Keys) < had {
		f.log.Warn(fmt.Sprintf("the bucket %s has %d keys, and had %d: what is stored here is put back "+
			"(has another program set a limit?)", f.stream.bucket, i.State.Keys, had))
		f.mustCompare.Store(true)
	}
	return f.mustCompare.Load()
}

// watch asks how far the stream is, and ends the session if it is another one, or no revision
// comes. It runs beside follow, asks every infoInterval, and returns when ctx has ended. stop ends
// the wait of follow for the next message.
func (ss *session) watch(ctx context.Context, stop context.CancelCauseFunc) {
	began := time.Now()
	last, stalled := uint64(0), 0
	for pause.For(ctx, infoInterval) {
		if ss.stream.rights.refusing() != "" && time.Since(began) > rightsInterval {
			stop(errRights)
			return
		}
		// The cursor moves while the question is on its way.
		before := ss.revisions.now().of(ss.from.id())
		i, err := ss.stream.info(ctx, ss.nc)
		if err == nil && !i.Cluster.hasMajority() {
			err = errNoMajority
		}
		ss.status.setLeader(err)
		if err != nil {
			continue // the consumer finds out whether there is still one
		}
		ss.syncing.setCluster(i)
		ss.status.setEnd(i.State.LastSeq)
		if i.id() != ss.from.id() || i.State.LastSeq < before {
			stop(errOther)
			return
		}
		if ss.stream.isChanged(i) {
			stop(errChanged)
			return
		}
		if ss.lacksKeys(i) {
			stop(errMustCompare)
			return
		}
		if before != last || before == i.State.LastSeq {
			last, stalled = before, 0
		} else if stalled++; stalled == maxStalled {
			stop(errStalled)
			return
		}
	}
}
