package monitor

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"nats-account-server/internal/jwtstore"
)

const (
	// maxByName is up to how many accounts a Listing is sorted by name: all are looked at for that.
	maxByName = 5000
	// lookTime is for how long a Listing looks for accounts. With very many it may find none in
	// that time.
	lookTime = 60 * time.Millisecond
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
	l := lister{m: m, query: q, check: m.newImportCheck()}
	// While the survey is not known, the first page after a start does not wait for it.
	all, isKnown := m.Glance()
	isSmall := isKnown && all.Stored <= maxByName
	isListed := q.Select == ArePending || q.Select == AreIncomplete || q.Select == ImportNothing
	var found []jwtstore.Keyed
	if l.IsByName = isSmall && !isListed; l.IsByName {
		found, l.After = firstOf(l.byName(), q.Limit)
	} else {
		next, began := l.candidates(isSmall), time.Now()
		f := finder{after: q.After, limit: q.Limit, has: l.has,
			isOver: func(int) bool { return time.Since(began) > lookTime },
			isSlow: q.Select == ImportNothing}
		found, l.After, l.IsUnfinished = f.collect(next)
	}
	l.describe(found)
	return l.Listing
}

// lister makes one Listing.
type lister struct {
	Listing
	m     *Monitor
	query ListQuery // its Text is in lower case
	check *importCheck
}

// candidates returns the accounts of which those of the query are some.
func (l *lister) candidates(isSmall bool) some {
	switch {
	case l.query.Select == ArePending:
		return l.m.pending
	case l.query.Select == AreIncomplete:
		return l.m.storedOf(l.m.Notifier.Incomplete())
	case !isSmall:
		if rare := l.rare(); rare != nil {
			return l.m.storedOf(rare.keys)
		}
	}
	return newSearch(l.m.Index, l.query.Text).next
}

// rare returns the accounts that are selected, if they are known and not too many; nil otherwise.
// Without it all accounts would have to be looked at for the few that are meant. The lists are of
// the last survey, up to a moment old: has looks at each account again.
func (l *lister) rare() *rareKeys {
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
	return found
}

// describe puts into the Listing what was found.
func (l *lister) describe(found []jwtstore.Keyed) {
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
		after = jwtstore.Keyed{Key: key, Version: l.m.Index.Get(key)}
	}
	for key, v := range l.m.Index.All() {
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
