package jwtstore

import (
	"maps"
	"math/big"
	"slices"
	"time"
)

const (
	// seenStep is how exactly the journal knows when a server was last seen: each step is an event.
	seenStep = time.Hour
	// absentStep is how exactly the journal knows how long a server was absent.
	absentStep = 15 * time.Minute
	// maxServers bounds the servers that are known. The largest systems have some hundred; a user
	// of the system account can pretend to be any number. Each takes a bit of each change.
	maxServers = 4096
)

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
	if len(o.servers.byName) >= maxServers && o.servers.byName[server] == nil {
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

// SetAnswered records that the server has answered an update, with whatever. A server that is
// forgotten has answered none.
func (o *Outbox) SetAnswered(server string) {
	o.learn(event{op: opProve, name: server})
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
	o.learn(event{op: opForget, name: server})
}

// knownServers are the nats-servers that were registered and not forgotten. Each has a slot which
// no other one has. Outbox.mu guards them.
type knownServers struct {
	byName map[string]*server
	slots  big.Int // a bit for each slot that a server has
}

// server is a known nats-server.
type server struct {
	slot   int       // its bit in pendingChange.acked; given again when the server is forgotten
	seen   time.Time // by the clock then; only to be shown
	noted  time.Time // what the journal knows of seen
	proven bool      // it has answered an update
	// absent is how long it was not there, as far as processes that looked for it have seen time go
	// by. It is 0 while the server is there.
	absent      time.Duration
	absentNoted time.Duration // what the journal knows of absent
}

// register adds a server, or records that it was seen again. It reports false if the journal knows
// closely enough when that was.
func (k *knownServers) register(name string, at time.Time) bool {
	s := k.byName[name]
	if s == nil {
		s = &server{slot: int(new(big.Int).Not(&k.slots).TrailingZeroBits())} // the lowest free one
		k.byName[name] = s
		k.slots.SetBit(&k.slots, s.slot, 1)
	}
	wasAbsent := s.absentNoted > 0
	s.seen, s.absent, s.absentNoted = at, 0, 0
	if at.Sub(s.noted).Abs() < seenStep && !wasAbsent {
		return false
	}
	s.noted = at
	return true
}

// setAbsence records how long a server was absent. It reports false if the journal knows that
// closely enough.
func (k *knownServers) setAbsence(name string, absent time.Duration) bool {
	s := k.byName[name]
	if s == nil || absent < s.absent {
		return false
	}
	s.absent = absent
	if absent-s.absentNoted < absentStep {
		return false
	}
	s.absentNoted = absent
	return true
}

// prove records that a server has answered an update. It reports false if that is known.
func (k *knownServers) prove(name string) bool {
	s := k.byName[name]
	if s == nil || s.proven {
		return false
	}
	s.proven = true
	return true
}

// remove removes a server and returns it, nil if there is none. Its slot may be given again.
func (k *knownServers) remove(name string) *server {
	s := k.byName[name]
	if s != nil {
		delete(k.byName, name)
		k.slots.SetBit(&k.slots, s.slot, 0)
	}
	return s
}

// leastNeeded returns the server that Outbox.Displace forgets, "" if there is none.
func (k *knownServers) leastNeeded(preferred bool) (name string) {
	var least *server
	for n, s := range k.byName {
		switch mayGo := s.absent > 0 && (preferred || !s.proven) || preferred && !s.proven; {
		case !mayGo:
		case least == nil || least.proven && !s.proven,
			least.proven == s.proven && s.absent > least.absent:
			name, least = n, s
		}
	}
	return name
}
