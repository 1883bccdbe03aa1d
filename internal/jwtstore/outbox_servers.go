package jwtstore

import (
	"math/big"
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

// isFull reports whether no other server can be registered.
func (k *knownServers) isFull() bool { return len(k.byName) >= maxServers }

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
