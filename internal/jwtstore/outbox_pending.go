package jwtstore

import (
	"cmp"
	"encoding/base32"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/big"
	"slices"
	"sort"
	"time"

	"nats-account-server/internal/trust"
)

// pendingChanges are the changes that are kept: of each account only the latest, and none that
// every known server has acknowledged. Outbox.mu guards them.
//
//	pages   changes, oldest first: each has 64 bytes, its key included
//	table   hash of the key ──> place in pages
//	acked   of each change: the number of a set of servers, which many changes share
//
// So a million of them take some 75 MB, however many servers lack them. A change that is removed
// leaves a gap. When more than half are gaps, all that is left moves together.
type pendingChanges struct {
	pages [][]pendingChange // all but the last have pageSize
	n     int               // places, the gaps included
	gaps  int
	table []uint32 // 0, or 1 more than a place; of a power of two, and never full
	seed  maphash.Seed
	began time.Time
	acked serverSets
}

// pendingChange is a change that is kept, and which servers have acknowledged it. It has 64 bytes;
// a field more would cost a million accounts megabytes.
type pendingChange struct {
	seq   uint64
	at    int64         // Unix ns, see Change.At
	known time.Duration // see Change.Known; since pendingChanges.began
	acked uint32        // a number of pendingChanges.acked
	key   packedKey
	isGap bool // it was removed
}

// pageSize is how many changes a page has.
const pageSize = 1024

// maxGaps is how many gaps there may be besides as many as there are changes. It is a variable for
// tests.
var maxGaps = 1024

// packedKey is the key of an account without its encoding: 35 bytes.
type packedKey [keyBytes]byte

// packKey packs a key; ok is false if unpack would not return it, since it is none.
func packKey(key string) (p packedKey, ok bool) {
	if !looksLikeKey(key) {
		return packedKey{}, false
	}
	return packedKey(appendKeys(p[:0], key)), true
}

// unpack is the inverse of packKey.
func (p packedKey) unpack() string { return base32.StdEncoding.EncodeToString(p[:]) }

// newPendingChanges returns none.
func newPendingChanges() pendingChanges {
	return pendingChanges{seed: maphash.MakeSeed(), began: time.Now(), acked: newServerSets()}
}

// count returns how many there are.
func (p *pendingChanges) count() int { return p.n - p.gaps }

// at returns what is in a place. The pointer holds until changes are added or moved together.
func (p *pendingChanges) at(place int) *pendingChange {
	return &p.pages[place/pageSize][place%pageSize]
}

// keep adds the change of an account that has none. Its sequence number is greater than all others.
// at is in Unix ns.
func (p *pendingChanges) keep(seq uint64, at int64, key packedKey) *pendingChange {
	return p.add(pendingChange{seq: seq, at: at, known: time.Since(p.began), key: key})
}

// add adds a change, which has no acknowledgements yet, at the end.
func (p *pendingChanges) add(c pendingChange) *pendingChange {
	last := p.n / pageSize
	if last == len(p.pages) {
		size := min(p.n, pageSize) // a first page may stay small
		p.pages = append(p.pages, make([]pendingChange, 0, size))
	}
	p.pages[last] = append(p.pages[last], c)
	if p.n++; 4*p.n > 3*len(p.table) {
		p.index()
	} else {
		p.enter(p.n - 1)
	}
	return p.at(p.n - 1)
}

// index makes a table that has room for as many changes again. It leaves gaps out.
func (p *pendingChanges) index() {
	size := 16
	for size < 2*p.n {
		size *= 2
	}
	p.table = make([]uint32, size)
	for place := range p.n {
		if !p.at(place).isGap {
			p.enter(place)
		}
	}
}

// enter enters a change in the table. The table has room for it.
func (p *pendingChanges) enter(place int) {
	i := p.slot(p.at(place).key)
	for p.table[i] != 0 {
		i = (i + 1) % len(p.table)
	}
	p.table[i] = uint32(place + 1)
}

// slot returns where in the table the search for a key begins.
func (p *pendingChanges) slot(key packedKey) int {
	return int(maphash.Bytes(p.seed, key[:]) % uint64(len(p.table)))
}

// of returns the change of an account; nil if there is none. The table is searched from the key's
// slot on, until an empty place.
func (p *pendingChanges) of(key string) *pendingChange {
	packed, ok := packKey(key)
	if !ok || len(p.table) == 0 {
		return nil
	}
	for i := p.slot(packed); p.table[i] != 0; i = (i + 1) % len(p.table) {
		if c := p.at(int(p.table[i] - 1)); !c.isGap && c.key == packed {
			return c
		}
	}
	return nil
}

// numbered returns the change of this number; nil if there is none.
func (p *pendingChanges) numbered(seq uint64) *pendingChange {
	if place := p.search(seq); place < p.n {
		if c := p.at(place); c.seq == seq && !c.isGap {
			return c
		}
	}
	return nil
}

// search returns the first place whose number is seq or a later one. Places are in the order of
// numbers, gaps too.
func (p *pendingChanges) search(seq uint64) int {
	return sort.Search(p.n, func(place int) bool { return p.at(place).seq >= seq })
}

// after yields the changes after a sequence number, oldest first. No change may be added or moved
// meanwhile.
func (p *pendingChanges) after(seq uint64) iter.Seq[*pendingChange] {
	return func(yield func(*pendingChange) bool) {
		for place := p.search(seq + 1); place < p.n; place++ {
			if c := p.at(place); !c.isGap && !yield(c) {
				return
			}
		}
	}
}

// change returns a change as callers of the Outbox see it.
func (p *pendingChanges) change(c *pendingChange) Change {
	return Change{Seq: c.seq, Key: c.key.unpack(), At: time.Unix(0, c.at),
		Known: p.began.Add(c.known)}
}

// drop removes a change. It moves nothing; tidy does.
func (p *pendingChanges) drop(c *pendingChange) {
	p.acked.release(c.acked)
	c.isGap, c.acked = true, 0
	p.gaps++
}

// tidy moves the changes together if there are many gaps. So a change is moved as often as a new
// one is added, on average.
func (p *pendingChanges) tidy() {
	if p.gaps <= p.count()+maxGaps && p.count() > 0 {
		return
	}
	pages := p.pages
	p.pages, p.table, p.n, p.gaps = nil, nil, 0, 0
	for i, page := range pages {
		pages[i] = nil // so that it may go while others are moved
		for _, c := range page {
			if !c.isGap {
				p.add(c)
			}
		}
	}
}

// hasAcknowledged reports whether a server has acknowledged a change.
func (p *pendingChanges) hasAcknowledged(c *pendingChange, s *server) bool {
	return p.acked.has(c.acked, s.slot)
}

// acknowledge records that a server has acknowledged a change.
func (p *pendingChanges) acknowledge(c *pendingChange, s *server, all *knownServers) {
	c.acked = p.acked.with(c.acked, s.slot)
	p.settle(c, all)
	p.tidy()
}

// forget records that a server is not known any more. It drops what only this server lacked.
func (p *pendingChanges) forget(s *server, left *knownServers) {
	sets := p.acked.without(s.slot)
	for c := range p.after(0) {
		c.acked = sets(c.acked)
	}
	for c := range p.after(0) {
		p.settle(c, left)
	}
	p.tidy()
}

// settle drops a change if some server is known, and none that is known lacks it. Without known
// servers a change stays until one is there.
func (p *pendingChanges) settle(c *pendingChange, servers *knownServers) {
	if len(servers.byName) > 0 && p.acked.bits[c.acked].Cmp(&servers.slots) == 0 {
		p.drop(c)
	}
}

// sort puts the changes in the order of their numbers. It removes one whose number another one has.
func (p *pendingChanges) sort() {
	all := slices.Concat(p.pages...)
	slices.SortFunc(all, func(a, b pendingChange) int { return cmp.Compare(a.seq, b.seq) })
	p.pages, p.table, p.n = nil, nil, 0
	for i, c := range all {
		if i == 0 || c.seq != all[i-1].seq {
			p.add(c)
		}
	}
}

// append appends the changes to b, as outboxState.append says. servers are all, by position.
func (p *pendingChanges) append(b []byte, servers []*server) []byte {
	b = binary.AppendUvarint(b, uint64(p.count()))
	for c := range p.after(0) {
		b = binary.AppendVarint(binary.AppendUvarint(b, c.seq), c.at)
		b = binary.AppendUvarint(b, trust.KeyLength)
		b = base32.StdEncoding.AppendEncode(b, c.key[:])
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
	}
	return b
}

// restore takes the changes of a snapshot. The slot of each of its servers is the position there.
// Earlier programs wrote them in any order.
func (p *pendingChanges) restore(d *decoder, servers int) {
	sorted, last := true, uint64(0)
	for range d.count() {
		seq, at, name := d.uvarint(), d.varint(), d.text()
		var acked *big.Int // nil: the empty set
		for range d.count() {
			if slot := d.uvarint(); slot < uint64(servers) {
				acked = cmp.Or(acked, new(big.Int))
				acked.SetBit(acked, int(slot), 1)
			}
		}
		key, ok := packKey(name)
		if !ok || seq == 0 || p.of(name) != nil {
			d.fail()
			return
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
