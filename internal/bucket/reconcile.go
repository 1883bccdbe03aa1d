package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// How often a key is tried, and how long after the last attempt.
const (
	maxSettles  = 20
	settlePause = 50 * time.Millisecond
)

// maxSettled is how many keys are settled at a time. The nats-servers sync what comes together at once.
const maxSettled = 256

// passKind says how the bucket is compared with the directory.
type passKind int

const (
	passNone   passKind = iota // it was, by this process
	passStart                  // the process has just started
	passFirst                  // this server has never read this bucket
	passRepair                 // the bucket has lost revisions
)

// judge says what is to be done with the bucket before it is followed. The error means that this is not
// known yet.
func (s *Store) judge(i stream) (passKind, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.progress
	isLost := i.id == s.cursor.ID && i.State.LastSeq < s.cursor.Seq
	switch {
	case !isLost:
		p.lostSeen = time.Time{}
	case p.lostSeen.IsZero():
		p.lostSeen = time.Now()
	}
	switch {
	case isLost && i.replicas > 1 && time.Since(p.lostSeen) < lostTimeout:
		return passNone, fmt.Errorf("the bucket ends with revision %d, and %d was read before: "+
			"it is asked for some seconds more, since its leader may be cut off",
			i.State.LastSeq, s.cursor.Seq)
	case isLost:
		s.Log.Error(fmt.Sprintf("the bucket %s has lost what it acknowledged: it ends with revision %d, "+
			"and %d was read before; it is repaired from this server's directory "+
			"(do its nats-servers set sync_interval: always?)", s.Bucket, i.State.LastSeq, s.cursor.Seq))
		return passRepair, nil
	case i.id != s.cursor.ID && s.cursor.ID != "":
		s.Log.Error(fmt.Sprintf("the bucket %s is another one than before: it was made anew; "+
			"it is filled from this server's directory", s.Bucket))
		p.isFirst = true
		return passFirst, nil
	case i.id != s.cursor.ID:
		s.Log.Info(fmt.Sprintf("the bucket %s is read for the first time: it is compared with the directory",
			s.Bucket))
		return passFirst, nil
	case s.isCaughtUp():
		return passNone, nil
	}
	return passStart, nil
}

// pass is one comparison of everything.
type pass struct {
	*session
	kind    passKind
	cursor  uint64 // what is beyond it is taken
	mu      sync.Mutex
	seen    map[string]struct{}
	taken   int
	offered int
}

// pass compares the last revision of every key with the directory. After that the cursor is where the
// bucket ended when the session began.
func (ss *session) pass(kind passKind) error {
	if err := ss.accounts.RescanChanged(ss.ctx); err != nil && ss.ctx.Err() != nil {
		return err
	}
	began := time.Now()
	p := &pass{session: ss, kind: kind, seen: map[string]struct{}{}}
	if kind == passStart {
		ss.Store.mu.Lock()
		p.cursor = ss.Store.cursor.Seq
		ss.Store.mu.Unlock()
	}
	if kind != passStart {
		// Revisions of another bucket, or of one that has begun anew, say nothing.
		ss.Store.mu.Lock()
		clear(ss.revisions)
		ss.Store.mu.Unlock()
	}
	if kind == passFirst {
		// What the others have announced long ago is owed to no nats-server. No push comes meanwhile.
		restore := ss.Outbox().Quiet()
		defer restore()
	}
	if err := p.read(); err != nil {
		return err
	}
	found := len(p.seen)
	if err := p.offerRest(); err != nil {
		return err
	}
	i, err := ss.info(ss.ctx, ss.nc)
	if err != nil {
		return fmt.Errorf("asking for the stream: %w", err)
	}
	ss.Store.mu.Lock()
	ss.Store.cursor = cursor{ss.from.id, max(ss.target, ss.from.State.LastSeq, p.cursor)}
	ss.progress.isFirst = false
	ss.progress.lastSeq = i.State.LastSeq
	ss.Store.mu.Unlock()
	ss.saveCursor()
	end, err := ss.last(ss.ctx, ss.nc, ss.prefix+">")
	if err != nil {
		return fmt.Errorf("asking for the last revision: %w", err)
	}
	ss.target = end.seq
	ss.Log.Info(fmt.Sprintf("compared the bucket %s with the directory in %s: %s, took %d, offered %d",
		ss.Bucket, time.Since(began).Round(time.Millisecond),
		logging.Count(found, "key in it", "keys in it"), p.taken, p.offered))
	return nil
}

// read reads the last revision of every key. If the directory has most of them already, their headers
// are enough.
func (p *pass) read() error {
	if p.target == 0 {
		return nil
	}
	hasSome := false
	for range p.Index().Known() {
		hasSome = true
		break
	}
	c, err := p.consume(p.ctx, p.nc, consumerConfig{DeliverPolicy: "last_per_subject",
		FilterSubject: p.prefix + ">", HeadersOnly: hasSome})
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	defer c.close()
	for end := uint64(0); end < p.target; {
		batch, err := p.nextBatch(p.ctx, c)
		if err != nil {
			return err
		}
		if err := p.compareAll(batch); err != nil {
			return err
		}
		if n := len(batch); n > 0 {
			end = batch[n-1].seq
		}
	}
	return nil
}

// compareAll compares revisions with the directory.
func (p *pass) compareAll(batch []revision) error {
	var comparing errgroup.Group
	comparing.SetLimit(maxApplied)
	for _, r := range batch {
		if r.key == "" {
			continue
		}
		p.seen[r.key] = struct{}{}
		comparing.Go(func() error { return p.compare(r) })
	}
	return comparing.Wait()
}

// compare compares one revision.
func (p *pass) compare(r revision) error {
	isSame, isUnknown, err := p.compareLocal(r)
	switch {
	case err != nil || isSame:
		return err
	case isUnknown && r.value != nil && !r.isMarker:
		p.count(true)
		return p.applyOne(r)
	}
	return p.settleKey(r.key)
}

// compareLocal reports whether the directory has the same as a revision, or nothing of its key.
func (p *pass) compareLocal(r revision) (isSame, isUnknown bool, err error) {
	theirs, hasHash := r.hash()
	hasHash = hasHash && !r.isMarker
	known := p.Index().Get(r.key)
	if token, _, err := p.local(r.key); trust.IsActivationHash(r.key) {
		return hasHash && token != nil && hashOf(token) == theirs, token == nil, err
	}
	if known.Stored() {
		return hasHash && !r.isTombstone() && known.Hash == theirs, false, nil
	}
	tombstone, err := p.tombstone(r.key)
	if tombstone == nil || err != nil {
		return false, known == (jwtstore.Version{}), err
	}
	return hasHash && r.isTombstone() && hashOf(tombstone) == theirs, false, nil
}

// count counts what was taken or offered.
func (p *pass) count(taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if taken {
		p.taken++
	} else {
		p.offered++
	}
}

// settleKey settles one key of the pass.
func (p *pass) settleKey(key string) error {
	return p.settle(p.ctx, key, settleOptions{isKnown: p.kind != passStart, cursor: p.cursor, done: p.count})
}

// offerRest offers what the bucket lacks.
func (p *pass) offerRest() error {
	var offering errgroup.Group
	offering.SetLimit(maxSettled)
	offer := func(key string) {
		if _, isSeen := p.seen[key]; !isSeen {
			p.seen[key] = struct{}{}
			offering.Go(func() error { return p.settleKey(key) })
		}
	}
	for key := range p.Index().Known() {
		offer(key)
	}
	if p.kind != passStart { // an index that is new lacks them
		for key := range p.Kept() {
			offer(key)
		}
	}
	return offering.Wait()
}

// settleOptions say how a key is settled.
type settleOptions struct {
	isKnown bool   // every revision counts as one that was applied here before
	cursor  uint64 // revisions up to it do
	done    func(taken bool)
}

// settle makes the directory and the bucket have the same of one key. The error means that this can't be
// done now.
func (s *Store) settle(ctx context.Context, key string, o settleOptions) error {
	unlock, err := s.keys.Lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	for range maxSettles {
		if err = s.settleOnce(ctx, key, o); err == nil || !pause.For(ctx, settlePause) {
			break
		}
	}
	return err
}

// settleOnce is one attempt of settle.
func (s *Store) settleOnce(ctx context.Context, key string, o settleOptions) error {
	nc := s.conn.Load()
	if nc == nil {
		return errNotConnected
	}
	theirs, err := s.last(ctx, nc, s.subject(key))
	if err != nil {
		return err
	}
	ours, kind, err := s.local(key)
	if err != nil {
		return err
	}
	if theirs.seq > 0 && !theirs.isMarker {
		switch {
		case ours != nil && hashOf(ours) == hashOf(theirs.value):
			return nil
		case s.takes(theirs, ours, o):
			refused, err := s.applyAs(ctx, theirs, applied{seq: theirs.seq, again: true})
			if err == nil && !refused && o.done != nil {
				o.done(true)
			}
			if err != nil || !refused {
				return err
			}
		}
	}
	if ours == nil {
		return nil
	}
	return s.offer(ctx, nc, key, kind, ours, theirs.seq, o)
}

// takes reports whether the directory takes what the bucket has.
func (s *Store) takes(theirs revision, ours []byte, o settleOptions) bool {
	isBeyond := !o.isKnown && theirs.seq > o.cursor
	return ours == nil || isBeyond || theirs.isOverride() || accounts.Wins(theirs.value, ours)
}

// offer publishes what the directory has.
func (s *Store) offer(
	ctx context.Context, nc *nats.Conn, key, kind string, value []byte, expected uint64, o settleOptions,
) error {
	seq, err := s.publish(ctx, nc, key, s.header(kind, doorOffer, "", value, false), value, expected)
	if _, isRetry := errors.AsType[*publishError](err); err != nil && !isRetry {
		s.log.Error(fmt.Sprintf("%s - what is stored here can't be put into the bucket: %s",
			logging.ShortKey(key), err))
		return nil // the others are settled all the same
	}
	if err != nil {
		return err
	}
	s.begin(key, applied{seq: seq})
	if o.done != nil {
		o.done(false)
	}
	return nil
}

// local returns what the directory has of a key that may be offered: a JWT that can be served, or the
// tombstone of a deleted account. nil is nothing.
func (s *Store) local(key string) (value []byte, kind string, err error) {
	isToken := trust.IsActivationHash(key)
	known := s.Index().Get(key)
	if isToken || known.Stored() {
		value, _, err = s.Load(key, jwtstore.Stamp{})
		value = bytes.TrimSpace(value)
		isGood := known.Servable
		if isToken {
			isGood = activations.Check(key, value) == nil
		}
		switch {
		case err == nil && isGood:
			return value, kindJWT, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", err // nil if no operator of ours has signed it, or it is damaged
		}
	}
	value, err = s.tombstone(key)
	return value, kindTombstone, err
}

// tombstone returns the tombstone of an account; nil if it was never deleted.
func (s *Store) tombstone(key string) ([]byte, error) {
	if !trust.IsAccountKey(key) {
		return nil, nil
	}
	text, err := s.Tombstone(key)
	return accounts.WholeTombstone(text), err
}

// Offer brings an account to the other servers that was changed by hand in the directory. What loses
// against the bucket is replaced. It waits for the bucket.
func (s *Store) Offer(ctx context.Context, key string) error {
	s.mu.Lock()
	o := settleOptions{cursor: s.cursor.Seq, isKnown: s.cursor.ID == ""}
	s.mu.Unlock()
	return s.settle(ctx, key, o)
}
