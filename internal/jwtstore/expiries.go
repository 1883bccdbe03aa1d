package jwtstore

import (
	"cmp"
	"slices"
	"strings"
)

// maxExpiries bounds what is in memory of the accounts that expire next.
const maxExpiries = 1000

// expiry is when an account leaves the digest.
type expiry struct {
	at  int64 // Unix seconds
	key string
}

// expiries is the accounts that expire next, and a bound for the rest. So what expires next is
// known without a look at all accounts, until as many have expired.
type expiries struct {
	soon []expiry // in order
	rest int64    // no other account expires before, in Unix seconds; 0: none expires
}

// find returns where an account is or would be.
func (x *expiries) find(e expiry) (n int, found bool) {
	return slices.BinarySearchFunc(x.soon, e, func(a, b expiry) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key))
	})
}

// add adds an account. If there are too many, the last one is one of the rest.
func (x *expiries) add(e expiry) {
	if e.at <= 0 || x.rest != 0 && e.at >= x.rest {
		return
	}
	if n, found := x.find(e); !found {
		x.soon = slices.Insert(x.soon, n, e)
	}
	if len(x.soon) > maxExpiries {
		x.rest = x.soon[maxExpiries].at
		x.soon = x.soon[:maxExpiries]
	}
}

// remove takes an account out, if it is not one of the rest.
func (x *expiries) remove(e expiry) {
	if n, found := x.find(e); found {
		x.soon = slices.Delete(x.soon, n, n+1)
	}
}

// take takes the first account out that has expired.
func (x *expiries) take(now int64) (e expiry, ok bool) {
	if len(x.soon) == 0 || x.soon[0].at > now {
		return expiry{}, false
	}
	e = x.soon[0]
	x.soon = slices.Delete(x.soon, 0, 1)
	return e, true
}

// first returns when the first account expires, at the earliest; 0 if none does.
func (x *expiries) first() int64 {
	if len(x.soon) > 0 {
		return x.soon[0].at
	}
	return x.rest
}

// knows reports whether all that have expired are in soon.
func (x *expiries) knows(now int64) bool { return x.rest == 0 || x.rest > now }
