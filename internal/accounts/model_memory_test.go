package accounts_test

import (
	"bytes"
	"fmt"
	"strings"

	"nats-account-server/internal/accounts"
)

// memory is what the model knows of one account on one server: the newest version that was ever
// accepted there, and what can't come back. It is all that the rules need.
type memory struct {
	floor    int64                  // issue time of the newest version, Unix seconds
	last     *modelVersion          // the newest version; nil: none yet, or it was deleted
	replaced map[*modelVersion]bool // what was accepted in the same second before it
	order    int64                  // issue time of the last order to delete, Unix seconds
	orders   map[string]bool        // those that were carried out, by name
	bar      int64                  // issue time up to which nothing comes back after a deletion
	barred   int64                  // issue time of the newest version that was deleted, Unix seconds

	// configured is the issue time of the newest JWT that the configuration ever had of the system
	// account. noted is that too, unless what is noted of it may be lost. Both are in Unix seconds.
	configured, noted int64

	// What the owner of the directory did by hand since the last version was accepted.
	hand *modelVersion // put there; nil: none
	file *modelVersion // what was put there last, also if another version was accepted since
	gone bool          // the file was removed
	// byHand is whether last was put there by hand, and ahead whether hand was ahead of the clock:
	// then it may be no floor.
	byHand, ahead bool
	// unsure means that what the server knows may be less or more than what the model knows: only
	// what was never accepted may be refused, and the floor may be lower after an index was lost.
	unsure bool
	// forgotten is the newest version when the index was lost: the server may not know it any more.
	forgotten *modelVersion
	top       int64 // issue time of the newest version ever, Unix seconds, also if that was forgotten
	lost      bool  // the index was lost: the files count as the newest if the clock says so
}

// superseded reports whether the account must never be served by this version again.
func (m *memory) superseded(v *modelVersion) bool {
	return v.issued <= m.bar || v.issued < m.floor || v.issued == m.floor && m.replaced[v]
}

// accept notes that a version was accepted.
func (m *memory) accept(v *modelVersion) {
	had := m.last
	if m.superseded(v) {
		m.bar = 0 // it is an exception
	}
	isHidden := m.hand != nil && m.hand.issued > v.issued // by a change whose file is not written yet
	switch {
	case isHidden:
	case m.file != nil && had != nil && v.issued < had.issued:
		m.hand = m.file // after a crash nothing tells that allow_older has let v in after it
	case m.lost && had != nil && v.issued < had.issued:
		m.hand = had
	default:
		m.hand, m.gone = nil, false
	}
	if v.issued < m.noted {
		m.noted = 0 // allow_older has let it in
	}
	if v.issued != m.floor {
		m.replaced = map[*modelVersion]bool{}
	}
	if had != nil && had.issued == v.issued && had != m.forgotten {
		m.replaced[had] = true
	}
	delete(m.replaced, v)
	m.floor, m.last, m.byHand, m.ahead = v.issued, v, false, false
	if v.issued > m.top {
		m.top, m.unsure, m.lost = v.issued, false, false
	}
}

// accept notes that a version was offered and accepted. The configured system account counts as
// what it has replaced, if it was newer than all that was accepted before.
func (s *modelServer) accept(v *modelVersion) {
	m, sys := s.memory[v.account], s.system
	isReplaced := sys != nil && sys != v && sys.account == v.account && sys.issued == v.issued &&
		m.floor < v.issued
	isUnsure := m.unsure && isReplaced
	if m.accept(v); isReplaced {
		m.replaced[sys], m.unsure = true, m.unsure || isUnsure
	}
}

// configure notes a JWT of the system account that the configuration has.
func (m *memory) configure(v *modelVersion) {
	m.configured, m.noted = max(m.configured, v.issued), max(m.noted, v.issued)
}

// remove notes that the account was deleted. What is deleted is not always the newest version.
func (m *memory) remove() {
	m.bar = m.floor
	if m.hand != nil {
		m.bar, m.unsure = min(m.floor, m.hand.issued), true
		if m.lost {
			m.floor = m.bar
		}
	}
	m.barred = max(m.barred, m.bar)
	if m.hand != nil {
		m.barred = max(m.barred, m.hand.issued)
	}
	if m.hand != nil && m.hand.issued <= m.floor {
		m.hand = nil // otherwise it may be hidden by a change whose file is not written yet
	}
	m.last, m.gone = nil, false
}

// loseIndex notes that only the files and the journal tell what was accepted.
func (m *memory) loseIndex() {
	if m.gone || m.hand != nil || m.unsure {
		m.floor, m.bar = 0, 0
	}
	m.replaced = map[*modelVersion]bool{}
	m.orders = map[string]bool{}
	m.forgotten, m.noted = m.last, 0
	m.unsure, m.lost = true, true
}

// crash notes that the index may lack what it had only learned from a file.
func (m *memory) crash() {
	m.noted = 0
	if m.byHand {
		m.replaced, m.forgotten = map[*modelVersion]bool{}, m.last
		m.unsure, m.lost = true, true
	}
}

// lesser reports whether a version loses to another one of the same second when servers compare
// what they have.
func (v *modelVersion) lesser(than *modelVersion) bool {
	return v.issued == than.issued && bytes.Compare(v.hash[:], than.hash[:]) < 0
}

// forbids returns why a version may not be accepted; "" if it may.
func (s *modelServer) forbids(v *modelVersion, from accounts.Origin) string {
	m := s.memory[v.account]
	switch {
	case !s.trusts(v):
		return "its signer is not trusted"
	case s.readOnly && !from.File:
		return "the server is read-only"
	case s.allowOlder && !from.Peer:
		return ""
	case m.lost && (m.gone || m.hand != nil || s.ahead.Load() < 0):
		return ""
	case from.File && m.last == nil:
		return "" // the owner of a directory may bring back what was deleted
	case s.system != nil && s.system.account == v.account && v.issued < s.system.issued:
		return "the configured system account is newer"
	case v.issued < m.noted:
		return "the configured system account was newer"
	case from.Peer && m.last != nil && m.hand == nil && !m.unsure &&
		s.trusts(m.last) && v.lesser(m.last):
		return "it is the lesser one of its second"
	case from.Peer && m.last != nil && m.last.lesser(v):
		return ""
	case m.superseded(v):
		return "it was superseded"
	}
	return ""
}

// demands reports whether a version must be accepted if it is not stored yet.
func (s *modelServer) demands(v *modelVersion, from accounts.Origin) bool {
	m := s.memory[v.account]
	switch {
	case s.forbids(v, from) != "", m.superseded(v), m.unsure, m.hand != nil:
		return false
	case from.Peer && v == m.last:
		return false
	case v.issued <= m.configured:
		return false
	case v.issued <= m.barred:
		return false // what is older than a deletion may be there as an exception
	case v.issued > s.clock().Unix()+300, v.expires > 0 && v.expires <= s.clock().Unix():
		return false
	case from.Peer && v.issued <= m.order:
		return false // a peer may have missed the order
	case s.system != nil && s.system.account == v.account && v.issued == s.system.issued:
		return false
	case from.Peer && m.last != nil && v.issued == m.last.issued && !s.trusts(m.last):
		return false
	}
	return true
}

// served checks what the server serves for an account. v is nil if that is nothing.
func (s *modelServer) served(account string, v *modelVersion) {
	m := s.memory[account]
	switch {
	case v == nil:
		if m.last != nil && s.trusts(m.last) && !m.gone && m.hand == nil {
			s.fail("lost", "%s is not served", m.last.name)
		}
		m.unsure = m.unsure || m.hand != nil // what is not trusted may be a floor
	case !s.trusts(v):
		s.fail("untrusted", "%s is served", v.name)
	case v == m.last:
		// A file that is removed while it is written is served for a moment.
		m.gone = m.gone && !s.has(account, false) && !s.has(account, true)
	case v == m.hand:
		m.ahead = m.ahead || v.issued > s.clock().Unix()+300
		m.unsure = m.unsure || m.ahead // when the clock is right again it is a floor
		if !m.superseded(v) && !m.ahead {
			m.accept(v)
			m.byHand = true
		}
	case v == s.system && (m.last == nil || !s.trusts(m.last) || m.gone || m.hand != nil):
		// The operator has configured it for when no good one is stored.
	case m.lost && m.last != nil && v.issued >= m.last.issued:
		m.accept(v) // allow_older had let in what was in the journal
	default:
		s.fail("back", "%s is served, the newest is %s", v.name, m)
	}
}

// String is for people.
func (m *memory) String() string {
	if m.last != nil {
		return m.last.name
	}
	return fmt.Sprintf("none, from second %d on", m.floor-modelEpoch.Unix()+1)
}

// put checks what became of a version that was offered.
func (s *modelServer) put(
	v *modelVersion, from accounts.Origin, result accounts.Result, err error,
) {
	m := s.memory[v.account]
	switch {
	case err != nil:
		if s.demands(v, from) {
			s.fail("refused", "%s by %s, the newest is %s: %s", v.name, from.Kind, m, err)
		}
	case !result.Changed:
		passedOn := from.Peer && m.superseded(v) // what changes nothing need not be an error
		if v != m.last && v != m.hand && v != s.system && !passedOn {
			s.fail("ignored", "%s by %s, the newest is %s", v.name, from.Kind, m)
		}
	default:
		if why := s.forbids(v, from); why != "" {
			s.fail("accepted", "%s by %s, the newest is %s: %s", v.name, from.Kind, m, why)
		}
		s.accept(v)
	}
}

// ordered checks what became of an order to delete. deleted are the accounts that are gone by it.
func (s *modelServer) ordered(o modelOrder, deleted []string) {
	for _, account := range deleted {
		m := s.memory[account]
		switch {
		case !s.trustsKey(o.signer) || s.readOnly || account == "S" ||
			!strings.Contains(o.accounts, account):
			s.fail("order", "%s has deleted %s", o.name, account)
		case m.orders[o.name]:
			s.fail("replayed", "%s has deleted %s again", o.name, account)
		case o.issued < m.order:
			s.fail("replayed", "%s has deleted %s after a later order", o.name, account)
		case m.last != nil && m.hand == nil && o.issued < m.last.issued:
			s.fail("order", "%s has deleted %s", o.name, m.last.name)
		}
		m.remove()
		m.order = max(m.order, o.issued)
		m.orders[o.name] = true
	}
	for _, account := range strings.Split(o.accounts, "") {
		if m := s.memory[account]; s.mustDelete(o) && m.last != nil &&
			!m.orders[o.name] && !m.gone &&
			m.hand == nil && !m.unsure && o.issued >= m.last.issued && o.issued > m.order {
			s.fail("order", "%s has not deleted %s", o.name, m.last.name)
		}
	}
}

// mustDelete reports whether an order must be carried out where it is newer than what is stored.
func (s *modelServer) mustDelete(o modelOrder) bool {
	return s.trustsKey(o.signer) && !s.readOnly && !strings.Contains(o.accounts, "S") &&
		o.issued <= s.clock().Unix()+300
}

// expired checks what was taken out because it has expired.
func (s *modelServer) expired(deleted []string) {
	for _, account := range deleted {
		m := s.memory[account]
		for _, v := range []*modelVersion{m.last, m.hand} {
			if v != nil && m.hand == nil && (v.expires == 0 || v.expires > s.clock().Unix()) {
				s.fail("expired", "%s was taken out", v.name)
			}
		}
		m.remove()
	}
}
