package monitor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

const (
	// maxByName is up to how many accounts a Listing is sorted by name: all are looked at for that.
	maxByName = 5000
	// lookTime is for how long a Listing looks for accounts. With very many it may find none in
	// that time.
	lookTime = 60 * time.Millisecond
	// lookSteps is how many accounts are looked at, at most, between two looks at the clock.
	lookSteps = 256
)

// Selection says which accounts a Listing has. The zero Selection selects all.
type Selection int

// The selections.
const (
	All Selection = iota
	// The first three are as of now; the clock of this machine decides.
	ExpireWeek // that expire within 7 days
	ExpireMonth
	HaveExpired
	ArePending    // that some nats-server has not acknowledged
	AreIncomplete // that one has acknowledged, and that are not wholly in effect there
	AreUntrusted  // that are not served
	ImportNothing // of which an import does nothing
)

// ListQuery says which accounts a Listing has. It is for people: /accountz has the same for
// programs, in the order of keys.
type ListQuery struct {
	// Text begins the key, or is a part of the name, in any case; "" selects all.
	Text   string
	Select Selection
	// After is the key of an account that is listed already: only what follows it in the order of
	// the Listing is meant. "" begins at the first.
	After string
	Limit int // how many at most; more than 0
}

// Listing is a part of the accounts.
type Listing struct {
	Accounts []Account
	IsByName bool // by name, otherwise by key
	// After is that of the query for the next part; "" after the last one.
	After string
	// IsUnfinished says that not all accounts before After were asked for long enough to fill this
	// part.
	IsUnfinished bool
}

// List describes a part of the accounts. It takes a bounded time (lookTime), and reads the JWTs of
// those that it returns.
//
// Up to maxByName accounts are sorted by name, which looks at all of them. More are in the order of
// their keys, so that each part goes on where the one before has ended. A selection that is
// pending, incomplete or rare is a list of keys already. Otherwise the index is searched, from
// After on until the part is full or the time is over: then the part is unfinished, and its After
// says from where the next one goes on.
func (m *Monitor) List(q ListQuery) Listing {
	q.Text = strings.ToLower(q.Text)
	l := lister{m: m, query: q, index: m.Store.Index(), check: m.newImportCheck()}
	var found []jwtstore.Keyed
	switch {
	case q.Select == ArePending:
		found = l.collect(l.pending)
	case q.Select == AreIncomplete:
		found = l.collect(l.storedOf(m.Notifier.Incomplete))
	case !m.IsSmall() && l.rare() != nil:
		found = l.collect(l.storedOf(l.rare()))
	case q.Select != ImportNothing && m.IsSmall():
		l.IsByName = true
		found = l.byName()
	default:
		found = l.collect(newSearch(l.index, q.Text).next)
	}
	l.describe(found)
	return l.Listing
}

// rare returns what lists the accounts that are selected, if they are known and not too many; nil
// otherwise. Without it all accounts would have to be looked at for the few that are meant. The
// lists are of the last survey, up to a moment old: has looks at each account again.
func (l *lister) rare() (list func() []string) {
	s, isKnown, _ := l.m.surveyed.look()
	found := s.rare[l.query.Select]
	if l.query.Select == ImportNothing {
		var d Dangling
		d, isKnown, _ = l.m.imports.look()
		found = &d.rare
	}
	if !isKnown || found == nil || found.isTooMany {
		return nil
	}
	return func() []string { return slices.Clone(found.keys) }
}

// IsSmall reports whether the accounts are few enough to be sorted by name. While the survey is not
// known it reports false, so that the first page after a start does not wait.
func (m *Monitor) IsSmall() bool {
	g, isKnown := m.Glance()
	return isKnown && g.Stored <= maxByName
}

// lister makes one Listing.
type lister struct {
	Listing
	m     *Monitor
	query ListQuery // its Text is in lower case
	index *jwtstore.Index
	check *importCheck
}

// describe puts into the Listing what was found: that may be one account too many. found has at
// most Limit+1 accounts if they were collected, and any number by name.
func (l *lister) describe(found []jwtstore.Keyed) {
	if len(found) > l.query.Limit {
		found = found[:l.query.Limit]
		l.After, l.IsUnfinished = found[l.query.Limit-1].Key, false
	}
	for _, c := range found {
		claims := l.check.exporter(c.Key) // is not read once more for the imports
		a := l.m.accountOf(l.check, c.Key, c.Version)
		if claims != nil {
			a.Exports = len(claims.Exports)
		}
		l.Accounts = append(l.Accounts, a)
	}
}

// byName returns all accounts of the query that follow the one of its After, by name. The account
// of After is compared by its name of now: if it was renamed in between, the next part begins
// elsewhere.
func (l *lister) byName() (found []jwtstore.Keyed) {
	var after jwtstore.Keyed
	if key := l.query.After; key != "" {
		after = jwtstore.Keyed{Key: key, Version: l.index.Get(key)}
	}
	for key, v := range l.index.All() {
		c := jwtstore.Keyed{Key: key, Version: v}
		if (l.query.After == "" || compareNames(c, after) > 0) && l.has(c) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, compareNames)
	return found
}

// compareNames orders by name, in any case, and accounts of the same name by key.
func compareNames(a, b jwtstore.Keyed) int {
	return cmp.Or(strings.Compare(strings.ToLower(a.Summary.Name), strings.ToLower(b.Summary.Name)),
		strings.Compare(a.Key, b.Key))
}

// some returns some of the accounts that follow a key, up to a last key, and whether there may be
// more. after is "" at the first call, and then the last of the call before. The calls are from one
// goroutine.
type some func(after string) (found []jwtstore.Keyed, last string, more bool)

// pending is some of those that a nats-server has not acknowledged. They are stored: deletions are
// pending as well, and are left out.
func (l *lister) pending(after string) (found []jwtstore.Keyed, last string, more bool) {
	keys, more := pendingAfter(l.m.Store.Outbox(), after, maxScanned)
	found, _, _ = l.storedOf(func() []string { return keys })(after)
	if more {
		last = keys[len(keys)-1]
	}
	return found, last, more
}

// storedOf returns a some of those accounts of a list of keys that are stored, all at once. The
// list is changed.
func (l *lister) storedOf(list func() []string) some {
	return func(after string) (found []jwtstore.Keyed, last string, more bool) {
		keys := list()
		slices.Sort(keys)
		for _, key := range keys {
			if v := l.index.Get(key); key > after && v.Stored() {
				found = append(found, jwtstore.Keyed{Key: key, Version: v})
			}
		}
		return found, "", false
	}
}

// search looks for accounts with a text, in lower case: first for those whose keys begin with it,
// if that is possible, since these follow each other in the index. Then for all others, by key. It
// holds buffers, so one goroutine uses it, for one Listing.
type search struct {
	index *jwtstore.Index
	// prefix is what keys begin with that match, in capitals; "" if no key can begin with the text.
	prefix string
	part   []byte // of the text: its longest part of ASCII
	folded []byte // what was looked at last, in lower case
}

// firstKey comes before all keys of accounts, and no text begins with it that a key may begin with.
const firstKey = "A"

// newSearch returns a search. The text is in lower case. A part of ASCII is what can be looked for
// in an encoded entry without decoding it: lower case of other characters depends on the language
// and may have another length.
func newSearch(index *jwtstore.Index, text string) *search {
	s := &search{index: index}
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) {
		if len(part) > len(s.part) {
			s.part = []byte(part)
		}
	}
	upper := strings.ToUpper(text)
	// A key is in base32 and begins with "A". One letter would be a prefix of all.
	if len(upper) > len(firstKey) && strings.HasPrefix(upper, firstKey) && trust.IsBase32(upper) {
		s.prefix = upper
	}
	return s
}

// next implements some.
func (s *search) next(after string) (found []jwtstore.Keyed, last string, more bool) {
	if s.prefix == "" {
		return s.index.Next(after, s.wants)
	}
	// The first phase ends with the key firstKey, which is no account's, and begins the second one.
	if after == "" || strings.HasPrefix(after, s.prefix) {
		for key, v := range s.index.List(s.prefix, after) {
			found = append(found, jwtstore.Keyed{Key: key, Version: v})
			if len(found) == lookSteps {
				return found, key, true
			}
		}
		return found, firstKey, true
	}
	found, last, more = s.index.Next(after, s.wants)
	// Those were found in the first phase.
	isShown := func(c jwtstore.Keyed) bool { return strings.HasPrefix(c.Key, s.prefix) }
	return slices.DeleteFunc(found, isShown), last, more
}

// wants reports whether an encoded entry of the index, or one of several, may have the text in its
// name. The index decodes only those: to decode all of a million takes a second. It may say yes to
// an entry whose name has not got the text, such as one whose issuer has: lister.has decides.
func (s *search) wants(encoded []byte) bool {
	if len(s.part) == 0 {
		return true
	}
	s.folded = appendLower(s.folded[:0], encoded)
	return bytes.Contains(s.folded, s.part)
}

// appendLower appends bytes with the letters of ASCII in lower case. It takes eight at a time: the
// highest bit of each tells whether it is a capital letter. A byte is a capital if it is at least
// 'A', at most 'Z' and below 0x80; bit 5 is what differs between the cases in ASCII.
func appendLower(to, bytes []byte) []byte {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; len(bytes) >= 8; bytes = bytes[8:] {
		word := binary.LittleEndian.Uint64(bytes)
		low := word &^ high
		isCapital := (low + each*(128-'A')) &^ (low + each*(127-'Z')) &^ word & high
		to = binary.LittleEndian.AppendUint64(to, word|isCapital>>2)
	}
	for _, c := range bytes {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to
}

// collect returns one account more than the query wants, if there are as many: that one tells that
// there is another part. It gives up after lookTime, and sets After then. For imports that do
// nothing JWTs are read, so the clock is looked at after each account. next is called until there
// is no more, the part is full, or the time is over.
func (l *lister) collect(next some) (found []jwtstore.Keyed) {
	began := time.Now()
	for after, more := l.query.After, true; more; {
		var looked []jwtstore.Keyed
		looked, after, more = next(after)
		for _, c := range looked {
			if l.has(c) {
				if found = append(found, c); len(found) > l.query.Limit {
					return found
				}
			}
			if l.query.Select == ImportNothing && time.Since(began) > lookTime {
				l.After, l.IsUnfinished = c.Key, true
				return found
			}
		}
		if more && time.Since(began) > lookTime {
			l.After, l.IsUnfinished = after, true
			return found
		}
	}
	return found
}

// has reports whether an account is one of those that are asked for. For ImportNothing it reads the
// JWT of the account and those of its exporters.
func (l *lister) has(c jwtstore.Keyed) bool {
	isNamed := strings.Contains(strings.ToLower(c.Summary.Name), l.query.Text)
	if !isNamed && !hasPrefix(c.Key, l.query.Text) {
		return false
	}
	if l.query.Select == ImportNothing {
		return c.Servable && c.Summary.Imports > 0 && len(l.check.faults(c.Key)) > 0
	}
	return l.query.Select.has(c.Version, l.check.now)
}

// has reports whether an account is one of those that a selection has, as far as its Version tells.
// ArePending, AreIncomplete and ImportNothing can't be told from it, and have all.
func (s Selection) has(v jwtstore.Version, now time.Time) bool {
	left := time.Unix(v.Expires, 0).Sub(now)
	switch s {
	case ExpireWeek:
		return v.Expires != 0 && left > 0 && left <= 7*day
	case ExpireMonth:
		return v.Expires != 0 && left > 0 && left <= 30*day
	case HaveExpired:
		return v.Expired(now)
	case AreUntrusted:
		return !v.Servable
	}
	return true
}
