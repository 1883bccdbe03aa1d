// Package notifier is the outbox at work: it announces every committed change to the nats-servers and goes on
// until each of them has said that it applied it.
//
// A publish and a flush prove nothing: with the credentials of an ordinary account, with a system user that may
// not publish and with a connection cut in between, both succeed and nobody hears. So every announcement carries
// a reply subject, and a change counts as delivered to a nats-server when that server answers. What is owed to
// whom is kept by the Outbox, which outlives this process; what is kept here lasts as long as a session.
//
//	queued ──publish──> in flight ──every server answered──> settled (gone)
//	   ^                    │
//	   └── later, again ────┴── no answer, an error, or "skipped" too early
package notifier

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// Change is one committed change of an account that the nats-servers are to hear of.
type Change = struct {
	Seq uint64
	Key string
	At  time.Time // of the commit
}

// Outbox remembers, durably, which change each nats-server has acknowledged. jwtstore's stores meet it.
type Outbox interface {
	// Changes returns what some server may still lack, oldest first; only the latest change of each account.
	Changes() []Change
	// Meet records that the server of this name exists. One that is new lacks every change that Changes returns.
	Meet(server string, at time.Time)
	// Servers returns the names of all that were met and not forgotten.
	Servers() []string
	// Unseen returns the names of those last met before a moment.
	Unseen(before time.Time) []string
	// Forget removes a server: it is owed nothing any more.
	Forget(server string)
	// Lacks says whether the server has yet to acknowledge the change.
	Lacks(server string, seq uint64) bool
	// Confirm records that the server has acknowledged the change.
	Confirm(server string, seq uint64)
}

// Session is a connected NATS session. *nats.Conn meets it.
type Session interface {
	NewInbox() string
	Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error)
	PublishRequest(subject, reply string, data []byte) error
	FlushWithContext(ctx context.Context) error
	MaxPayload() int64
}

// Options is what a Notifier needs.
type Options struct {
	Outbox Outbox
	// Load returns the JWT of an account as it is stored now; fs.ErrNotExist when there is none.
	Load func(ctx context.Context, key string) ([]byte, error)
	Log  *slog.Logger
}

// Notifier announces changes through whatever session it has. Its methods may be called from any goroutine.
type Notifier struct {
	Options

	mu         sync.Mutex
	configured bool
	maxPayload int      // of the last session, bytes; 0 before the first
	live       *session // nil while NATS is not connected
}

// New returns a Notifier that has no session yet.
func New(o Options) *Notifier { return &Notifier{Options: o} }

// SetConfigured says whether there is a NATS to announce on at all.
func (n *Notifier) SetConfigured(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.configured = on
}

// MaxPayload implements accounts.Announcer.
func (n *Notifier) MaxPayload() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.configured {
		return 0
	}
	return n.maxPayload
}

// Announce implements accounts.Announcer.
func (n *Notifier) Announce(key string, seq uint64, at time.Time) accounts.Receipt {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &receipt{n: n, key: key, answered: make(chan struct{})}
	if s := n.live; s != nil {
		s.enqueue(Change{Seq: seq, Key: key, At: at}, r)
	} else {
		close(r.answered)
	}
	return r
}

// Delivery implements accounts.Announcer.
func (n *Notifier) Delivery(key string) accounts.Delivery {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.configured:
		return accounts.Delivery{State: accounts.NotConfigured}
	case n.live == nil || n.live.meeting:
		return accounts.Delivery{State: accounts.NotConnected}
	}
	return n.live.delivery(key)
}

// Drain waits until every nats-server has acknowledged everything, as far as somebody is connected who could, at
// the latest until ctx ends.
func (n *Notifier) Drain(ctx context.Context) {
	for {
		r := n.oldest()
		if r == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-r.answered:
		}
	}
}

// oldest gives a receipt for the end of the next attempt, or nil when nothing is to be waited for.
func (n *Notifier) oldest() *receipt {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.live == nil || n.live.overdue() {
		return nil
	}
	return n.live.nextReceipt()
}

// receipt follows the next attempt to announce a change.
type receipt struct {
	n        *Notifier
	key      string
	answered chan struct{} // closed when every server has answered, or nobody will
}

// Wait implements accounts.Receipt.
func (r *receipt) Wait(ctx context.Context) accounts.Delivery {
	if !r.n.hopeless() {
		select {
		case <-r.answered:
		case <-ctx.Done():
		}
	}
	return r.n.Delivery(r.key)
}

// hopeless says that waiting for answers would only make a push slow.
func (n *Notifier) hopeless() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.live == nil || n.live.overdue()
}

// gone says that an account is no longer stored, so that there is nothing to announce.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, accounts.ErrNotFound)
}
