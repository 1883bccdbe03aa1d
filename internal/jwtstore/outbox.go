package jwtstore

import (
	"crypto/rand"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"nats-account-server/internal/pause"
	"nats-account-server/internal/trust"
)

// Outbox remembers which nats-server has still to acknowledge which change. Its store fills it: a
// committed change that is to be announced enters, and a deletion takes the account's change out.
//
//	changes, oldest first        server 0   1   2
//	  seq 11  account A…              x       x      pending for 1
//	  seq 14  account C…              x   x          pending for 2
//	  seq 15  account B…                             pending for all
//
// Only the latest change of an account is kept: a nats-server that was away needs the account's
// last JWT, not its history. Each change has a set of bits, one for every server that has
// acknowledged it. A position per server would not do: answers come out of order, and superseded
// changes leave gaps. A change is removed when at least one server is known and every known server
// has acknowledged it. The time that a method takes does not depend on the number of changes,
// except for Pending, PendingOf, Forget and the snapshot.
//
// The methods may be called from any goroutine. None of them does I/O. What they learn of
// nats-servers is kept as events until the journal has taken them.
type Outbox struct {
	*outboxCore
	outboxServers
	announce bool // later changes are to be announced; mu guards it
	quiet    int  // how often Quiet was called and not ended; mu guards it
}

// outboxCore is what the parts of an Outbox share.
type outboxCore struct {
	mu sync.RWMutex // guards what follows
	outboxState

	// wake is signalled when events should reach the journal soon. It is nil if there is no
	// journal: then there are no events.
	wake   chan struct{}
	events []byte // what the journal does not know yet, as event.append writes it
}

// manyEvents is how many bytes of events do not wait for the next commit.
const manyEvents = 256 << 10

// newOutbox returns an empty outbox; see the fields for announce and wake.
func newOutbox(announce bool, wake chan struct{}) *Outbox {
	core := &outboxCore{outboxState: newOutboxState(), wake: wake}
	return &Outbox{outboxCore: core, outboxServers: outboxServers{core}, announce: announce}
}

// ID returns a random text, which stays the same over restarts. The journal has it soon after the
// first call.
func (o *Outbox) ID() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.id == "" {
		o.learnLocked(event{op: opIdentify, name: rand.Text()})
	}
	return o.id
}

// SetAnnounce says whether later changes are to be announced. What is pending stays pending.
func (o *Outbox) SetAnnounce(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.announce = on
}

// Quiet keeps changes from being announced until end is called.
func (o *Outbox) Quiet() (end func()) {
	o.addQuiet(1)
	return sync.OnceFunc(func() { o.addQuiet(-1) })
}

// addQuiet changes how many callers of Quiet there are.
func (o *Outbox) addQuiet(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.quiet += n
}

// Pending returns the changes that some server may still lack, oldest first, and of each account
// only the latest. If no server is known these are all changes since one was. There may be a
// million: PendingOf returns some of them.
func (o *Outbox) Pending() []Change { return o.PendingOf("", 0, math.MaxInt) }

// PendingOf returns up to max of the changes that a server has not acknowledged: the first ones
// after a sequence number. For a server that is not known these are all that Pending has.
func (o *Outbox) PendingOf(server string, after uint64, max int) []Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var some []Change
	s := o.servers.byName[server]
	for c := range o.pending.after(after) {
		if len(some) == max {
			break
		}
		if s == nil || !o.pending.hasAcknowledged(c, s) {
			some = append(some, o.pending.change(c))
		}
	}
	return some
}

// PendingFor returns the change of an account that some server may still lack; the zero Change if
// there is none.
func (o *Outbox) PendingFor(key string) Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if c := o.pending.of(key); c != nil {
		return o.pending.change(c)
	}
	return Change{}
}

// IsPending reports whether the change is kept and the server has not acknowledged it.
func (o *Outbox) IsPending(server string, seq uint64) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.isPending(o.servers.byName[server], seq)
}

// SetUnanswered records whether an announcement of an account may still be on its way to some
// server. The journal has it before it has any later acknowledgement.
func (o *Outbox) SetUnanswered(key string, on bool) {
	op := opAnswered
	if on {
		op = opUnanswered
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learnLocked(event{op: op, name: key})
}

// Unanswered returns the accounts for which SetUnanswered was called last with true.
func (o *Outbox) Unanswered() []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.Sorted(maps.Keys(o.unanswered))
}

// Acknowledge records that the server has acknowledged the change.
func (o *Outbox) Acknowledge(server string, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learnLocked(event{op: opAcknowledge, name: server, number: seq})
}

// learnLocked applies an event and keeps it for the journal. A new server is written to the journal
// at once and not with the next commit: what is committed while the server is away must be pending
// for it, also after a crash. So is its first answer.
func (o *outboxCore) learnLocked(e event) {
	isNew := e.op == opIdentify || e.op == opProve ||
		e.op == opRegister && o.servers.byName[e.name] == nil
	if e.name == "" || !o.outboxState.apply(e) || o.wake == nil {
		return
	}
	o.events = e.append(o.events)
	if isNew || len(o.events) > manyEvents {
		pause.Wake(o.wake)
	}
}

// number gives changes the next sequence numbers, the time, and the flag that they are not to be
// announced. The numbers are taken when the changes are applied.
func (o *Outbox) number(now time.Time, changes []*record) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for i, r := range changes {
		r.seq, r.at = o.last+1+uint64(i), now
		if !o.announce || o.quiet > 0 || trust.IsActivationHash(r.key) {
			r.flags = flagQuiet
		}
	}
}

// lastSeq returns the sequence number of the last change.
func (o *Outbox) lastSeq() uint64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.last
}

// apply records a change that is durable, see outboxState.change.
func (o *Outbox) apply(r *record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.change(r)
}

// isNeeded reports whether the journal must outlive the process: a change is pending, or may be for
// a known server.
func (o *Outbox) isNeeded() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.pending.count() > 0 || len(o.servers.byName) > 0
}
