package jwtstore

import "math/big"

// serverSets numbers sets of servers: those that have acknowledged a change. Many changes have the
// same set, so each is kept once, as long as some change has it. Number 0 is the empty set.
type serverSets struct {
	bits    []*big.Int // of each number: a bit for each slot; 0 for a slot that no server has
	users   []int      // of each number: how many changes have it; 0: it may be given again
	numbers map[string]uint32
	free    []uint32 // numbers that no set has
}

// newServerSets returns the empty set only.
func newServerSets() serverSets {
	return serverSets{
		bits: []*big.Int{new(big.Int)}, users: []int{0}, numbers: map[string]uint32{"": 0},
	}
}

// has reports whether a server is in a set.
func (s *serverSets) has(set uint32, slot int) bool { return s.bits[set].Bit(slot) == 1 }

// with returns the set with one more server. A user of set becomes one of the result.
func (s *serverSets) with(set uint32, slot int) uint32 {
	bits := new(big.Int).SetBit(s.bits[set], slot, 1)
	s.release(set)
	return s.number(bits)
}

// without begins anew, without one server. It returns what gives each user of a set the one that
// takes its place.
func (s *serverSets) without(slot int) (replace func(set uint32) uint32) {
	former, replaced := *s, make(map[uint32]uint32)
	*s = newServerSets()
	return func(set uint32) uint32 {
		if now, known := replaced[set]; known {
			s.users[now]++
			return now
		}
		replaced[set] = s.number(new(big.Int).SetBit(former.bits[set], slot, 0))
		return replaced[set]
	}
}

// number returns the number of a set, and adds a user.
func (s *serverSets) number(bits *big.Int) uint32 {
	text := string(bits.Bytes())
	set, known := s.numbers[text]
	switch last := len(s.free) - 1; {
	case known:
	case last >= 0:
		set, s.free = s.free[last], s.free[:last]
		s.bits[set], s.numbers[text] = bits, set
	default:
		set = uint32(len(s.bits))
		s.bits, s.users, s.numbers[text] = append(s.bits, bits), append(s.users, 0), set
	}
	s.users[set]++
	return set
}

// release takes a user away.
func (s *serverSets) release(set uint32) {
	if set == 0 {
		return
	}
	if s.users[set]--; s.users[set] == 0 {
		delete(s.numbers, string(s.bits[set].Bytes()))
		s.bits[set], s.free = nil, append(s.free, set)
	}
}
