package jwtstore

import (
	"cmp"
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
