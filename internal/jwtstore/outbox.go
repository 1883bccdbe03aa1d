package jwtstore

import (
	"container/list"
	"math/big"
	"slices"
	"sync"
	"time"

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
// last JWT, not its history. Each change has one bit for every server that has acknowledged it. A
// position per server would not do: answers come out of order, and superseded changes leave gaps. A
// change goes when at least one server is known and every known server has acknowledged it. The
// time that a method takes does not depend on the number of changes, except for Pending, Forget and
// the snapshot.
//
// The methods may be called from any goroutine. None of them does I/O. What they learn of
// nats-servers is kept as events until the journal has taken them.
type Outbox struct {
	mu       sync.RWMutex // guards what follows
	announce bool
	head     uint64 // the last sequence number that was given

	servers []server
	slots   map[string]int // name -> index in servers
	order   *list.List     // of *pendingChange, by rising seq
	bySeq   map[uint64]*list.Element
	byKey   map[string]*list.Element

	// wake is signalled when events should reach the journal soon. It is nil if there is no
	// journal: then there are no events.
	wake    chan struct{}
	events  []event // what the journal does not know yet
	dropped int     // events beyond maxEvents: the journal needs a checkpoint to know them
}

// server is a known nats-server; an empty name is a free slot.
type server struct {
	name  string
	seen  time.Time
	noted time.Time // what the journal knows of seen
}

// pendingChange is a change that is kept, and which servers have acknowledged it.
type pendingChange struct {
	Change
	acked big.Int // a bit for each index in servers
	count int     // bits that are set
}

func (c *pendingChange) has(slot int) bool { return c.acked.Bit(slot) != 0 }

// set changes the bit of a server to 0 or 1.
func (c *pendingChange) set(slot int, bit uint) {
	c.count += int(bit) - int(c.acked.Bit(slot))
	c.acked.SetBit(&c.acked, slot, bit)
}

const (
	// seenStep is how exactly the journal knows when a server was last seen: each step is an event.
	seenStep = time.Hour
	// maxEvents bounds the events that wait for the journal. A checkpoint takes the place of more.
	maxEvents = 4096
)

// newOutbox returns an empty outbox; see the fields for announce and wake.
func newOutbox(announce bool, wake chan struct{}) *Outbox {
	return &Outbox{
		announce: announce,
		wake:     wake,
		slots:    map[string]int{},
		order:    list.New(),
		bySeq:    map[uint64]*list.Element{},
		byKey:    map[string]*list.Element{},
	}
}

// SetAnnounce says whether later changes are to be announced. What is pending stays pending.
func (o *Outbox) SetAnnounce(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.announce = on
}

// Pending returns the changes that some server may still lack, oldest first, and of each account
// only the latest. If no server is known these are all changes since one was.
func (o *Outbox) Pending() []Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	all := make([]Change, 0, o.order.Len())
	for e := o.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*pendingChange).Change)
	}
	return all
}

// PendingFor returns the change of an account that some server may still lack; the zero Change if
// there is none.
func (o *Outbox) PendingFor(key string) Change {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if e := o.byKey[key]; e != nil {
		return e.Value.(*pendingChange).Change
	}
	return Change{}
}

// IsPending reports whether the change is kept and the server has not acknowledged it.
func (o *Outbox) IsPending(server string, seq uint64) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	e := o.bySeq[seq]
	if e == nil {
		return false
	}
	slot, known := o.slots[server]
	return !known || !e.Value.(*pendingChange).has(slot)
}

// Servers returns the names of all servers that were registered and not forgotten.
func (o *Outbox) Servers() []string { return o.serversWhere(func(server) bool { return true }) }

// UnseenSince returns the servers that were last seen before a moment.
func (o *Outbox) UnseenSince(before time.Time) []string {
	return o.serversWhere(func(s server) bool { return s.seen.Before(before) })
}

func (o *Outbox) serversWhere(holds func(server) bool) []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	all := make([]string, 0, len(o.slots))
	for _, s := range o.servers {
		if s.name != "" && holds(s) {
			all = append(all, s.name)
		}
	}
	return all
}

// LastSeen returns when a server was last registered; the zero time if it is not known.
func (o *Outbox) LastSeen(server string) time.Time {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if slot, known := o.slots[server]; known {
		return o.servers[slot].seen
	}
	return time.Time{}
}

// Register records that the server of this name was seen. A new one lacks every change that is
// pending.
func (o *Outbox) Register(server string, at time.Time) {
	o.learn(event{op: opRegister, server: server, number: uint64(at.UnixNano())})
}

// Acknowledge records that the server has acknowledged the change.
func (o *Outbox) Acknowledge(server string, seq uint64) {
	o.learn(event{op: opAcknowledge, server: server, number: seq})
}

// Forget removes a server: nothing is pending for it any more.
func (o *Outbox) Forget(server string) {
	o.learn(event{op: opForget, server: server})
}

// learn applies an event and keeps it for the journal. A new server is written to the journal at
// once and not with the next commit: what is committed while the server is away must be pending for
// it, also after a crash.
func (o *Outbox) learn(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, known := o.slots[e.server]
	if e.server == "" || !o.applyLocked(e) || o.wake == nil {
		return
	}
	if !known {
		signal(o.wake)
	}
	if len(o.events) == maxEvents {
		o.dropped++
		return
	}
	o.events = append(o.events, e)
}

// applyLocked applies an event and reports whether the journal should know it.
func (o *Outbox) applyLocked(e event) bool {
	switch e.op {
	case opRegister:
		return o.registerLocked(e.server, time.Unix(0, int64(e.number)))
	case opAcknowledge:
		return o.acknowledgeLocked(e.server, e.number)
	default:
		return o.forgetLocked(e.server)
	}
}

func (o *Outbox) registerLocked(name string, at time.Time) bool {
	if slot, known := o.slots[name]; known {
		s := &o.servers[slot]
		s.seen = at
		if at.Sub(s.noted) < seenStep {
			return false
		}
		s.noted = at
		return true
	}
	slot := len(o.servers)
	if len(o.slots) < slot {
		slot = slices.IndexFunc(o.servers, func(s server) bool { return s.name == "" })
	} else {
		o.servers = append(o.servers, server{})
	}
	o.servers[slot] = server{name: name, seen: at, noted: at}
	o.slots[name] = slot
	return true
}

func (o *Outbox) acknowledgeLocked(name string, seq uint64) bool {
	e := o.bySeq[seq]
	slot, known := o.slots[name]
	if e == nil || !known {
		return false
	}
	c := e.Value.(*pendingChange)
	if c.has(slot) {
		return false
	}
	c.set(slot, 1)
	if c.count == len(o.slots) {
		o.dropLocked(e)
	}
	return true
}

// forgetLocked also drops the changes that only this server lacked.
func (o *Outbox) forgetLocked(name string) bool {
	slot, known := o.slots[name]
	if !known {
		return false
	}
	delete(o.slots, name)
	o.servers[slot] = server{}
	for e := o.order.Front(); e != nil; {
		c, next := e.Value.(*pendingChange), e.Next()
		c.set(slot, 0)
		if len(o.slots) > 0 && c.count == len(o.slots) {
			o.dropLocked(e)
		}
		e = next
	}
	return true
}

// number gives changes the next sequence numbers, the time, and the flag that they are not to be
// announced. The numbers are taken when the changes are applied.
func (o *Outbox) number(now time.Time, changes []*record) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for i, r := range changes {
		r.seq, r.at = o.head+1+uint64(i), now
		if !o.announce || trust.IsActivationHash(r.key) {
			r.flags = flagQuiet
		}
	}
}

// lastSeq returns the sequence number of the last change.
func (o *Outbox) lastSeq() uint64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.head
}

// apply records a change that is durable. One that is not to be announced leaves an older one of
// its account pending: an announcement always carries the account's latest JWT. A deletion leaves
// nothing pending.
func (o *Outbox) apply(r *record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.head = r.seq
	if r.kind != kindDelete && r.flags&flagQuiet != 0 {
		return
	}
	o.dropLocked(o.byKey[r.key])
	if r.kind != kindDelete {
		o.keepLocked(&pendingChange{Change: Change{Seq: r.seq, Key: r.key, At: r.at}})
	}
}

func (o *Outbox) keepLocked(c *pendingChange) {
	e := o.order.PushBack(c)
	o.bySeq[c.Seq], o.byKey[c.Key] = e, e
}

// dropLocked removes a change; nil is no change.
func (o *Outbox) dropLocked(e *list.Element) {
	if e == nil {
		return
	}
	c := o.order.Remove(e).(*pendingChange)
	delete(o.bySeq, c.Seq)
	delete(o.byKey, c.Key)
}

// needsCheckpoint reports whether there is more to save than the events.
func (o *Outbox) needsCheckpoint() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.dropped > 0
}

// isNeeded reports whether the journal must outlive the process: a change is pending, or may be for
// a known server.
func (o *Outbox) isNeeded() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.order.Len() > 0 || len(o.slots) > 0
}
