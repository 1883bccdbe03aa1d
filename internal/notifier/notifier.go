// Package notifier works through the outbox: it announces every committed change to the
// nats-servers, and goes on until each of them has said that it applied the change.
//
// A publish and a flush prove nothing. With the credentials of an ordinary account, with a system
// user that may not publish, and with a connection that breaks meanwhile, both succeed and no
// nats-server gets the message. So every announcement carries a reply subject. A change counts as
// delivered to a nats-server when that server answers. The Outbox records which server has
// acknowledged which change, and which accounts have an announcement without an answer. It outlives
// this process. Everything else is remembered as long as the process or one session lives.
//
// # Words
//
// An announcement is one account's latest change on its way. Each attempt publishes it as an
// update, or only confirms it: then the servers are asked what they run, and the update follows if
// that is not the stored JWT. A probe is an attempt for a server that may not answer: see States.
// All messages but updates are requests:
//
//	PING          which nats-servers are there?
//	list          which accounts has this one loaded?
//	lookup        which JWT of an account is stored elsewhere?
//	confirmation  do the servers run the stored JWT, so that it need not be announced?
//	check         does this server run an older JWT, which it got late?
//	gathering     what do all of them run, for a report?
//
// # States
//
// The states of an announcement, and the state after each event:
//
//	          wanted  sent      waits
//	waiting   queued  inFlight  -
//	queued    queued  inFlight  -
//	inFlight  queued  -         waiting
//
// What its next attempt is for. An account that is not wholly in effect somewhere is spared: it is
// announced again only if a server lacks the change:
//
//	              replaced  heard      returns       spares     begins    lacks     ended
//	toUpdate      -         toConfirm  afterAbsence  toConfirm  -         -         -
//	toRepeat      toUpdate  -          afterAbsence  -          toUpdate  -         -
//	toConfirm     toUpdate  -          afterAbsence  -          -         toRepeat  toUpdate
//	afterAbsence  toUpdate  -          -             -          -         toRepeat  toUpdate
//
// What is known about how a nats-server answers updates. In the states untested and silent it gets
// probes, one at a time, so it delays no other server:
//
//	            replies     misses
//	responsive  -           silent
//	untested    responsive  silent
//	silent      responsive  -
//
// A server with a URL or memory resolver fetches the accounts that it has not loaded. When it is
// back the list of those that it has loaded is requested. What is pending for it of the others is
// acknowledged, and it gets the rest:
//
//	               fetches  requested      ends
//	listNone       listDue  -              -
//	listDue        -        listRequested  -
//	listRequested  -        -              listEnded
//	listEnded      -        -              -
//
// An event changes nothing where the tables have a dash. states.go says what each state and event
// is.
//
// # Late answers
//
// A route between nats-servers may stall. An older announcement then reaches a server after a newer
// one that went another way, and the server runs the older JWT. So an answer is heard by later
// sessions and processes, and says which JWT it is about. If that shows that the older JWT was
// applied last, the stored one is announced again, as a new change: only answers to that count. A
// server that has let an announcement pass without an answer is asked what it runs, when a newer
// JWT of the account is acknowledged. All servers are asked if the announcement was one of an
// earlier process, or one of other programs: this process does not get the answers to those.
//
// A server that has acknowledged the stored JWT, and runs another one, gets the stored one with
// other white space first: the same bytes would change nothing there.
//
// A server that was away may have got a newer JWT from another program, and so may all servers if
// this program was away, or its store is an older copy. So what was pending is confirmed before it
// is announced, with a lookup at the servers that keep JWTs. A newer one is stored, and announced.
//
// # What does not count
//
// A server that has not loaded an account, and keeps no JWTs, has nothing pending as soon as it
// would fetch the change. It is "not in use" there, which is no acknowledgement. A server that
// answers PING, but has never answered an update, is in no "n of m" of a push until it does, also
// over restarts.
//
// # Names
//
// What a server has acknowledged is kept by its server_name. One without a name is known by its id,
// which a restart changes. So it is forgotten as soon as it is gone. If it was only cut off, it has
// missed changes that are not pending for it any more: all accounts that it has loaded are checked
// when it is back. Of two servers with one name, the second is known by both name and id.
//
// # Invented servers
//
// Any user of the system account can answer as if it were very many nats-servers. So the Outbox
// knows a bounded number, a new one displaces another one only by the rules of Outbox.Displace, and
// lines of the log are limited.
//
// # Memory
//
// What is pending is in the Outbox. An announcement is in memory while it is queued or in flight,
// and for some thousand changes while it waits for a server. When a server answers that lacks
// changes, they are taken up in the order of their numbers, a thousand at a time, as fast as it
// answers: see announcements.takeUpMore. So a server that is away, or does not answer, takes no
// memory here, whatever it lacks.
//
// # Clocks
//
// No time of another process or machine decides anything, and no time that was read from the disk:
// clocks differ and are set. What is measured is what this process has seen go by. A server that
// has not loaded an account counts as up to date only if it says so long enough after this process
// has known the change.
//
// # Files
//
//	notifier.go       what callers use
//	notes.go          lines for the log
//	session.go        one connection: what is due now, and when to look again
//	user.go           the user of the connection
//	sender.go         what is published for each attempt
//	link.go           subscriptions and messages of one connection
//	states.go         the tables above
//	replies.go        what arrives, and which events follow from it
//	answers.go        nats-server's texts, and what they mean
//	announcement.go   one change on its way, and one attempt
//	announcements.go  the changes that some server has not acknowledged
//	attempts.go       how an attempt begins and ends
//	schedule.go       when they are sent: the queue of them, and what is in flight
//	confirmations.go  attempts that only confirm
//	server.go         one nats-server
//	servers.go        those that are there: they come, get probes and change their states
//	round.go          a round of PING, which finds out which are there
//	list.go           which accounts a nats-server has loaded
//	late.go           answers to announcements of changes that have been replaced
//	unanswered.go     announcements that may arrive late, and whose answer may be lost
//	work.go           what is done in the background
//	incomplete.go     what is acknowledged, and not wholly in effect
//	delivery.go       how far one account's latest change has got, and waiting for that
//	report.go         what is known about one account at each nats-server
//	overview.go       what is known about all accounts and nats-servers together
//
// # Concurrency
//
// Notifier.mu guards everything. Nothing blocks while it is held: a message is published, an
// account read and a line logged after it is unlocked. The methods of the Outbox must not block.
package notifier

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/pause"
)

// Outbox records, durably, which change each nats-server has acknowledged. *jwtstore.Outbox meets
// it.
type Outbox interface {
	// PendingOf returns up to max of the changes that a server may still lack, the first ones after
	// a sequence number: the latest change of each account. For a name that is not known these are
	// all that any server may lack.
	PendingOf(server string, after uint64, max int) []jwtstore.Change
	// CountPending returns how many changes some server may lack, and how many of them each server
	// may.
	CountPending() (all int, byServer map[string]int)
	// PendingFor returns the change of one account, the zero Change if there is none.
	PendingFor(key string) jwtstore.Change
	// Register records that the server of this name exists. A new one lacks every change that
	// is pending. It reports false if too many are known for a new one.
	Register(server string, at time.Time) bool
	// Displace is Register for a new server when too many are known. It forgets another one, which
	// it returns, and reports false if there is none that may go. preferred is set for a server
	// that has answered an update.
	Displace(server string, at time.Time, preferred bool) (forgotten string, ok bool)
	// AddAbsence records that a server was not there for some more time, and returns for how long
	// that is since it was registered last.
	AddAbsence(server string, more time.Duration) time.Duration
	// LastSeen returns when the server was registered last, the zero time if it never was.
	LastSeen(server string) time.Time
	// Servers returns the names of all that were registered and not forgotten, sorted.
	Servers() []string
	// Forget removes a server: no change is pending for it any more.
	Forget(server string)
	// IsPending reports whether the server has yet to acknowledge the change.
	IsPending(server string, seq uint64) bool
	// Acknowledge records that the server has applied the change.
	Acknowledge(server string, seq uint64)
	// SetAnswered records that the server has answered an update, with whatever.
	SetAnswered(server string)
	// HasAnswered reports whether SetAnswered was called for the server.
	HasAnswered(server string) bool
	// ID returns what stays the same over restarts, and is that of no other Outbox.
	ID() string
	// SetUnanswered records whether an announcement of the account may still be on its way. It is
	// durable before any later acknowledgement is.
	SetUnanswered(key string, on bool)
	// Unanswered returns the accounts for which SetUnanswered was called last with true.
	Unanswered() []string
}

// Accounts has the JWTs that are announced. *accounts.Registry meets it.
type Accounts interface {
	// GetLocal returns an account that is stored here. Its error wraps accounts.ErrNotFound if
	// there is none.
	GetLocal(ctx context.Context, key string) (*accounts.Account, error)
	// Adopt stores and announces a JWT that a nats-server runs, if it is newer than the stored one,
	// and reports whether it did. It may wait for the disk.
	Adopt(ctx context.Context, key string, running []byte) bool
	// Reassert announces the stored JWT of an account again, soon, since a nats-server may run
	// another one. It may wait for the disk.
	Reassert(key string)
}

// Conn is one NATS connection. *nats.Conn meets it.
type Conn interface {
	NewInbox() string
	Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error)
	PublishRequest(subject, reply string, data []byte) error
	FlushWithContext(ctx context.Context) error
	MaxPayload() int64
}

// defaultForget is how long changes are kept for a nats-server that is away.
const defaultForget = 72 * time.Hour

// drainInterval is how often Drain looks whether it may return. A stop is that much longer at most.
const drainInterval = 5 * time.Millisecond

// Options is what a Notifier needs.
type Options struct {
	Outbox Outbox
	Index  Index         // of what is stored
	Forget time.Duration // see SetForget; 0 means 72 h
	Log    *slog.Logger  // gets a line when a server is gone, silent, refuses or is forgotten
	// Delivered is told how long a nats-server took to acknowledge a change, since the commit or
	// since this process has known of it. It must return at once. nil: it is not told.
	Delivered func(took time.Duration)
	// HeardSpread is added to the time after which what was heard is confirmed, up to that and at
	// random: of several servers that have heard the same only one announces it then.
	HeardSpread time.Duration
	// Repeated is told that a change is announced once more. It must return at once. nil: it is not
	// told.
	Repeated func()
	// Configured is what SetConfigured would be called with.
	Configured bool
}

// Notifier announces changes through the session that it has. Its methods may be called from any
// goroutine.
type Notifier struct {
	outbox Outbox
	index  Index
	began  time.Time // when it was made, before which no change is known

	heardSpread time.Duration // see Options
	delivered   func(took time.Duration)
	repeated    func()
	stopping    chan struct{} // closed by EndWaits

	mu         sync.Mutex // guards what follows, and all that the session has
	inbox      string     // prefix of all subjects that answers to announcements go to; "" at first
	process    string     // comes after it, and is that of no other process
	attempts   int        // how many attempts there were
	unanswered *unanswered
	configured bool          // see SetConfigured
	forget     time.Duration // see SetForget
	maxPayload int           // of the last session, in bytes; 0 before the first
	session    *session      // nil while NATS is not connected
	notes      notes         // written by unlock
	results    results
	incomplete *incomplete
	counts     Counts
	refusals   map[string]Refusal // the last one of each server, by name
}

// New returns a Notifier that has no session yet.
func New(o Options) *Notifier {
	if o.Delivered == nil {
		o.Delivered = func(time.Duration) {}
	}
	if o.Repeated == nil {
		o.Repeated = func() {}
	}
	n := &Notifier{
		outbox:      o.Outbox,
		index:       o.Index,
		began:       time.Now(),
		heardSpread: o.HeardSpread,
		delivered:   o.Delivered,
		repeated:    o.Repeated,
		stopping:    make(chan struct{}),
		unanswered:  newUnanswered(o.Outbox),
		configured:  o.Configured,
		forget:      cmp.Or(o.Forget, defaultForget),
		notes:       newNotes(o.Log),
		results:     make(results),
		refusals:    make(map[string]Refusal),
	}
	n.incomplete = newIncomplete(&n.mu)
	return n
}

// SetConfigured says whether there is a NATS to announce on at all. Without it, deliveries are
// accounts.NotConfigured. A reload calls it.
func (n *Notifier) SetConfigured(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.configured = on
}

// IsConfigured implements accounts.Announcer.
func (n *Notifier) IsConfigured() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.configured
}

// SetForget says how long changes are kept for a nats-server that is away. A reload calls it.
func (n *Notifier) SetForget(after time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget = after
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

// Announce implements accounts.Announcer. Without a session nothing is lost: the Outbox has the
// change.
func (n *Notifier) Announce(key string, seq uint64) accounts.Receipt {
	n.mu.Lock()
	defer n.unlock()
	s := n.session
	if s == nil {
		return n.deliveryLocked(key)
	}
	s.announcements.add(n.changeLocked(key, seq))
	s.wakeUp()
	return receipt{n, key}
}

// Follow implements accounts.Announcer.
func (n *Notifier) Follow(key string) accounts.Receipt { return receipt{n, key} }

// Heard implements accounts.Announcer. Without a session the change is announced like any other
// when a server appears.
func (n *Notifier) Heard(key string, seq uint64) {
	n.mu.Lock()
	defer n.unlock()
	if s := n.session; s != nil {
		s.announcements.addHeard(n.changeLocked(key, seq))
		s.wakeUp()
	}
}

// changeLocked returns what the Outbox knows of a change that has just been committed. n.mu must be
// held.
func (n *Notifier) changeLocked(key string, seq uint64) jwtstore.Change {
	if c := n.outbox.PendingFor(key); c.Seq == seq {
		return c
	}
	return jwtstore.Change{Seq: seq, Key: key, Known: time.Now()}
}

// Contested implements accounts.Announcer.
func (n *Notifier) Contested(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unanswered.contested(key, time.Now())
}

// Drain is for a stop. It returns when every change was announced that can be now, and the answers
// are there, or ctx ends. It does not wait for a server that is overdue, nor for NATS to come back.
// What a server is to be told again stays in the Outbox.
func (n *Notifier) Drain(ctx context.Context) {
	for n.isDelivering() && pause.For(ctx, drainInterval) {
	}
}

// isDelivering reports whether answers to an announcement are to be expected soon.
func (n *Notifier) isDelivering() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.session
	return s != nil && !s.servers.overdue() && (s.announcements.isDelivering(time.Now()) ||
		s.servers.any((*server).getsMore))
}
