package jwtstore

import "time"

// outboxState is what an Outbox knows, and what survives a restart. Outbox.mu guards it.
type outboxState struct {
	last    uint64 // the last sequence number that was given
	servers knownServers
	pending pendingChanges

	id         string          // see Outbox.ID; "" until it was called
	unanswered map[string]bool // see Outbox.SetUnanswered
}

// newOutboxState returns the state in which nothing has happened.
func newOutboxState() outboxState {
	return outboxState{
		servers:    knownServers{byName: map[string]*server{}},
		pending:    newPendingChanges(),
		unanswered: map[string]bool{},
	}
}

// apply applies an event and reports whether the journal should know it.
func (s *outboxState) apply(e event) bool {
	switch e.op {
	case opRegister:
		return s.servers.register(e.name, time.Unix(0, int64(e.number)))
	case opAcknowledge:
		return s.acknowledge(e.name, e.number)
	case opAbsent:
		return s.servers.setAbsence(e.name, time.Duration(e.number))
	case opForget:
		return s.forget(e.name)
	case opProve:
		return s.servers.prove(e.name)
	case opIdentify:
		s.id = e.name
		return true
	default:
		return s.setUnanswered(e.name, e.op == opUnanswered)
	}
}

// setUnanswered reports whether that is new.
func (s *outboxState) setUnanswered(key string, on bool) bool {
	if s.unanswered[key] == on {
		return false
	}
	if s.unanswered[key] = on; !on {
		delete(s.unanswered, key)
	}
	return true
}

// acknowledge does nothing for a change that is not kept, or a server that is not known.
func (s *outboxState) acknowledge(name string, seq uint64) bool {
	srv := s.servers.byName[name]
	if srv == nil || !s.isPending(srv, seq) {
		return false
	}
	s.pending.acknowledge(s.pending.numbered(seq), srv, &s.servers)
	return true
}

// isPending reports whether a change is kept, and a server has not acknowledged it. nil is a server
// that is not known.
func (s *outboxState) isPending(srv *server, seq uint64) bool {
	c := s.pending.numbered(seq)
	return c != nil && (srv == nil || !s.pending.hasAcknowledged(c, srv))
}

// forget also drops the changes that only this server lacked.
func (s *outboxState) forget(name string) bool {
	srv := s.servers.remove(name)
	if srv == nil {
		return false
	}
	s.pending.forget(srv, &s.servers)
	return true
}

// change records a change that is durable. One that is not to be announced leaves an older one of
// its account pending: an announcement always carries the account's latest JWT. A deletion leaves
// nothing pending.
func (s *outboxState) change(r *record) {
	s.last = r.seq
	if r.kind != kindDelete && r.flags&flagQuiet != 0 {
		return
	}
	if c := s.pending.of(r.key); c != nil {
		s.pending.drop(c)
	}
	if r.kind != kindDelete {
		s.pending.keep(r.seq, r.at.UnixNano(), r.key)
	}
	s.pending.tidy()
}
