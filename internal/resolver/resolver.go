// Package resolver is the doors on NATS: what nats-servers with a resolver of their own, other account servers and
// tools say and ask on the system account's subjects.
//
//	update.go    $SYS.ACCOUNT.*.CLAIMS.UPDATE, $SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE, $SYS.REQ.CLAIMS.UPDATE ──> Gate.Put
//	lookup.go    $SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP   answered from the Gate
//	find.go      the same subject, asked for what is not stored here
//	pack.go      $SYS.REQ.CLAIMS.PACK               two stores compare and exchange what they have
//	sync.go      when that happens, and what it says
//	admin.go     $SYS.REQ.CLAIMS.LIST, $SYS.REQ.CLAIMS.DELETE
//	sign.go      the signing service's subject      asked to sign what an account signed itself
//	activation.go  $SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*
//	answer.go    the JSON that nats-server answers with
//
// It has no rule of its own about JWTs: everything goes through the gate.
package resolver

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
)

// Session is a connected NATS session that does not hear what it publishes itself. *nats.Conn meets it.
type Session interface {
	NewInbox() string
	Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error)
	QueueSubscribe(subject, queue string, handle nats.MsgHandler) (*nats.Subscription, error)
	Publish(subject string, data []byte) error
	PublishRequest(subject, reply string, data []byte) error
}

// Gate is where accounts are read and let in.
type Gate interface {
	// Put takes an update or a line of a pack. key is whose it is said to be, unchecked.
	Put(ctx context.Context, key string, token []byte, from accounts.Origin) (accounts.Result, error)
	// Delete carries out an order of the operator.
	Delete(ctx context.Context, order []byte, src accounts.Origin) (accounts.Deletion, error)
	// Lookup returns what is stored for an account. The error wraps ErrNotFound, ErrUnreadable or ErrDamaged.
	GetLocal(ctx context.Context, key string) (*accounts.Account, error)
	// Rescan looks through the whole store; Rescanned says whether that has happened.
	Rescan(ctx context.Context) error
	Rescanned() bool
	// Digest, Keys and Pack are of what is stored, servable and not expired.
	Digest() accounts.Digest
	Keys() []string
	Pack(ctx context.Context) iter.Seq2[string, []byte]
}

// Options is what Server need.
type Options struct {
	Gate        Gate
	Activations *activations.Registry
	Version     string // of this program, for answers
	Log         *slog.Logger
	// AllowDelete lets the operator delete accounts.
	AllowDelete bool
	// ReadOnly says that the Gate takes nothing: packs are given, not asked for.
	ReadOnly bool
}

// Server are all doors on NATS. What they know outlives a session.
type Server struct {
	Options
	id      string // like a nats-server's, of this process
	host    string
	seq     atomic.Uint64 // answers so far
	synced  chan struct{} // closed after the first exchange with whoever else has accounts
	first   sync.Once
	finder  finder
	signing atomic.Pointer[signing]
	told    quota

	apart, suspect string // what was last said, and last thought, to keep another store apart
}

// Name is what this server is called in its answers, as the original is.
const Name = "nats-account-server"

// New returns Server that are shut until Serve.
func New(o Options) *Server {
	d := &Server{Options: o, synced: make(chan struct{})}
	d.SetSigning("", findWithin)
	if pair, err := nkeys.CreateServer(); err == nil {
		d.id, _ = pair.PublicKey()
	}
	d.host, _ = os.Hostname()
	return d
}

// readyWithin bounds how long announcements wait for the first comparison of a session.
const readyWithin = 5 * time.Second

// session is the doors open on one connection.
type session struct {
	*Server
	ctx     context.Context
	conn    Session
	lanes   *lanes
	pending chan struct{} // a slot for each lookup that waits with saying no
	hurry   chan struct{} // of capacity 1: another store turned out to be different
	early   chan struct{} // a slot for each activation token that waits for its account
	tokens  sync.WaitGroup
	traded  traded
	ready   func()
}

// Serve keeps the doors open until ctx ends. It calls ready as soon as the store has been compared with another one, or
// nobody has answered, or that takes long: whoever announces what is stored had better wait for it. A nats-server takes
// any JWT of an account for the latest one, and may have got a newer one than ours while we were away.
func (d *Server) Serve(ctx context.Context, conn Session, ready func()) {
	ready = sync.OnceFunc(ready)
	defer ready()
	late := time.AfterFunc(readyWithin, ready)
	defer late.Stop()
	s := &session{
		Server:  d,
		ctx:     ctx,
		conn:    conn,
		lanes:   newLanes(),
		pending: make(chan struct{}, mostPending),
		hurry:   make(chan struct{}, 1),
		early:   make(chan struct{}, maxEarlyTokens),
		ready:   ready,
	}
	for subject, handle := range map[string]nats.MsgHandler{
		"$SYS.ACCOUNT.*.CLAIMS.UPDATE":     s.update,
		"$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE": s.update,
		"$SYS.REQ.CLAIMS.UPDATE":           s.update,
		"$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP": s.lookup,
		"$SYS.REQ.CLAIMS.LIST":             s.list,
		"$SYS.REQ.CLAIMS.DELETE":           s.delete,
		activationSubject:                  s.activate,
	} {
		if subject == activationSubject && s.ReadOnly {
			continue // it takes none, and nobody waits for an answer
		}
		_, err := conn.Subscribe(subject, handle)
		s.complain(err)
	}
	_, err := conn.QueueSubscribe(packSubject, "responder", s.givePack)
	s.complain(err)
	d.Log.Info("connected to NATS for JWT syncing")
	d.finder.use(conn)
	defer d.finder.use(nil)
	s.sync()
	s.lanes.close()
	s.tokens.Wait()
}

func (s *session) complain(err error) {
	if err != nil && s.ctx.Err() == nil {
		s.Log.Warn(fmt.Sprintf("nats error %s", err))
	}
}

// accountOf is the account's key in a subject, unchecked; "" if there is none.
func accountOf(subject string) string {
	_, rest, _ := strings.Cut(subject, "ACCOUNT.")
	key, _, _ := strings.Cut(rest, ".")
	return key
}

// short is a key as logs show it; harmless whatever a stranger put there.
func short(key string) string { return harmless(key[:min(len(key), 12)], 12) }
