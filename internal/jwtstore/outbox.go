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
	// wake is signalled when events should reach the journal soon. It is nil if there is no
	// journal: then there are no events.
	wake chan struct{}

	mu sync.RWMutex // guards what follows
	*outboxState
	announce bool   // later changes are to be announced
	quiet    int    // how often Quiet was called and not ended
	events   []byte // what the journal does not know yet, as event.append writes it
}

// manyEvents is how many bytes of events do not wait for the next commit.
const manyEvents = 256 << 10

// newOutbox returns an outbox that knows what an earlier one knew; see the fields for announce and
// wake.
func newOutbox(state *outboxState, announce bool, wake chan struct{}) *Outbox {
	return &Outbox{outboxState: state, announce: announce, wake: wake}
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
	add := func(n int) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.quiet += n
	}
	add(1)
	return sync.OnceFunc(func() { add(-1) })
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

// countSize is how many changes CountPending looks at before others may use the outbox.
const countSize = 1000

// CountPending returns how many changes are kept, and how many of them each server has not
// acknowledged. It looks at all of them, some at a time, so others may change them meanwhile. The
// counts may not fit together exactly.
func (o *Outbox) CountPending() (all int, byServer map[string]int) {
	byServer = make(map[string]int)
	for _, name := range o.Servers() {
		byServer[name] = 0
	}
	for after, more := uint64(0), true; more; {
		var some int
		some, after, more = o.countSome(after, byServer)
		all += some
	}
	return all, byServer
}

// countSome counts some of the changes after a number, and adds to byServer what the servers in it
// have not acknowledged of them. Changes with the same acknowledgements are counted together.
func (o *Outbox) countSome(after uint64, byServer map[string]int) (n int, last uint64, more bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	bySet := make(map[uint32]int)
	for c := range o.pending.after(after) {
		if more = n == countSize; more {
			break
		}
		bySet[c.acked]++
		last, n = c.seq, n+1
	}
	for name := range byServer {
		s := o.servers.byName[name]
		if s == nil {
			continue // it was forgotten meanwhile
		}
		for set, changes := range bySet {
			if !o.pending.acked.has(set, s.slot) {
				byServer[name] += changes
			}
		}
	}
	return n, last, more
}

// SetUnanswered records whether an announcement of an account may still be on its way to some
// server. The journal has it before it has any later acknowledgement.
func (o *Outbox) SetUnanswered(key string, on bool) {
	if on {
		o.learn(event{op: opUnanswered, name: key})
	} else {
		o.learn(event{op: opAnswered, name: key})
	}
}

// Unanswered returns the accounts for which SetUnanswered was called last with true.
func (o *Outbox) Unanswered() []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.Sorted(maps.Keys(o.unanswered))
}

// Acknowledge records that the server has acknowledged the change.
func (o *Outbox) Acknowledge(server string, seq uint64) {
	o.learn(event{op: opAcknowledge, name: server, number: seq})
}

// learn applies an event and keeps it for the journal.
func (o *Outbox) learn(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learnLocked(e)
}

// learnLocked is learn. o.mu must be held. A new server is written to the journal at once and not
// with the next commit: what is committed while the server is away must be pending for it, also
// after a crash. So is its first answer.
func (o *Outbox) learnLocked(e event) {
	isNew := e.op == opIdentify || e.op == opProve ||
		e.op == opRegister && o.servers.byName[e.name] == nil
	if e.name == "" || !o.learned(e) || o.wake == nil {
		return
	}
	o.events = e.append(o.events)
	if isNew || len(o.events) > manyEvents {
		pause.Wake(o.wake)
	}
}

// unsaved returns the events that the journal does not know, encoded. recordSaved is to be called
// when it knows them. The caller must not change them.
func (o *Outbox) unsaved() []byte {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.events
}

// recordSaved records that the journal has the first n bytes of the events.
func (o *Outbox) recordSaved(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = o.events[n:]
}

// appendSnapshot appends all that the outbox knows to b. events is how many bytes of unsaved are in
// it: recordSaved is to be called with that when the snapshot is in the journal.
func (o *Outbox) appendSnapshot(b []byte) (snapshot []byte, events int) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.outboxState.append(b), len(o.events)
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

// commit records a change that is durable.
func (o *Outbox) commit(r *record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.committed(r)
}

// isNeeded reports whether the journal must outlive the process: a change is pending, or may be for
// a known server.
func (o *Outbox) isNeeded() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.pending.count() > 0 || len(o.servers.byName) > 0
}
