package monitor

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

const (
	// maxSoon bounds the accounts that have a series of their own: those that expire next. With two
	// metrics each they are 200 series.
	maxSoon = 100
	// maxIssuers bounds the issuers that have one, and maxForeign those of them that are no keys of
	// an operator of ours.
	maxIssuers = 29
	maxForeign = 10
	// recently is for how long an account that has expired has a series.
	recently = 7 * day

	day = 24 * time.Hour
)

// lifetimes are the labels for when accounts expire, and until when each counts. Each account has
// the first one that it fits, so their sum is the number of accounts.
var lifetimes = [...]struct {
	label string
	until time.Duration // from now on; the last two have no end
}{
	{"expired", 0}, {"1d", day}, {"7d", 7 * day}, {"30d", 30 * day}, {"later", 0}, {"never", 0},
}

// lifetime returns which of lifetimes an account has. expires is in Unix seconds; 0 is never. An
// account that expires at this very second has expired, as nats-server counts it.
func lifetime(expires int64, now time.Time) int {
	later, never := len(lifetimes)-2, len(lifetimes)-1
	if expires == 0 {
		return never
	}
	for i, l := range lifetimes[:later] {
		if expires <= now.Add(l.until).Unix() {
			return i
		}
	}
	return later
}

// survey is what the index says about all accounts together. It is made in one walk, and is not
// changed afterwards: all who ask share it.
type survey struct {
	Glance
	byExpiry [len(lifetimes)]int
	bytes    int64 // of the files of accounts that are flushed
	issuers  []issuerCount
	// rare has the accounts of some selections, if there are not too many: no request has to look
	// for them.
	rare map[Selection]*rareKeys
}

// rareKeys are the keys of accounts, in order. There are none if they are too many. Too many is not
// an error: then the index is searched.
type rareKeys struct {
	keys      []string
	isTooMany bool
}

// maxRare bounds rareKeys.
const maxRare = 1000

// add adds a key. Keys come in order.
func (r *rareKeys) add(key string) {
	if r.isTooMany = r.isTooMany || len(r.keys) == maxRare; r.isTooMany {
		r.keys = nil
		return
	}
	r.keys = append(r.keys, key)
}

// issuerCount is how many stored accounts a key has signed. The key is "other" for the rest of
// them.
type issuerCount struct {
	key     string
	trusted bool
	count   int
}

// surveyor makes a survey.
type surveyor struct {
	index    *jwtstore.Index
	accounts *accounts.Registry
}

// find looks at all entries of the index. Some entries at a time are read, so commits go on
// meanwhile.
func (f *surveyor) find() survey {
	now := time.Now()
	s, issuers := survey{rare: make(map[Selection]*rareKeys)}, make(map[string]int)
	for _, sel := range []Selection{ExpireWeek, ExpireMonth, HaveExpired, AreUntrusted} {
		s.rare[sel] = new(rareKeys)
	}
	for key, v := range f.index.All() {
		s.add(key, v, now)
		issuers[v.Summary.Issuer]++
	}
	s.issuers = f.sumIssuers(issuers)
	s.sumLifetimes()
	return s
}

// add adds an account. v is stored. Its Stamp begins with the size of the file, or is below 0 while
// that is not known.
func (s *survey) add(key string, v jwtstore.Version, now time.Time) {
	s.Stored++
	s.byExpiry[lifetime(v.Expires, now)]++
	s.bytes += max(v.Stamp[0], 0)
	if !v.Servable {
		s.Untrusted++
	}
	if v.Expires > now.Add(-recently).Unix() {
		s.addSoon(Expiring{key, v.Summary.Name, unix(v.Expires), unix(v.IssuedAt)})
	}
	for sel, rare := range s.rare {
		if sel.has(v, now) {
			rare.add(key)
		}
	}
}

// addSoon keeps the accounts that expire first, in order. Equal times are ordered by key, so that
// two surveys have the same ones.
func (s *survey) addSoon(e Expiring) {
	n, _ := slices.BinarySearchFunc(s.Soon, e, func(a, b Expiring) int {
		return cmp.Or(a.Expires.Compare(b.Expires), strings.Compare(a.Key, b.Key))
	})
	if n == maxSoon {
		return
	}
	s.Soon = slices.Insert(s.Soon, n, e)
	s.Soon = s.Soon[:min(len(s.Soon), maxSoon)]
}

// sumLifetimes sums byExpiry up. Each lifetime has only what no shorter one has.
func (s *survey) sumLifetimes() {
	for i, l := range lifetimes {
		switch {
		case l.label == "expired":
			s.Expired = s.byExpiry[i]
		case l.until > 0:
			if s.Month += s.byExpiry[i]; l.until <= 7*day {
				s.Week += s.byExpiry[i]
			}
		}
	}
}

// sumIssuers returns the keys of the operators, also those that have signed nothing, the keys that
// have signed most of the rest, and all others as one. count is by issuer, and is changed. "" is
// the issuer of accounts whose claims could not be read. Keys of ours come first even with no
// account, so that an alert can say "none is signed with the new key".
func (f *surveyor) sumIssuers(count map[string]int) (all []issuerCount) {
	for _, o := range f.accounts.Operators() {
		for _, key := range o.Signers() {
			if len(all) < maxIssuers-maxForeign {
				all = append(all, issuerCount{key, true, count[key]})
				delete(count, key)
			}
		}
	}
	foreign := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	other := issuerCount{key: "other"}
	for i, key := range foreign {
		if i >= maxForeign || key == "" {
			other.count += count[key]
			continue
		}
		all = append(all, issuerCount{key, f.accounts.Operators().Trusts(key), count[key]})
	}
	return append(all, other)
}
