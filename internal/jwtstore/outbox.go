package jwtstore

import (
	"crypto/rand"
	"maps"
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
// except for Pending, Forget and the snapshot.
//
// The methods may be called from any goroutine. None of them does I/O. What they learn of
// nats-servers is kept as events until the journal has taken them.
type Outbox struct {
	mu       sync.RWMutex // guards what follows
	announce bool         // later changes are to be announced
	quiet    int          // how often Quiet was called and not ended
	last     uint64       // the last sequence number that was given

	servers knownServers
	pending pendingChanges

	id         string          // see ID; "" until it was called
	unanswered map[string]bool // see SetUnanswered

	// wake is signalled when events should reach the journal soon. It is nil if there is no
	// journal: then there are no events.
	wake   chan struct{}
	events []byte // what the journal does not know yet, as event.append writes it
}

// manyEvents is how many bytes of events do not wait for the next commit.
const manyEvents = 256 << 10

// newOutbox returns an empty outbox; see the fields for announce and wake.
func newOutbox(announce bool, wake chan struct{}) *Outbox {
	return &Outbox{
		announce: announce,
		wake:     wake,
		servers:  knownServers{byName: map[string]*server{}},
		pending: pendingChanges{bySeq: map[uint64]*pendingChange{},
			byKey: map[string]*pendingChange{}},
		unanswered: map[string]bool{},
	}
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
// only the latest. If no server is known these are all changes since one was.
func (o *Outbox) Pending() []Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.pending.sorted()
}

// PendingFor returns the change of an account that some server may still lack; the zero Change if
// there is none.
func (o *Outbox) PendingFor(key string) Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if c := o.pending.byKey[key]; c != nil {
		return c.Change
	}
	return Change{}
}

// IsPending reports whether the change is kept and the server has not acknowledged it.
func (o *Outbox) IsPending(server string, seq uint64) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	c, s := o.pending.bySeq[seq], o.servers.byName[server]
	return c != nil && (s == nil || c.acked.Bit(s.slot) == 0)
}

// Servers returns the names of all servers that were registered and not forgotten, sorted.
func (o *Outbox) Servers() []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.Sorted(maps.Keys(o.servers.byName))
}

// LastSeen returns when a server was last registered; the zero time if it is not known.
func (o *Outbox) LastSeen(server string) time.Time {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if s := o.servers.byName[server]; s != nil {
		return s.seen
	}
	return time.Time{}
}

// Register records that the server of this name was seen. A new one lacks every change that is
// pending. If too many are known for a new one, Register reports false and does nothing.
func (o *Outbox) Register(server string, at time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.servers.isFull() && o.servers.byName[server] == nil {
		return false
	}
	o.learnLocked(event{op: opRegister, name: server, number: uint64(at.UnixNano())})
	return true
}

// Displace is Register for a new server when too many are known: it forgets another one, and
// returns its name. That is the server that has been absent for longest, of those that have never
// answered an update. If the new one is to be preferred it may also be one that is there, or else
// any absent one. Displace reports false if there is none.
func (o *Outbox) Displace(
	server string, at time.Time, preferred bool,
) (forgotten string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if forgotten = o.servers.leastNeeded(preferred); forgotten != "" {
		o.learnLocked(event{op: opForget, name: forgotten})
		o.learnLocked(event{op: opRegister, name: server, number: uint64(at.UnixNano())})
		return forgotten, true
	}
	return "", false
}

// AddAbsence records that a server was not there for some more time. It returns how long that is
// together, since it was registered last.
func (o *Outbox) AddAbsence(server string, more time.Duration) (absent time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.servers.byName[server]
	if s == nil {
		return 0
	}
	o.learnLocked(event{op: opAbsent, name: server, number: uint64(s.absent + more)})
	return s.absent
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

// SetAnswered records that the server has answered an update, with whatever. A server that is
// forgotten has answered none.
func (o *Outbox) SetAnswered(server string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learnLocked(event{op: opProve, name: server})
}

// HasAnswered reports whether SetAnswered was called for the server.
func (o *Outbox) HasAnswered(server string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	s := o.servers.byName[server]
	return s != nil && s.proven
}

// Forget removes a server: nothing is pending for it any more.
func (o *Outbox) Forget(server string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learnLocked(event{op: opForget, name: server})
}

// learnLocked applies an event and keeps it for the journal. A new server is written to the journal
// at once and not with the next commit: what is committed while the server is away must be pending
// for it, also after a crash. So is its first answer.
func (o *Outbox) learnLocked(e event) {
	isNew := e.op == opIdentify || e.op == opProve ||
		e.op == opRegister && o.servers.byName[e.name] == nil
	if e.name == "" || !o.applyLocked(e) || o.wake == nil {
		return
	}
	o.events = e.append(o.events)
	if isNew || len(o.events) > manyEvents {
		pause.Wake(o.wake)
	}
}

// applyLocked applies an event and reports whether the journal should know it.
func (o *Outbox) applyLocked(e event) bool {
	switch e.op {
	case opRegister:
		return o.servers.register(e.name, time.Unix(0, int64(e.number)))
	case opAcknowledge:
		return o.acknowledgeLocked(e.name, e.number)
	case opAbsent:
		return o.servers.setAbsence(e.name, time.Duration(e.number))
	case opForget:
		return o.forgetLocked(e.name)
	case opProve:
		return o.servers.prove(e.name)
	case opIdentify:
		o.id = e.name
		return true
	default:
		return o.setUnansweredLocked(e.name, e.op == opUnanswered)
	}
}

// setUnansweredLocked reports whether that is new.
func (o *Outbox) setUnansweredLocked(key string, on bool) bool {
	if o.unanswered[key] == on {
		return false
	}
	if o.unanswered[key] = on; !on {
		delete(o.unanswered, key)
	}
	return true
}

// acknowledgeLocked does nothing for a change that is not kept, or a server that is not known.
func (o *Outbox) acknowledgeLocked(name string, seq uint64) bool {
	c, s := o.pending.bySeq[seq], o.servers.byName[name]
	if c == nil || s == nil || c.acked.Bit(s.slot) == 1 {
		return false
	}
	c.acked.SetBit(&c.acked, s.slot, 1)
	o.pending.settle(c, &o.servers)
	return true
}

// forgetLocked also drops the changes that only this server lacked.
func (o *Outbox) forgetLocked(name string) bool {
	s := o.servers.remove(name)
	if s == nil {
		return false
	}
	for _, c := range o.pending.bySeq {
		c.acked.SetBit(&c.acked, s.slot, 0)
		o.pending.settle(c, &o.servers)
	}
	return true
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

// apply records a change that is durable. One that is not to be announced leaves an older one of
// its account pending: an announcement always carries the account's latest JWT. A deletion leaves
// nothing pending.
func (o *Outbox) apply(r *record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = r.seq
	if r.kind != kindDelete && r.flags&flagQuiet != 0 {
		return
	}
	o.pending.drop(r.key)
	if r.kind != kindDelete {
		o.pending.keep(&pendingChange{Change: Change{Seq: r.seq, Key: r.key, At: r.at,
			Known: time.Now()}})
	}
}

// isNeeded reports whether the journal must outlive the process: a change is pending, or may be for
// a known server.
func (o *Outbox) isNeeded() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.pending.bySeq) > 0 || len(o.servers.byName) > 0
}
