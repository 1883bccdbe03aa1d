package jwtstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"time"
)

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

// unsaved returns the events that the journal does not know, encoded. recordSaved is to be called
// when it knows them. The caller must not change them.
func (o *outboxCore) unsaved() []byte {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.events
}

// recordSaved records that the journal has the first n bytes of the events.
func (o *outboxCore) recordSaved(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = o.events[n:]
}

// replay applies what an earlier process wrote by unsaved. It stops at what it does not understand.
// body is of a record of kindEvents.
func (o *outboxCore) replay(body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := decoder{rest: body}
	for len(d.rest) > 0 {
		op := d.rest[0]
		d.advance(1)
		e := event{op: op, name: d.text(), number: d.uvarint()}
		if d.bad || op < opRegister || op > opProve {
			return
		}
		o.outboxState.apply(e)
	}
}

// changeSize is about how many bytes of a snapshot a change has, if few servers have acknowledged
// it.
const changeSize = 76

// appendSnapshot appends all that the outbox knows to b. recordSaved is to be called with events
// when the snapshot is in the journal. All numbers are varints; a text is its length and its bytes.
//
//	last
//	number of servers, and of each: name, seen (Unix ns)
//	number of changes, and of each: seq, at (Unix ns), key,
//	  number of servers that have acknowledged it, their positions above
//	of each server above: twice the time for which it was absent (ns), 1 more if it is proven
//	id
//	number of accounts with an announcement that was not answered, and of each: key
//
// Earlier programs did not write the last parts. What was absent begins anew then. events is how
// many bytes of unsaved are in it.
func (o *outboxCore) appendSnapshot(b []byte) (snapshot []byte, events int) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	b = slices.Grow(b, changeSize*o.pending.count()) // it may be some 75 MB
	b = binary.AppendUvarint(b, o.last)
	b = binary.AppendUvarint(b, uint64(len(o.servers.byName)))
	var servers []*server // by position
	for name, s := range o.servers.byName {
		b = binary.AppendVarint(appendText(b, name), s.seen.UnixNano())
		servers = append(servers, s)
	}
	b = binary.AppendUvarint(b, uint64(o.pending.count()))
	for c := range o.pending.after(0) {
		b = o.pending.append(b, c, servers)
	}
	for _, s := range servers {
		last := 2 * uint64(s.absent)
		if s.proven {
			last++
		}
		b = binary.AppendUvarint(b, last)
	}
	b = binary.AppendUvarint(appendText(b, o.id), uint64(len(o.unanswered)))
	for key := range o.unanswered {
		b = appendText(b, key)
	}
	return b, len(o.events)
}

// append appends a change to b, as appendSnapshot says. servers are all, by position.
func (p *pendingChanges) append(b []byte, c *pendingChange, servers []*server) []byte {
	b = binary.AppendUvarint(b, c.seq)
	b = binary.AppendVarint(b, c.at)
	if c.state == isPacked {
		b = binary.AppendUvarint(b, uint64(keyEncoding.EncodedLen(len(c.key))))
		b = keyEncoding.AppendEncode(b, c.key[:])
	} else {
		b = appendText(b, p.keyOf(c))
	}
	n := uint64(0)
	for _, s := range servers {
		if p.hasAcknowledged(c, s) {
			n++
		}
	}
	b = binary.AppendUvarint(b, n)
	for position, s := range servers {
		if p.hasAcknowledged(c, s) {
			b = binary.AppendUvarint(b, uint64(position))
		}
	}
	return b
}

// restoreOutbox is the inverse of appendSnapshot. It believes nothing: every number is bounded by
// the bytes that are there. An outbox without servers has no positions.
func restoreOutbox(snapshot []byte) (*Outbox, error) {
	o, d := newOutbox(false, nil), decoder{rest: snapshot}
	o.last = d.uvarint()
	var names []string
	for range d.count() {
		names = append(names, d.text())
		o.servers.register(names[len(names)-1], time.Unix(0, d.varint()))
	}
	o.pending.restore(&d, len(o.servers.byName))
	if len(d.rest) > 0 {
		for _, name := range names {
			last, s := d.uvarint(), o.servers.byName[name]
			s.absent, s.proven = time.Duration(last/2), last%2 == 1
			s.absentNoted = s.absent
		}
	}
	if len(d.rest) > 0 {
		o.id = d.text()
		for range d.count() {
			o.unanswered[d.text()] = true
		}
	}
	if d.bad || len(d.rest) > 0 {
		return nil, errors.New("the outbox is damaged")
	}
	return o, nil
}

// restore takes the changes of a snapshot. The slot of each of its servers is the position there.
// Earlier programs wrote them in any order.
func (p *pendingChanges) restore(d *decoder, servers int) {
	sorted, last := true, uint64(0)
	for range d.count() {
		seq, at, key := d.uvarint(), d.varint(), d.text()
		var acked *big.Int // nil: the empty set
		for range d.count() {
			if slot := d.uvarint(); slot < uint64(servers) {
				acked = cmp.Or(acked, new(big.Int))
				acked.SetBit(acked, int(slot), 1)
			}
		}
		if d.bad || seq == 0 || p.of(key) != nil {
			break
		}
		if c := p.keep(seq, at, key); acked != nil {
			c.acked = p.acked.number(acked)
		}
		sorted, last = sorted && seq > last, seq
	}
	if !sorted {
		p.sort()
	}
}

// appendText appends the length of s and s.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder takes numbers and texts off a slice. Once something is wrong it is bad and gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

// uvarint takes an unsigned number. Of binary.Uvarint's lengths, 0 means that the end is missing.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.advance(cmp.Or(n, -1))
	return v
}

// varint takes a signed number, as uvarint does.
func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.advance(cmp.Or(n, -1))
	return v
}

// count takes a number of things of at least one byte each. More than there are bytes is wrong, so
// that no memory is asked for on the word of a damaged journal.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return n
}

// text takes what appendText has written. It is a copy.
func (d *decoder) text() string {
	n := d.count()
	s := string(d.rest[:n])
	d.advance(int(n))
	return s
}

// advance takes n bytes off. A negative n means that something is wrong.
func (d *decoder) advance(n int) {
	if n < 0 || d.bad {
		d.bad, d.rest = true, nil
		return
	}
	d.rest = d.rest[n:]
}
