package bucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// allowPut and allowDelete are what a Put and a Delete ask. Each is called under the directory's
// lock of the key, with what is stored. An error of it ends the change. The result goes into the
// index, or in the place of the JWT. The floor of a Version is the JWT that is put.
type (
	allowPut    = func(jwtstore.Stored) (jwtstore.Version, error)
	allowDelete = func(jwtstore.Stored) (tombstone []byte, err error)
)

// committer commits the changes of this server to the bucket, and then to the directory. Any number
// of goroutines use it at once. Changes of different keys do not wait for each other. A commit holds
// the settler's lock of its key.
type committer struct {
	*parts
	timeout time.Duration
}

// change is one change that is to be committed.
type change struct {
	// kind is the way in, for example "http". user is "" if none was asked for.
	key, kind, user string
	// local commits it to the directory. It calls publish when the policy allows it, under the lock
	// of the key. It may be called several times, once for each attempt, and then asks the policy
	// anew. seq is the number of the change in this server's journal, not a revision.
	local func(ctx context.Context, publish publishFunc) (seq uint64, err error)
}

// publishFunc writes a value to the bucket. It sets door and user of the message. An error of it ends
// that attempt before the journal.
type publishFunc func(message) error

// put is Put for what does not come from the bucket. The error is what Store.Put says.
func (c *committer) put(
	ctx context.Context, key, kind string, jwt []byte, allow allowPut,
) (seq uint64, err error) {
	// The bucket is not asked. For a push over HTTP it always is: that client is told what the
	// bucket has. The policy knows the hash too, and is not asked yet.
	if kind != accounts.KindHTTP && c.dir.Index().Get(key).Hash == trust.HashOf(jwt) {
		// Other servers pass on what is stored here, again and again.
		seq, err = c.dir.Put(ctx, key, kind, jwt, func(now jwtstore.Stored) (jwtstore.Version, error) {
			v, err := allow(now)
			if err == nil {
				err = errNotSame
			}
			return v, err
		})
		if !errors.Is(err, errNotSame) {
			return seq, err
		}
	}
	return c.commit(ctx, &change{key, kind, accounts.UserOf(ctx),
		func(ctx context.Context, publish publishFunc) (uint64, error) {
			return c.dir.Put(ctx, key, kind, jwt, func(now jwtstore.Stored) (jwtstore.Version, error) {
				v, err := allow(now)
				if err == nil {
					// The floor before and after says whether this is an override. Other servers
					// can't tell. It has the hash, of a token too.
					err = publish(message{kind: kindJWT, value: bytes.TrimSpace(jwt), hash: v.Floor.Hash,
						isOverride: isOverride(now.Floor, v.Floor), floor: v.Floor})
				}
				return v, err
			})
		}})
}

// isOverride reports whether a version takes its account back. It is older than the newest one that
// was accepted before, or was replaced by another one of its second.
func isOverride(before, after jwtstore.Floor) bool {
	return after.IssuedAt < before.IssuedAt ||
		after.IssuedAt == before.IssuedAt && before.HasReplaced(after.Hash)
}

// errNotSame ends the short way of a Put.
var errNotSame = errors.New("another JWT is stored")

// delete is Delete for what does not come from the bucket. A tombstone is no override, and has
// replaced nothing of its second: its own time bars what is older.
func (c *committer) delete(
	ctx context.Context, key, kind string, allow allowDelete,
) (seq uint64, err error) {
	return c.commit(ctx, &change{key, kind, accounts.UserOf(ctx),
		func(ctx context.Context, publish publishFunc) (uint64, error) {
			return c.dir.Delete(ctx, key, kind, func(now jwtstore.Stored) ([]byte, error) {
				tombstone, err := allow(now)
				if err == nil {
					err = publish(message{kind: kindTombstone, value: tombstone,
						hash: trust.HashOf(tombstone)})
				}
				return tombstone, err
			})
		}})
}

// commit tries until the change is committed or refused, or its time is over. What refuses every
// push comes first: then a push that is refused waits for no lock, and costs no request to
// JetStream. Options.Timeout is for the wait for the lock, and for all attempts together.
func (c *committer) commit(ctx context.Context, what *change) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.canCommit(); err != nil {
		return 0, err
	}
	// One commit of a key at a time: those of one server would only take the revision from each
	// other.
	unlock, err := c.settler.keys.Lock(ctx, what.key)
	if err != nil {
		return 0, notStored("another change of the account takes too long")
	}
	defer unlock()
	deadline, _ := ctx.Deadline()
	t := trial{committer: c, change: what}
	for {
		seq, err = t.once(ctx)
		// Success, a refusal of the policy and a fault of the directory are not tried again.
		failed, isRetry := errors.AsType[*publishError](err)
		if !isRetry {
			return seq, t.final(err)
		}
		t.maybe = t.maybe || failed.maybe
		// 20 to 100 ms at random, so that servers with changes of one key do not meet again each
		// time.
		wait := 20*time.Millisecond + rand.N(80*time.Millisecond)
		if asDenied(err) != nil || !pause.For(ctx, wait) || time.Until(deadline) < minAttempt {
			break
		}
	}
	if asDenied(err) == nil { // which is logged already
		c.log.Warn(fmt.Sprintf("%s - can't be committed to the bucket: %s", logging.ShortKey(what.key),
			err))
	}
	if t.maybe {
		return 0, &accounts.CommitError{Outcome: accounts.Uncertain,
			Why: "the bucket does not answer in time"}
	}
	return 0, notStored(describe(err))
}

// minAttempt is how much time an attempt needs. One without an answer would make uncertain what is
// certain.
const minAttempt = 150 * time.Millisecond

// describe says for the client why the last attempt has failed. It says nothing of earlier
// attempts. What is not known here is taken for the lack of a leader.
func describe(err error) string {
	answer, isAnswer := errors.AsType[*apiError](err)
	switch {
	case asDenied(err) != nil, errors.Is(err, errNotConnected), errors.Is(err, errNotRead),
		errors.Is(err, errOther), errors.Is(err, errFirst):
		return err.Error()
	case isCode(err, codeWrongLast):
		return "other changes of the account come all the time"
	case isCode(err, codeNoRoom):
		return "the bucket's nats-servers have no room: their disks are full, or max_file_store is reached"
	case isAnswer && answer.ErrCode != codeNoLeader && answer.ErrCode != codeInFlight:
		return "the bucket's nats-servers refuse: " + answer.Error()
	}
	return "the bucket has no leader"
}

// notStored is the error of a commit that has certainly not happened. Nothing of the change may
// have been published without a certain refusal, in this attempt or before.
func notStored(why string) error {
	return &accounts.CommitError{Outcome: accounts.NotStored, Why: why}
}

// canCommit returns why nothing may be committed now; nil if it may. What this server could not
// store itself does not go into the bucket either.
func (c *committer) canCommit() error {
	now := c.status.now()
	switch {
	case now.isFirst && now.failing != "":
		return notStored(errFirst.Error() + ", which fails: " + now.failing)
	case now.isFirst:
		return notStored(errFirst.Error())
	}
	if why := cmp.Or(now.unfit, c.syncing.refusing()); why != "" {
		return notStored(why)
	}
	// A full or missing disk refuses the push before the bucket has it.
	return c.dir.Check()
}

// trial is the attempts to commit one change. One goroutine uses it.
type trial struct {
	*committer
	*change
	maybe bool // an attempt may have succeeded although it has failed

	// The attempt that is under way.
	nc        *nats.Conn
	last      revision // of the key, before the change
	isRefused bool     // this server does not take last: it counts as absent
	revision  uint64   // of the change; 0 until the bucket has it
	undo      func()   // takes back that the change is recorded as applied
}

// final returns the error of a change that is not tried again. After an attempt that may have
// succeeded it is not certain that nothing has changed.
//
// A refusal of the policy stays what it is: it was made with what the bucket has now. After a lost
// acknowledgement the next attempt finds its own revision, and the policy says that the same is
// stored. Elsewhere is certain too.
func (t *trial) final(err error) error {
	failed, isCommit := errors.AsType[*accounts.CommitError](err)
	switch {
	case err == nil || !t.maybe || isCommit && failed.Outcome == accounts.Elsewhere:
		return err
	case isCommit:
		return &accounts.CommitError{Outcome: accounts.Uncertain, Why: failed.Why}
	case isOfStore(err):
		return &accounts.CommitError{Outcome: accounts.Uncertain,
			Why: "the bucket did not answer in time, and then this server's directory failed: " + err.Error()}
	}
	return err
}

// errFirst is the error of an attempt that would come before the comparison with a new bucket.
var errFirst = errors.New("this server reads the bucket for the first time")

// errNotRead is the error of an attempt that does not know the last revision.
var errNotRead = errors.New("an old revision was read")

// once makes one attempt. The error is a *publishError if there may be another one.
//
// It reads the last revision at the leader, makes the directory have it, and lets the policy decide
// with that. Only then it publishes, with that revision as the expected one. So a push is judged by
// what the bucket has, also on a server that is behind. A new leader or another writer costs an
// attempt, and no JWT.
func (t *trial) once(ctx context.Context) (seq uint64, err error) {
	if t.status.now().isFirst { // since the change was begun
		return 0, &publishError{cause: errFirst}
	}
	if t.nc, err = t.stream.connection(); err != nil {
		return 0, &publishError{cause: err}
	}
	t.last, err = t.stream.last(ctx, t.nc, t.stream.subject(t.key))
	switch {
	case err != nil:
		return 0, &publishError{cause: err}
	// An old leader has answered, or the bucket is another one. The next attempt asks again.
	case t.last.seq < t.revisions.last(t.key):
		return 0, &publishError{cause: errNotRead}
	}
	if t.isRefused, err = t.catchUp(ctx); err != nil {
		return 0, err
	}
	return t.commitOver(ctx)
}

// catchUp makes the directory have the last revision of the key. isRefused says that this server
// does not take it. The error is a *publishError if there may be another attempt. A fault of the
// directory is returned as it is, and ends the commit: this attempt has published nothing.
func (t *trial) catchUp(ctx context.Context) (isRefused bool, err error) {
	if t.last.seq == 0 || t.last.isMarker {
		return false, nil
	}
	// This is the usual case, and costs no request.
	if isSame, _, err := t.settler.compare(t.last); isSame && err == nil {
		return false, nil
	}
	// Before a revision of another bucket is compared with those that were applied, or applied.
	if err := t.isSameBucket(ctx); err != nil {
		return false, &publishError{cause: err}
	}
	// It is applied without a deadline: what was begun is not given up half-way.
	if !t.revisions.has(t.key, t.last.seq) {
		return t.applier.apply(context.WithoutCancel(ctx), t.last)
	}
	// It was refused before, a file was changed by hand since, or it is being stored now, for which
	// commitOver waits.
	return true, nil
}

// isSameBucket returns nil if the bucket is the one that was read. Revisions of two can't be
// compared. errOther is returned until the follower has compared the new one. Any other error is
// that of a request.
func (t *trial) isSameBucket(ctx context.Context) error {
	i, err := t.stream.info(ctx, t.nc)
	if err != nil {
		return err
	}
	found, err := t.stream.identify(ctx, t.nc, i, t.revisions.now())
	if err == nil && found != sameBucket {
		err = errOther
	}
	return err
}

// checkRefused returns an error unless the last revision was on its way into the directory when it
// was taken for one that this server refuses. The lock of the key must be held. If the store has it
// by now there is no error: the policy has been asked with it.
func (t *trial) checkRefused() error {
	isSame, _, err := t.settler.compare(t.last)
	switch {
	case err != nil || isSame:
		return err
	case t.last.seq < t.revisions.last(t.key):
		return &publishError{cause: errNotRead}
	}
	return notStored("the bucket has a newer version, which no operator of this server has signed " +
		"(is its operator JWT up to date?)")
}

// commitOver commits the change if the last revision is still the last one.
//
// The order is policy, bucket, journal, all under the directory's lock of the key. A change that
// the policy refuses is not published. A change that is published can be read here only after the
// journal has it. If the process ends in between, the follower applies the revision after the next
// start.
func (t *trial) commitOver(ctx context.Context) (seq uint64, err error) {
	t.revision = 0
	// What is acknowledged goes into the directory, whatever time it is.
	seq, err = t.local(context.WithoutCancel(ctx), func(m message) error { return t.publish(ctx, m) })
	if err == nil || t.revision == 0 {
		return seq, err
	}
	// Without the record the follower applies the revision when it comes, and tries until the
	// directory takes it.
	t.undo()
	t.status.setFault(err)
	t.stream.log.Error(fmt.Sprintf("%s - revision %d is committed to the bucket, and can't be stored on "+
		"this server: %s", logging.ShortKey(t.key), t.revision, err))
	return 0, &accounts.CommitError{Outcome: accounts.Elsewhere,
		Why: "other servers have it, this one tries again"}
}

// publish publishes the change over the last revision. The directory's lock of the key must be held:
// the revision is recorded before the lock is free, and the follower then takes it for an applied
// one.
func (t *trial) publish(ctx context.Context, m message) (err error) {
	// This limit is the same for all values, whatever their headers take. nats.go counts those as
	// well.
	if limit := t.nc.MaxPayload() - headerRoom; int64(len(m.value)) > limit {
		return tooLarge(t.nc, m.value)
	}
	// What the change would not lose against needs no protection: it is replaced.
	if t.isRefused && t.last.isOfServer() && accounts.Wins(t.last.value, m.value) {
		if err := t.checkRefused(); err != nil {
			return err
		}
	}
	m.door, m.user = t.kind, t.user
	if t.revision, err = t.stream.publish(ctx, t.nc, t.key, m, t.last.seq); err == nil {
		t.undo, _ = t.revisions.begin(t.key, t.revision, false)
	}
	return err
}
