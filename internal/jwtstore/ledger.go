package jwtstore

import (
	"container/list"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// ledger is the outbox: which change of which account which nats-server has still to acknowledge. It does no I/O
// and has no lock; its owner has.
//
//	changes, oldest first        server 0   1   2
//	  seq 11  account A…              x       x      1 is owed 11
//	  seq 14  account C…              x   x
//	  seq 15  account B…                             all are owed 15
//
// Only the latest change of an account is kept: a nats-server that was away needs the account's last JWT, not its
// history. Who has acknowledged is kept with each change, as a bit per server, and not as a position per server:
// answers come out of order, and changes that were superseded leave gaps. A change goes when there is a server and
// every server has acknowledged it. Everything here takes the same time however many changes are kept, except
// changes, forget, encode and decode.
type ledger struct {
	head    uint64 // the last sequence number that was given
	servers []server
	slots   map[string]int // name -> index in servers
	order   *list.List     // of *owed, by rising seq
	bySeq   map[uint64]*list.Element
	byKey   map[string]*list.Element
}

// server is a known nats-server; an empty name is a free slot.
type server struct {
	name  string
	seen  time.Time
	noted time.Time // what the journal knows of seen
}

// owed is a change that is kept, and who has acknowledged it.
type owed struct {
	Change
	acked bits
	count int // bits that are set
}

func newLedger() *ledger {
	return &ledger{
		slots: map[string]int{},
		order: list.New(),
		bySeq: map[uint64]*list.Element{},
		byKey: map[string]*list.Element{},
	}
}

// commit records that key has changed. If it is not to be announced, an older change that is owed stays: whoever
// is told of it gets the account's latest JWT anyway.
func (l *ledger) commit(seq uint64, key string, at time.Time, announce bool) {
	l.head = seq
	if !announce {
		return
	}
	if older := l.byKey[key]; older != nil {
		l.drop(older)
	}
	l.keep(&owed{Change: Change{Seq: seq, Key: key, At: at}})
}

// withdraw records that key was deleted: nobody is owed anything of it any more.
func (l *ledger) withdraw(seq uint64, key string) {
	l.head = seq
	if older := l.byKey[key]; older != nil {
		l.drop(older)
	}
}

func (l *ledger) keep(o *owed) {
	e := l.order.PushBack(o)
	l.bySeq[o.Seq], l.byKey[o.Key] = e, e
}

func (l *ledger) drop(e *list.Element) {
	o := l.order.Remove(e).(*owed)
	delete(l.bySeq, o.Seq)
	delete(l.byKey, o.Key)
}

// changes returns what some server may still lack, oldest first. With no server known that is everything.
func (l *ledger) changes() []Change {
	all := make([]Change, 0, l.order.Len())
	for e := l.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*owed).Change)
	}
	return all
}

// seenStep is how exactly the journal knows when a server was last seen: each step is worth a place in it.
const seenStep = time.Hour

// meet says whether that is worth a place in the journal. A new server lacks every change that is kept.
func (l *ledger) meet(name string, at time.Time) bool {
	if slot, known := l.slots[name]; known {
		s := &l.servers[slot]
		s.seen = at
		news := at.Sub(s.noted) >= seenStep
		if news {
			s.noted = at
		}
		return news
	}
	slot := slices.IndexFunc(l.servers, func(s server) bool { return s.name == "" })
	if slot < 0 {
		slot = len(l.servers)
		l.servers = append(l.servers, server{})
	}
	l.servers[slot] = server{name: name, seen: at, noted: at}
	l.slots[name] = slot
	return true
}

// names returns the known servers.
func (l *ledger) names() []string {
	all := make([]string, 0, len(l.slots))
	for _, s := range l.servers {
		if s.name != "" {
			all = append(all, s.name)
		}
	}
	return all
}

// seen says when a server was last met; the zero time if it is not known.
func (l *ledger) seen(name string) time.Time {
	if slot, known := l.slots[name]; known {
		return l.servers[slot].seen
	}
	return time.Time{}
}

// latest returns the change of an account that some server may still lack; the zero Change if there is none.
func (l *ledger) latest(key string) Change {
	if e := l.byKey[key]; e != nil {
		return e.Value.(*owed).Change
	}
	return Change{}
}

// unseen returns the servers that were last seen before a moment.
func (l *ledger) unseen(before time.Time) []string {
	var all []string
	for _, s := range l.servers {
		if s.name != "" && s.seen.Before(before) {
			all = append(all, s.name)
		}
	}
	return all
}

// lacks says whether the change is kept and the server has not acknowledged it.
func (l *ledger) lacks(name string, seq uint64) bool {
	e := l.bySeq[seq]
	if e == nil {
		return false
	}
	slot, known := l.slots[name]
	return !known || !e.Value.(*owed).acked.has(slot)
}

// confirm says whether this was news.
func (l *ledger) confirm(name string, seq uint64) bool {
	e := l.bySeq[seq]
	slot, known := l.slots[name]
	if e == nil || !known {
		return false
	}
	o := e.Value.(*owed)
	if o.acked.has(slot) {
		return false
	}
	o.acked.set(slot)
	o.count++
	if o.count == len(l.slots) {
		l.drop(e)
	}
	return true
}

// forget says whether the server was known. What only it lacked goes with it.
func (l *ledger) forget(name string) bool {
	slot, known := l.slots[name]
	if !known {
		return false
	}
	delete(l.slots, name)
	l.servers[slot] = server{}
	for e := l.order.Front(); e != nil; {
		o, next := e.Value.(*owed), e.Next()
		if o.acked.has(slot) {
			o.acked.clear(slot)
			o.count--
		}
		if len(l.slots) > 0 && o.count == len(l.slots) {
			l.drop(e)
		}
		e = next
	}
	return true
}

// bits is a set of small numbers.
type bits []uint64

func (b bits) has(i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }
func (b bits) clear(i int)    { b[i/64] &^= 1 << (i % 64) }

func (b *bits) set(i int) {
	for i/64 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

// encode appends the ledger to b. All numbers are varints, a text is its length and its bytes.
//
//	head
//	number of servers, for each: name, seen (Unix ns)
//	number of changes, for each: seq, at (Unix ns), key, number of servers that acknowledged, their positions above
func (l *ledger) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, l.head)
	b = binary.AppendUvarint(b, uint64(len(l.slots)))
	position := make([]uint64, len(l.servers))
	n := uint64(0)
	for slot, s := range l.servers {
		if s.name != "" {
			b = appendText(b, s.name)
			b = binary.AppendVarint(b, s.seen.UnixNano())
			position[slot] = n
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(l.order.Len()))
	for e := l.order.Front(); e != nil; e = e.Next() {
		o := e.Value.(*owed)
		b = binary.AppendUvarint(b, o.Seq)
		b = binary.AppendVarint(b, o.At.UnixNano())
		b = appendText(b, o.Key)
		b = binary.AppendUvarint(b, uint64(o.count))
		for slot := range l.servers {
			if o.acked.has(slot) {
				b = binary.AppendUvarint(b, position[slot])
			}
		}
	}
	return b
}

// decodeLedger is the inverse of encode. It believes nothing: every number is bounded by the bytes that are there.
func decodeLedger(b []byte) (*ledger, error) {
	l, d := newLedger(), decoder{rest: b}
	l.head = d.uvarint()
	for range d.count() {
		l.meet(d.text(), time.Unix(0, d.varint()))
	}
	for range d.count() {
		o := &owed{Change: Change{Seq: d.uvarint(), At: time.Unix(0, d.varint()), Key: d.text()}}
		for range d.count() {
			slot := d.uvarint()
			if slot < uint64(len(l.servers)) && !o.acked.has(int(slot)) {
				o.acked.set(int(slot))
				o.count++
			}
		}
		if d.bad || l.byKey[o.Key] != nil || l.bySeq[o.Seq] != nil {
			break
		}
		l.keep(o)
	}
	if d.bad || len(d.rest) > 0 {
		return nil, errors.New("the ledger is damaged")
	}
	return l, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder takes numbers and texts off a slice. Once something is wrong it is bad and gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.advance(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.advance(n)
	return v
}

// count is a number of things of at least one byte each.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) text() string {
	n := d.count()
	s := string(d.rest[:n])
	d.advance(int(n))
	return s
}

func (d *decoder) advance(n int) {
	if n < 0 || d.bad {
		d.bad, d.rest = true, nil
		return
	}
	d.rest = d.rest[n:]
}
