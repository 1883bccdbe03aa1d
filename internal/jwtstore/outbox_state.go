package jwtstore

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// outboxState is what an Outbox knows, and what survives a restart: the journal has a snapshot of
// it, and what came after that. Outbox.mu guards it.
type outboxState struct {
	last    uint64 // the last sequence number that was given
	servers knownServers
	pending pendingChanges

	id         string          // see Outbox.ID; "" until it was called
	unanswered map[string]bool // see Outbox.SetUnanswered
}

// newOutboxState returns the state in which nothing has happened.
func newOutboxState() *outboxState {
	return &outboxState{
		servers:    knownServers{byName: map[string]*server{}},
		pending:    newPendingChanges(),
		unanswered: map[string]bool{},
	}
}

// committed records a change that is durable. One that is not to be announced leaves an older one
// of its account pending: an announcement always carries the account's latest JWT. A deletion
// leaves nothing pending.
func (s *outboxState) committed(r *record) {
	s.last = r.seq
	if r.kind != kindDelete && r.flags&flagQuiet != 0 {
		return
	}
	if c := s.pending.of(r.key); c != nil {
		s.pending.drop(c)
	}
	if key, ok := packKey(r.key); ok && r.kind != kindDelete {
		s.pending.keep(r.seq, r.at.UnixNano(), key)
	}
	s.pending.tidy()
}

// event is something that was learned of a nats-server, or of what was announced. In the journal it
// is
//
//	op                      1 byte
//	length of the name      uvarint
//	name
//	number                  uvarint
//
// A journal that has an unknown op is of a later program.
type event struct {
	op     byte
	name   string // of the server, except where the list of ops says something else
	number uint64 // see the list of ops; else 0
}

// What an event says. The numbers are part of the journal's format.
const (
	opRegister    byte = 1 + iota // number: when, in Unix ns
	opAcknowledge                 // number: the change's
	opForget                      // number: 0
	opAbsent                      // number: for how long, in ns
	opIdentify                    // name: the outbox's id
	opUnanswered                  // name: an account's key
	opAnswered                    // name: an account's key
	opProve                       // number: 0
)

// append appends the event to b.
func (e event) append(b []byte) []byte {
	return binary.AppendUvarint(appendText(append(b, e.op), e.name), e.number)
}

// replay applies events that an earlier process wrote. It stops at what it does not understand.
func (s *outboxState) replay(events []byte) {
	d := decoder{rest: events}
	for len(d.rest) > 0 {
		e := event{op: d.bytes(1)[0], name: d.text(), number: d.uvarint()}
		if d.bad || e.op < opRegister || e.op > opProve {
			return
		}
		s.learned(e)
	}
}

// learned applies an event and reports whether the journal should know it.
func (s *outboxState) learned(e event) bool {
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

// changeSize is about how many bytes of a snapshot a change has, if few servers have acknowledged
// it.
const changeSize = 76

// append appends a snapshot to b. All numbers are varints; a text is its length and its bytes.
//
//	last
//	number of servers, and of each: name, seen (Unix ns)
//	number of changes, and of each: seq, at (Unix ns), key,
//	  number of servers that have acknowledged it, their positions above
//	of each server above: twice the time for which it was absent (ns), 1 more if it is proven
//	id
//	number of accounts with an announcement that was not answered, and of each: key
//
// Earlier programs did not write the last parts. What was absent begins anew then.
func (s *outboxState) append(b []byte) []byte {
	b = slices.Grow(b, changeSize*s.pending.count()) // it may be some 75 MB
	b = binary.AppendUvarint(b, s.last)
	b = binary.AppendUvarint(b, uint64(len(s.servers.byName)))
	var servers []*server // by position
	for name, srv := range s.servers.byName {
		b = binary.AppendVarint(appendText(b, name), srv.seen.UnixNano())
		servers = append(servers, srv)
	}
	b = s.pending.append(b, servers)
	for _, srv := range servers {
		last := 2 * uint64(srv.absent)
		if srv.proven {
			last++
		}
		b = binary.AppendUvarint(b, last)
	}
	b = binary.AppendUvarint(appendText(b, s.id), uint64(len(s.unanswered)))
	for key := range s.unanswered {
		b = appendText(b, key)
	}
	return b
}

// restoreOutbox is the inverse of append. It believes nothing: every number is bounded by the bytes
// that are there. An outbox without servers has no positions.
func restoreOutbox(snapshot []byte) (*outboxState, error) {
	s, d := newOutboxState(), decoder{rest: snapshot}
	s.last = d.uvarint()
	var names []string
	for range d.count() {
		names = append(names, d.text())
		s.servers.register(names[len(names)-1], time.Unix(0, d.varint()))
	}
	s.pending.restore(&d, len(s.servers.byName))
	if len(d.rest) > 0 {
		for _, name := range names {
			last, srv := d.uvarint(), s.servers.byName[name]
			srv.absent, srv.proven = time.Duration(last/2), last%2 == 1
			srv.absentNoted = srv.absent
		}
	}
	if len(d.rest) > 0 {
		s.id = d.text()
		for range d.count() {
			s.unanswered[d.text()] = true
		}
	}
	if d.bad || len(d.rest) > 0 {
		return nil, errors.New("the outbox is damaged")
	}
	return s, nil
}
