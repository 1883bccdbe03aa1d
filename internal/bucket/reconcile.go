package bucket

import (
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/logging"
)

// maxSettled is how many keys are settled at a time. The nats-servers sync what comes together at
// once.
const maxSettled = 256

// passKind says how the bucket is compared with the directory.
type passKind int

const (
	passNone   passKind = iota // it was, by this process
	passStart                  // the process has just started, or has other operators
	passFirst                  // this server has never read this bucket
	passRepair                 // the bucket has lost revisions
)

// judge says what is to be done with the bucket before it is followed. The error means that this is
// not known yet.
//
// After a loss revisions do not decide what is taken, and times do. So a leader that is cut off
// must not be taken for a loss. A bucket that was made anew, or has lost something, is logged as an
// error.
func (ss *session) judge() (passKind, error) {
	f, i, c := ss.follower, ss.from, ss.revisions.now()
	// A bucket that was restored is known by its last message, or ends too early. The latter is also
	// what a leader says that is cut off.
	found, err := f.stream.identify(ss.ctx, ss.nc, i, c)
	if err != nil {
		return passNone, err
	}
	// One nats-server alone has no other leader: it is believed at once.
	lostFor := f.lost.lasted(found == shorterBucket)
	name := f.stream.bucket
	switch {
	case found == replacedBucket:
		f.stream.log.Error(fmt.Sprintf("the bucket %s has lost what it acknowledged: revision %d is another "+
			"one than was read before, as when a backup was restored; it is repaired from this server's "+
			"directory", name, c.Last))
		return passRepair, nil
	case found == shorterBucket && i.replicas() > 1 && lostFor < staleTimeout:
		return passNone, fmt.Errorf("the bucket ends with revision %d, and %d was read before: "+
			"it is asked for some seconds more, since its leader may be cut off", i.State.LastSeq, c.Seq)
	case found == shorterBucket:
		f.stream.log.Error(fmt.Sprintf("the bucket %s has lost what it acknowledged: "+
			"it ends with revision %d, and %d was read before; it is repaired from this server's directory "+
			"(was a backup restored? do its nats-servers set sync_interval: always?)",
			name, i.State.LastSeq, c.Seq))
		return passRepair, nil
	case found == otherBucket && c.ID != "":
		f.stream.log.Error(fmt.Sprintf("the bucket %s is another one than before: it was made anew; "+
			"it is filled from this server's directory", name))
		// Until it has been compared no push is taken: revisions of before say nothing of this one.
		f.status.setFirst(true)
		return passFirst, nil
	case found == otherBucket:
		f.stream.log.Info(fmt.Sprintf("the bucket %s is read for the first time: "+
			"it is compared with the directory", name))
		return passFirst, nil
	case f.status.isCaughtUp() && !f.lacksKeys(i):
		return passNone, nil
	}
	return passStart, nil
}

// pass is one comparison of everything.
type pass struct {
	*session
	kind    passKind
	applied uint64 // what is beyond it is taken; allRevisions unless the kind is passStart
	seen    keySet

	mu     sync.Mutex      // guards counts
	counts map[settled]int // of keys
}

// pass compares the last revision of every key with the directory. After that the cursor is where
// the bucket ended when the session began.
//
// It reads the bucket, settles what differs, then offers what the bucket lacks, and only then moves
// the cursor. An error before that leaves the cursor's file as it was, and the next session
// compares again; what has been settled by then is the same on both sides, and costs a comparison
// of hashes.
func (ss *session) pass(kind passKind) error {
	// Any other error is one of a file or a shard: the rest is compared all the same.
	if err := ss.applier.policy.Load().accounts.RescanChanged(ss.ctx); err != nil && ss.ctx.Err() != nil {
		return err
	}
	began := time.Now()
	p := &pass{session: ss, kind: kind, applied: allRevisions, counts: map[settled]int{},
		seen: keySet{maphash.MakeSeed(), map[uint64]struct{}{}}}
	if kind == passStart {
		p.applied = ss.revisions.now().Seq
		ss.revisions.setCompared(0)
	} else {
		ss.revisions.forget()
	}
	if kind == passFirst {
		// What the others have announced long ago is owed to no nats-server. No push comes
		// meanwhile.
		restore := ss.dir.Outbox().Quiet()
		defer restore()
	}
	if err := p.read(); err != nil {
		return err
	}
	found := len(p.seen.hashes)
	// Keys that came into the bucket meanwhile are offered too: that fails, and they are compared.
	if err := p.offerRest(); err != nil {
		return err
	}
	if err := p.finish(); err != nil {
		return err
	}
	ss.stream.log.Info(fmt.Sprintf("compared the bucket %s with the directory in %s: %s, took %d, offered %d",
		ss.stream.bucket, time.Since(began).Round(time.Millisecond),
		logging.Count(found, "key in it", "keys in it"), p.counts[taken], p.counts[offered]))
	return nil
}

// finish moves the cursor. Everything up to it is in the journal, or was refused, or was replaced.
func (p *pass) finish() error {
	i, err := p.stream.info(p.ctx, p.nc)
	if err != nil {
		return fmt.Errorf("asking for the stream: %w", err)
	}
	// Not where the stream says that it ends: another leader may have said that.
	seq := p.target
	if p.kind == passStart {
		seq = max(seq, p.applied)
	}
	p.revisions.set(newCursor(p.from.id(), seq, p.end))
	p.status.setFirst(false)
	p.status.setEnd(i.State.LastSeq)
	p.keys.Store(int64(i.State.Keys))
	// The bucket has been read only when what was offered, and what came meanwhile, has been followed.
	end, err := p.stream.last(p.ctx, p.nc, p.stream.prefix+">")
	if err != nil {
		return fmt.Errorf("asking for the last revision: %w", err)
	}
	p.target = end.seq
	return nil
}

// maxAsked is how many values are asked for at a time, one by one. Their commits share a sync.
const maxAsked = 16

// manyChanged is of how many keys one must have changed for all values to be read.
const manyChanged = 8

// readsHeaders reports whether headers are read, which have the hashes, and the values that differ
// are asked for. So it is in a server that has read this bucket before, unless very much has come
// since: all accounts may have been signed anew meanwhile.
func (p *pass) readsHeaders() bool {
	came := p.target - min(p.applied, p.target)
	return p.kind == passStart && came <= uint64(p.from.State.Keys/manyChanged)
}

// read reads the last revision of every key, and settles what differs. A bucket without a message
// costs no consumer.
func (p *pass) read() error {
	if p.target == 0 {
		return nil
	}
	c, err := p.stream.consume(p.ctx, p.nc, nats.ConsumerConfig{
		DeliverPolicy: nats.DeliverLastPerSubjectPolicy,
		FilterSubject: p.stream.prefix + ">",
		HeadersOnly:   p.readsHeaders(),
	})
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	defer c.close()
	// The messages come in the order of their revisions. So the end is reached with the first one
	// at or beyond the target.
	for end := uint64(0); end < p.target; {
		p.dir.FlushOver(maxUnflushed)
		batch, err := c.nextBatch(p.ctx)
		if err != nil {
			return err
		}
		p.setReading()
		if n := len(batch); n > 0 {
			end = batch[n-1].seq
		}
		if err := p.compareAll(batch); err != nil {
			return err
		}
		p.revisions.setCompared(min(end, p.target))
	}
	return nil
}

// compareAll compares revisions with the directory, many at a time. After an error none is begun:
// each might try for as long, and the next session compares all of them.
func (p *pass) compareAll(batch []revision) error {
	comparing, unlessFailed := errgroup.WithContext(p.ctx)
	comparing.SetLimit(maxApplied)
	if p.readsHeaders() {
		comparing.SetLimit(maxAsked)
	}
	for _, r := range batch {
		if r.key == "" {
			continue
		}
		p.seen.add(r.key)
		comparing.Go(func() error {
			if err := unlessFailed.Err(); err != nil {
				return err
			}
			return p.compare(r)
		})
	}
	return comparing.Wait()
}

// compare compares one revision with the directory. If they differ and only the header has been
// read, the value is asked for. Many goroutines call it at once. What the directory has never had is
// applied without the key's lock: a push that comes meanwhile has a later revision.
func (p *pass) compare(r revision) error {
	isSame, isUnknown, err := p.settler.compare(r)
	switch {
	case err != nil || isSame:
		return err
	case r.value == nil && !r.isMarker:
		p.dir.FlushOver(maxUnflushed)
		return p.settleKey(r.key, nil)
	case isUnknown && !r.isMarker:
		p.count(taken)
		return p.applyOne(r)
	}
	return p.settleKey(r.key, &r)
}

// count counts what was taken or offered.
func (p *pass) count(what settled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[what]++
}

// settleKey settles one key of the pass. theirs is what the bucket has, as far as it is known. nil
// asks the leader, and the zero revision says that there is nothing.
func (p *pass) settleKey(key string, theirs *revision) error {
	what, err := p.settler.settle(p.ctx, key, settleOptions{applied: p.applied, theirs: theirs})
	p.count(what)
	return err
}

// offerRest offers what the bucket lacks. A key that the bucket has by now makes the publish fail,
// and is then settled with what it has. Up to maxSettled keys go on at once, and none is begun after
// an error.
func (p *pass) offerRest() error {
	offering, unlessFailed := errgroup.WithContext(p.ctx)
	offering.SetLimit(maxSettled)
	offer := func(key string) {
		if !p.seen.add(key) {
			return
		}
		offering.Go(func() error {
			if err := unlessFailed.Err(); err != nil {
				return err
			}
			return p.settleKey(key, &revision{})
		})
	}
	for key := range p.dir.Index().Known() {
		offer(key)
	}
	if p.kind != passStart { // an index that is new lacks them
		for key := range p.dir.Kept() {
			offer(key)
		}
	}
	return offering.Wait()
}

// keySet is a set of keys. It has their hashes, which are a fifth as long. If two of a million keys
// have the same hash, for which the chance is one in thirty million, one of them is not offered
// before the next start. It has no lock: the goroutine of the pass uses it.
type keySet struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

// add adds a key, and reports whether it is new.
func (s keySet) add(key string) (isNew bool) {
	hash := maphash.String(s.seed, key)
	_, has := s.hashes[hash]
	s.hashes[hash] = struct{}{}
	return !has
}
