// Package resolver answers what nats-servers with a resolver of their own, other account servers
// and tools send on the system account's subjects, and asks them in turn.
//
//	update.go      $SYS.ACCOUNT.*.CLAIMS.UPDATE, $SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE,
//	               $SYS.REQ.CLAIMS.UPDATE
//	lookup.go      $SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP
//	pack.go        $SYS.REQ.CLAIMS.PACK: two servers compare and exchange what they store
//	sync.go        when they do, and what is logged about it
//	admin.go       $SYS.REQ.CLAIMS.LIST, $SYS.REQ.CLAIMS.DELETE
//	activation.go  $SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*
//	answer.go      the JSON that nats-server answers with
//	client.go      how this server asks others, and the signing service for signatures
//	find.go        other servers are asked for accounts that are not stored here
//	peers.go       how many servers must say no before an account counts as unknown
//	pool.go        what comes in is stored in order for each account, and several accounts at a time
//
// It has no rule of its own about JWTs: every one goes through the registry.
package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/logging"
)

// Name is what this server calls itself in its answers, as the original does.
const Name = "nats-account-server"

// readyTimeout bounds how long announcements wait for the first comparison of a session.
const readyTimeout = 5 * time.Second

// Session is a connected NATS session that does not receive what it publishes itself. *nats.Conn
// meets it.
type Session interface {
	// NewInbox returns a subject for replies which nothing else uses.
	NewInbox() string
	Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error)
	// QueueSubscribe is Subscribe for one of all servers in the queue group.
	QueueSubscribe(subject, queue string, handle nats.MsgHandler) (*nats.Subscription, error)
	Publish(subject string, data []byte) error
	// PublishRequest sends a request, whose answers come to the subject reply.
	PublishRequest(subject, reply string, data []byte) error
	// MaxPayload returns how many bytes a message may have.
	MaxPayload() int64
	// FlushWithContext returns when the nats-server has got what was published before.
	FlushWithContext(ctx context.Context) error
	// RequestWithContext returns the first answer to a request.
	RequestWithContext(ctx context.Context, subject string, data []byte) (*nats.Msg, error)
}

// Options is what a Server needs.
type Options struct {
	Accounts    *accounts.Registry
	Activations *activations.Registry
	// Client is connected while Serve runs. nil means one that nothing else uses.
	Client *Client
	// Version is that of this program, for answers.
	Version string
	Log     *slog.Logger
	// ReadOnly means that nothing is stored: packs are given, but not asked for.
	ReadOnly bool
	// LookedUp is told what came of each lookup of an account. It must return at once. nil: it is
	// not told.
	LookedUp func(a *accounts.Account, err error)

	// EarlySyncInterval is the least time between a comparison of stores and one that another
	// server's digest causes. 0 means 5 s.
	EarlySyncInterval time.Duration
}

// Server answers requests on NATS. What it knows outlives a session.
type Server struct {
	Options
	// id is that of this process, like a nats-server's. host is "" if it is not known.
	id, host string
	// seq counts the answers so far.
	seq atomic.Uint64
	// synced is closed by markSynced, after the first comparison with another server.
	synced     chan struct{}
	markSynced func()

	// Digests of what other stores lack or is refused of them; only sync uses them.
	loggedDifference, lastDifference accounts.Digest
}

// New returns a Server that answers while Serve runs.
func New(o Options) *Server {
	if o.Client == nil {
		o.Client = NewClient(o.Log)
	}
	if o.LookedUp == nil {
		o.LookedUp = func(*accounts.Account, error) {}
	}
	if o.EarlySyncInterval == 0 {
		o.EarlySyncInterval = defaultEarlySyncInterval
	}
	srv := &Server{Options: o, synced: make(chan struct{})}
	srv.markSynced = sync.OnceFunc(func() { close(srv.synced) })
	// Nothing is signed with this key: its public part is a name that no other process has.
	if pair, err := nkeys.CreateServer(); err == nil {
		srv.id, _ = pair.PublicKey()
	}
	srv.host, _ = os.Hostname()
	return srv
}

// session is one run of Serve.
type session struct {
	*Server
	ctx  context.Context
	conn Session
	// pool stores what comes in.
	pool *keyedPool
	// lookups are those that wait for their empty answer.
	lookups errgroup.Group
	// earlyTokens are the activation tokens that wait for their account.
	earlyTokens errgroup.Group
	// ready is that of Serve. Further calls do nothing.
	ready func()

	// compareSoon has a capacity of 1. It is full if another store turned out to be different.
	compareSoon chan struct{}
	// seen has the pairs of digests that were different, theirs and ours. Only givePack uses it.
	seen map[[2]accounts.Digest]bool
}

// Serve answers requests until ctx ends. It calls ready when the store has been compared with
// another one, when no server has answered, or after readyTimeout. Until then nothing that is
// stored should be announced: another server may have got a newer JWT in the meantime, and a
// nats-server takes any JWT of an account for the latest one.
func (srv *Server) Serve(ctx context.Context, conn Session, ready func()) {
	ready = sync.OnceFunc(ready)
	defer ready()
	late := time.AfterFunc(readyTimeout, ready)
	defer late.Stop()
	s := &session{
		Server:      srv,
		ctx:         ctx,
		conn:        conn,
		pool:        newKeyedPool(),
		ready:       ready,
		compareSoon: make(chan struct{}, 1),
		seen:        map[[2]accounts.Digest]bool{},
	}
	s.lookups.SetLimit(maxWaitingLookups)
	s.earlyTokens.SetLimit(maxEarlyTokens)
	s.subscribe()
	srv.Client.connect(conn)
	defer srv.Client.connect(nil)
	// The line comes when the nats-server has the subscriptions: what is asked after it arrives here. A
	// nats-server that does not answer has lines of its own.
	_ = s.flush()
	srv.Log.Info("connected to NATS for JWT syncing")
	s.sync()
	// What has come in is stored before the connection is given back.
	s.pool.close()
	_ = s.earlyTokens.Wait() // its error is always nil
}

// subscribe subscribes every handler. A subscription that fails is logged, and the others serve.
func (s *session) subscribe() {
	handlers := map[string]nats.MsgHandler{
		"$SYS.ACCOUNT.*.CLAIMS.UPDATE":     s.update,
		"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE": s.update,
		"$SYS.REQ.CLAIMS.UPDATE":           s.update,
		"$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP": s.lookup,
		"$SYS.REQ.CLAIMS.LIST":             s.list,
		"$SYS.REQ.CLAIMS.DELETE":           s.delete,
	}
	// A read-only server stores no activation tokens, and their senders wait for no answer.
	if !s.ReadOnly {
		handlers[activationSubject] = s.activate
	}
	for subject, handle := range handlers {
		_, err := s.conn.Subscribe(subject, handle)
		s.logNATS(err)
	}
	// Of several account servers only one answers.
	_, err := s.conn.QueueSubscribe(packSubject, "responder", s.givePack)
	s.logNATS(err)
}

// logNATS logs an error of the connection. One of a session that ends is none.
func (s *session) logNATS(err error) {
	if err != nil && s.ctx.Err() == nil {
		s.Log.Warn(fmt.Sprintf("nats error %s", err))
	}
}

// maxErrorBytes bounds the text of an error in a log line or an answer. It may repeat what
// another server sent.
const maxErrorBytes = 512

// quote is the text of an error, fit for a log line.
func quote(err error) string { return logging.Cut(err.Error(), maxErrorBytes) }
