package jwtstore

import (
	"cmp"
	"maps"
	"math/big"
	"slices"
)

// pendingChanges are the changes that are kept: of each account only the latest, and none that
// every known server has acknowledged. Outbox.mu guards them.
type pendingChanges struct {
	bySeq map[uint64]*pendingChange
	byKey map[string]*pendingChange // the same changes
}

// pendingChange is a change that is kept, and which servers have acknowledged it.
type pendingChange struct {
	Change
	acked big.Int // a bit for each slot; 0 for a slot that no server has
}

// keep adds a change. None of its account or number may be kept.
func (p *pendingChanges) keep(c *pendingChange) { p.bySeq[c.Seq], p.byKey[c.Key] = c, c }

// drop removes the change of an account, if there is one.
func (p *pendingChanges) drop(key string) {
	if c := p.byKey[key]; c != nil {
		delete(p.bySeq, c.Seq)
		delete(p.byKey, key)
	}
}

// settle drops a change if some server is known, and none that is known lacks it.
func (p *pendingChanges) settle(c *pendingChange, servers *knownServers) {
	if len(servers.byName) > 0 && c.acked.Cmp(&servers.slots) == 0 {
		p.drop(c.Key)
	}
}

// sorted returns the changes, oldest first.
func (p *pendingChanges) sorted() []Change {
	all := make([]Change, 0, len(p.bySeq))
	for _, c := range p.bySeq {
		all = append(all, c.Change)
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// countSize is how many changes CountPending looks at before others may use the outbox.
const countSize = 1000

// CountPending returns how many changes are kept, and how many of them each server has not
// acknowledged. It looks at all of them, some at a time, so others may change them meanwhile.
func (o *Outbox) CountPending() (all int, byServer map[string]int) {
	o.mu.RLock()
	changes := slices.Collect(maps.Values(o.pending.bySeq))
	byServer = make(map[string]int, len(o.servers.byName))
	for name := range o.servers.byName {
		byServer[name] = 0
	}
	o.mu.RUnlock()
	for some := range slices.Chunk(changes, countSize) {
		o.countSome(some, byServer)
	}
	return len(changes), byServer
}

// countSome adds to byServer what the servers in it have not acknowledged of some changes.
func (o *Outbox) countSome(changes []*pendingChange, byServer map[string]int) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for name := range byServer {
		s := o.servers.byName[name]
		if s == nil {
			continue // it was forgotten meanwhile
		}
		for _, c := range changes {
			if o.pending.bySeq[c.Seq] == c && c.acked.Bit(s.slot) == 0 {
				byServer[name]++
			}
		}
	}
}
