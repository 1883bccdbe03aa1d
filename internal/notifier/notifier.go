// Package notifier is the outbox at work: it announces every committed change to the nats-servers and goes on
// until each of them has said that it applied it.
//
// A publish and a flush prove nothing: with the credentials of an ordinary account, with a system user that may
// not publish and with a connection cut in between, both succeed and nobody hears. So every announcement carries
// a reply subject, and a change counts as delivered to a nats-server when that server answers. What is owed to
// whom is kept by the Outbox, which outlives this process; what is kept here lasts as long as a session.
//
//	           ┌───────────────── it is time, somebody is back, the account connects ─────────────────┐
//	           v                                                                                      │
//	pushed ──> queued ──publish──> in flight ──every server answered──> settled (gone)                │
//	                                   │                                                              │
//	                                   └── "skipped" too early, an error, silence, a cold cache ──> waiting
//
// An announcement goes to all nats-servers at once. How many may be in flight is bounded, and a nats-server that
// does not answer gets one at a time until it does, so it holds up nobody. The rooms of this package:
//
//	session.go  one connection: what is due now, and when to look again
//	peers.go    which nats-servers are there
//	items.go    one account's change on its way
//	answers.go  what a nats-server's answer means
//	heard.go    changes that the nats-servers have heard from somebody else
//	report.go   what is known about one account
package notifier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// Change is one committed change of an account that the nats-servers are to hear of.
type Change = jwtstore.Change

// Outbox remembers, durably, which change each nats-server has acknowledged. jwtstore's stores meet it.
type Outbox interface {
	// Changes returns what some server may still lack, oldest first; only the latest change of each account.
	Pending() []Change
	// Latest is the one of an account, the zero Change if there is none.
	PendingFor(key string) Change
	// Meet records that the server of this name exists. One that is new lacks every change that Changes returns.
	Register(server string, at time.Time)
	// Seen says when it was last met.
	LastSeen(server string) time.Time
	// Servers returns the names of all that were met and not forgotten.
	Servers() []string
	// Unseen returns the names of those last met before a moment.
	UnseenSince(before time.Time) []string
	// Forget removes a server: it is owed nothing any more.
	Forget(server string)
	// Lacks says whether the server has yet to acknowledge the change.
	IsPending(server string, seq uint64) bool
	// Confirm records that the server has acknowledged the change.
	Acknowledge(server string, seq uint64)
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

	mu          sync.Mutex
	configured  bool
	forgetAfter time.Duration
	maxPayload  int      // of the last session, bytes; 0 before the first
	live        *session // nil while NATS is not connected
	lines       []line   // to be logged once mu is free: a log may block
}

// line is a line of the log.
type line struct {
	level slog.Level
	text  string
}

// New returns a Notifier that has no session yet.
func New(o Options) *Notifier { return &Notifier{Options: o, forgetAfter: defaultForget} }

// note logs a line as soon as the lock is free.
func (n *Notifier) note(level slog.Level, format string, args ...any) {
	n.lines = append(n.lines, line{level, fmt.Sprintf(format, args...)})
}

// unlock ends what mu guards and logs what was noted meanwhile.
func (n *Notifier) unlock() {
	lines := n.lines
	n.lines = nil
	n.mu.Unlock()
	for _, l := range lines {
		n.Log.Log(context.Background(), l.level, l.text)
	}
}

// SetConfigured says whether there is a NATS to announce on at all.
func (n *Notifier) SetConfigured(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.configured = on
}

// SetForget says how long what a nats-server misses is kept for it while it is not seen; default 72 h.
func (n *Notifier) SetForget(after time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetAfter = after
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
	defer n.unlock()
	r := &receipt{n: n, key: key, answered: make(chan struct{})}
	if s := n.live; s != nil {
		s.enqueue(Change{Seq: seq, Key: key, At: at}, r)
	} else {
		close(r.answered)
	}
	return r
}

// Heard implements accounts.Announcer.
func (n *Notifier) Heard(key string, seq uint64, at time.Time) {
	n.mu.Lock()
	defer n.unlock()
	if n.live != nil {
		n.live.heard(Change{Seq: seq, Key: key, At: at}, time.Now())
	}
}

// Delivery implements accounts.Announcer.
func (n *Notifier) Delivery(key string) accounts.Delivery {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := accounts.Delivery{State: n.state()}
	if d.State == accounts.Sent {
		d.Acked, d.Servers = n.live.delivery(key)
	}
	return d
}

// state says how far an announcement could get now.
func (n *Notifier) state() accounts.DeliveryState {
	switch {
	case !n.configured:
		return accounts.NotConfigured
	case n.live == nil || n.live.meeting:
		return accounts.NotConnected
	default:
		return accounts.Sent
	}
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

// short is a key as logs show it.
func short(key string) string { return key[:min(len(key), 12)] }
