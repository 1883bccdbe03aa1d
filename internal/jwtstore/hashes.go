package jwtstore

import "iter"

// hashes is some hashes, one after the other. It is a text so that what has it can be compared.
type hashes string

// has reports whether a hash is one of them.
func (all hashes) has(one Hash) bool {
	for h := range all.each() {
		if h == one {
			return true
		}
	}
	return false
}

// each yields all of them, in order.
func (all hashes) each() iter.Seq[Hash] {
	return func(yield func(Hash) bool) {
		for rest := all; rest != ""; rest = rest[len(Hash{}):] {
			if !yield(Hash([]byte(rest[:len(Hash{})]))) {
				return
			}
		}
	}
}

// with returns all of them and one more.
func (all hashes) with(one Hash) hashes { return all + hashes(one[:]) }

// first returns as many of them at most.
func (all hashes) first(n int) hashes { return all[:min(len(all), n*len(Hash{}))] }

// count returns how many there are.
func (all hashes) count() int { return len(all) / len(Hash{}) }
