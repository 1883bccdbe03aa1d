// Package bucket is the commit on several account servers: a change counts when a JetStream
// key-value bucket and the journal of the server that answers have it. The servers share nothing
// else.
//
//	Put, Delete ──> key's lock ──> last revision at the leader ──> policy ──> publish ──> journal ──> 200
//	                    ^                                                        │
//	                    └────────── conflict, no leader, no answer ──────────────┘
//
//	bucket ──> consumer ──> policy, by revision only ──> journal ──> cursor
//
// Read the files in this order:
//
//	bucket.go     this page, the Store, and of which parts it is made
//	api.go        a message: subject, headers, value; a publish, and what its errors mean
//	stream.go     the stream: how it must be set, and how it is made or changed
//	commit.go     a Put or Delete of this server: its attempts, and what the client is told
//	revisions.go  which revisions are in the directory, so that none goes back
//	apply.go      a revision of the bucket goes through the policy into the directory
//	settle.go     one key: what wins goes into the directory, or into the bucket
//	follow.go     a connection and its sessions: compare, then apply what is new
//	consumer.go   the messages of the stream in their order, bounded in number and bytes
//	cursor.go     the file that says how far a server has read which bucket
//	reconcile.go  a start: the last revision of every key is compared with the directory
//	history.go    all revisions of one key, for people
//	rights.go     what the nats-servers do not let the user of this server do
//	sync.go       whether the nats-servers of the bucket sync each change to their disks
//	status.go     how far a server is, for its log, its metrics and its readiness
//
// # What holds
//
// A push that was stored and answered with 200 is on a majority of the nats-servers of the bucket,
// and in the journal of the server that has answered. A server that has applied a revision never
// goes back to an earlier one of the same bucket. A client reads "not stored" only if no attempt
// can have stored its push. The cursor is never ahead of the journal. A stored account is served
// whatever the bucket does.
//
// A Store is the directory of one server with these commits in the place of the directory's own.
// Reads are those of the directory: they never wait for the bucket.
//
// The bucket is the stream KV_<name> with the subjects $KV.<name>.a.<account> and
// $KV.<name>.t.<hash of an activation token>. A value is a JWT, or a tombstone as package accounts
// writes it; the headers say which. A revision is the sequence number of its message. This is the
// push of a user:
//
//	$KV.ACCOUNT_JWTS.a.ACXX…      revision 4711
//	Nas-Kind: jwt
//	Nas-Door: http
//	Nas-User: ci
//	Nas-Sha256: 5f3c…
//	Nas-Server: accounts1
//
//	eyJ0eXAi…
//
// # Compare and set
//
// No read of JetStream is certain to have the last revision: a leader that is cut off goes on
// answering. Only a publish with the expected last revision of its key decides. If no answer comes
// it may have been stored, and a later read or publish shows it. At the deadline a push is told
// either that it is not stored, which is certain, or that this is not known. To push the same again
// is safe in both cases.
//
// # Revisions
//
// A server applies a revision if it is greater than what it has applied of the key. Times do not
// count: an older JWT may have been let in on purpose. The cursor is the revision up to which
// everything is in the journal. It is beside the journal, with the id of the bucket: one that was
// made anew has other revisions. One that was restored from a backup has other revisions too, and
// the same id. So the cursor also has the time of the last message that was read, and a session
// begins by comparing it. What is published by this server itself is applied at once, and may be
// beyond the cursor.
//
// A value that the policy refuses here, since no operator of ours has signed it, counts as absent.
// Its revision counts. But if an account server has written it, that one knows an operator key that
// is not known here yet: then nothing older takes its place. When the operators are others
// everything is compared again.
//
// A value that no account server has written has no header of ours. Its revision says nothing: it is
// judged as the JWT of a peer is. If it is refused, what is stored here is put back, as after a
// delete marker.
//
// # Start
//
// A server compares its directory with the bucket before it announces anything. One that has read
// the bucket before reads the headers of the last revisions, which have the hashes, and asks for
// the values of those that differ. Any other reads all values, and so does one for which very much
// has come. A revision beyond the cursor is taken. Otherwise the one that wins by accounts.Wins is
// taken by the other side, except that an override is never replaced. So it is with everything if
// the server has never read this bucket, or if the bucket has lost revisions.
//
// The same comparison is made while a server runs if the bucket has fewer keys than before, which a
// limit has removed that another program had set.
//
// A leader that is cut off from the others goes on answering for ten seconds. A server that starts
// does not take its last revision for the end of the bucket: to make a consumer takes a majority
// too.
//
// # Memory
//
// What is on its way to this server is bounded in messages and in bytes, see consumer. Values that
// are asked for one by one are bounded by maxAsked. While the files lack much of what was read they
// are written before more is.
//
// # Concurrency
//
// All methods may be called from any goroutine. Serve may run once at a time. A commit holds the
// lock of its key, and while it publishes the directory's as well, so that a revision of the key is
// not applied meanwhile.
package bucket

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// Sync says what becomes of pushes if a nats-server of the bucket does not sync each change to its
// disk.
type Sync int

// What is done then.
const (
	// One that has not answered counts as syncing: Store.Progress names it in State.Unknown.
	SyncRequire Sync = iota // pushes are refused
	SyncWarn                // a warning is logged
	SyncOff                 // nothing: it is not asked for
)

// Options is what a Store needs. Package config has the defaults and the ranges. New checks
// nothing.
type Options struct {
	Dir      *jwtstore.Dir // belongs to the Store from now on; Close closes it
	Path     string        // of the store's directory; the cursor is in it
	Bucket   string        // name
	Replicas int           // how many nats-servers keep it
	History  int           // how many revisions of each key are kept
	Timeout  time.Duration // of a commit
	Sync     Sync
	Log      *slog.Logger
}

// Accounts is the policy for accounts. *accounts.Registry meets it. It is called for revisions of
// the bucket only, with the Kind accounts.KindKV. It calls Put or Delete of the Store in turn.
type Accounts interface {
	Put(ctx context.Context, key string, token []byte, from accounts.Origin) (accounts.Result, error)
	// Replace puts a tombstone in the place of a JWT.
	Replace(ctx context.Context, key string, tombstone []byte, from accounts.Origin) error
	// RescanChanged makes the index know what is stored. A comparison begins with it, since hashes
	// are compared with the index and not with the files.
	RescanChanged(ctx context.Context) error
}

// Tokens is the policy for activation tokens. *activations.Registry meets it.
type Tokens interface {
	PutAs(ctx context.Context, hash string, token []byte, from accounts.Origin) (
		t *activations.Token, changed bool, err error)
}

// Store is a directory whose changes are committed to a bucket first.
type Store struct {
	*jwtstore.Dir // reads, and Touch: to announce once more is each server's own
	*parts
	committer *committer // Put and Delete
	follower  *follower  // reads the bucket: the comparison at a start, and then what is new
}

// parts are what committer and follower share.
type parts struct {
	dir       *jwtstore.Dir
	stream    *stream      // the names of the stream, what JetStream is asked for, the connection
	revisions *revisions   // what of the bucket is in the directory
	applier   *applier     // puts revisions into the directory
	settler   *settler     // makes directory and bucket have the same of one key
	syncing   *syncing     // whether the nats-servers of the bucket sync each change
	status    *status      // how far all that is
	log       *slog.Logger // limited
}

// maxLines is how many lines about single revisions are logged in a minute.
const maxLines = 100

// New returns a Store that is not connected: it refuses every change until Serve is called. New reads
// the cursor's file and asks nothing of the network. It starts no goroutine.
func New(o Options) *Store {
	limited := logging.Limited(o.Log, maxLines, time.Minute)
	p := &parts{
		dir:       o.Dir,
		stream:    newStream(o),
		revisions: openRevisions(o.Path, limited),
		syncing:   &syncing{rule: o.Sync, log: o.Log, always: map[string]bool{}},
		log:       limited,
	}
	p.status = newStatus(p.revisions.cursor.ID == "")
	p.applier = &applier{dir: o.Dir, revisions: p.revisions, log: limited}
	p.settler = &settler{dir: o.Dir, stream: p.stream, applier: p.applier, log: limited}
	return &Store{
		Dir:       o.Dir,
		parts:     p,
		committer: &committer{parts: p, timeout: o.Timeout},
		follower:  &follower{parts: p},
	}
}

// Put implements accounts.Committer and activations.Store. A revision of the bucket goes into the
// directory; everything else into the bucket first.
//
// For a change of this server the error is that of allow, of the directory, or an
// *accounts.CommitError or *accounts.TooLargeError. nil means that JetStream has acknowledged the
// revision, and that the journal of this server has it on stable storage. The call takes at most
// Options.Timeout and then as long as the disk. For a revision that is not later than the last one
// of its key the error is accounts.ErrSuperseded.
func (s *Store) Put(
	ctx context.Context, key, kind string, jwt []byte, allow allowPut,
) (seq uint64, err error) {
	if kind == accounts.KindKV {
		return s.applier.put(ctx, key, jwt, allow)
	}
	return s.committer.put(ctx, key, kind, jwt, allow)
}

// Delete implements accounts.Committer likewise. The tombstone is a revision with a value:
// JetStream's own delete marker can be purged, and then an old JWT could be put in its place.
func (s *Store) Delete(
	ctx context.Context, key, kind string, allow allowDelete,
) (seq uint64, err error) {
	if kind == accounts.KindKV {
		return s.applier.delete(ctx, key, allow)
	}
	return s.committer.delete(ctx, key, kind, allow)
}

// Serve follows the bucket over a connection and lets changes be committed. It returns when ctx has
// ended, or when another connection should be tried. It returns by itself when sessions have failed
// again and again, or when the user lacks a permission. natsconn then dials again, perhaps another
// nats-server. Without a connection each push is refused, and the directory answers each read.
// Revisions go through a and t, which need the Store when they are made.
func (s *Store) Serve(ctx context.Context, nc *nats.Conn, a Accounts, t Tokens) {
	s.applier.policy.Store(&policy{a, t})
	s.follower.serve(ctx, nc)
}

// TrustIsNew says that the operators are others than before. What was refused is compared once
// more. The session that is under way notices it with the next revision or heartbeat, within a
// second or so. No session under way: the next one does.
func (s *Store) TrustIsNew() { s.follower.mustCompare.Store(true) }

// ServeSystem asks over a connection of the system account how the nats-servers of the bucket sync,
// until ctx ends. If they are other servers than those of this system account none of them answers:
// then it is not known, which refuses nothing.
func (s *Store) ServeSystem(ctx context.Context, nc *nats.Conn) { s.syncing.serve(ctx, nc, false) }

// Offer brings an account to the other servers that was changed by hand in the directory. What
// loses against the bucket is replaced. It waits for the bucket. An error means that the next start
// tries again. A server that has never read the bucket takes the one that wins by accounts.Wins.
func (s *Store) Offer(ctx context.Context, key string) error {
	c := s.revisions.now()
	if c.ID == "" {
		c.Seq = allRevisions
	}
	_, err := s.settler.settle(ctx, key, settleOptions{applied: c.Seq})
	return err
}

// Revisions returns what the bucket keeps of an account, oldest first. The error wraps
// accounts.ErrBucket. Those before them JetStream has dropped: the stream keeps Options.History of
// each key. If there is none the result is nil without an error.
func (s *Store) Revisions(ctx context.Context, key string) ([]accounts.Revision, error) {
	return s.stream.historyOf(ctx, key)
}

// CaughtUp is closed when everything that the bucket had at the start has been applied. It stays
// closed when the connection is lost, and when the bucket becomes another one.
func (s *Store) CaughtUp() <-chan struct{} { return s.status.caughtUp }

// errBehind is the error for what is not stored, while the bucket may have it.
var errBehind = fmt.Errorf("%w: the bucket has not been read yet", accounts.ErrPeers)

// Find implements accounts.Source. It has nothing: what the bucket has is in the directory, or it
// is not known yet. Until the bucket has been read the error wraps accounts.ErrPeers: HTTP answers
// it with 503, since 404 would say that the account does not exist.
func (s *Store) Find(context.Context, string, func([]byte) error) error {
	if s.status.isCaughtUp() {
		return accounts.ErrNotFound
	}
	return errBehind
}

// IsIncomplete reports whether the directory has no account, and the bucket has not been read yet.
func (s *Store) IsIncomplete() bool {
	if s.status.isCaughtUp() {
		return false
	}
	for range s.Index().All() {
		return false
	}
	return true
}

// Progress returns how far this server is. The parts are read one after the other, each under its
// own lock: they may be of slightly different times. Refusing has the first reason only.
func (s *Store) Progress() State {
	now := s.status.now()
	return State{
		Connected: s.stream.conn.Load() != nil,
		CaughtUp:  s.status.isCaughtUp(),
		Empty:     s.IsIncomplete(),
		First:     now.isFirst,
		Behind:    now.behind,
		Success:   now.heard,
		Fault:     now.fault,
		Refusing: cmp.Or(now.unfit, s.stream.rights.refusing(), s.syncing.refusing(),
			now.leaderless),
		Refused:  s.applier.refused.len(),
		Denied:   s.stream.rights.missing(),
		Unknown:  s.syncing.unknown(),
		Failing:  now.failing,
		Revision: s.revisions.now().Seq,
		Bucket:   s.stream.bucket,
	}
}
