package monitor

import (
	"strings"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
)

// AccountQuery says which accounts are asked for. Account excludes Pending and Incomplete, and
// Pending excludes Incomplete.
type AccountQuery struct {
	// Account is the key of one account; "" stands for all.
	Account string
	// Prefix begins the key or the name, in any case; "" begins all.
	Prefix  string
	Pending bool // only those that some nats-server has not acknowledged
	// Incomplete: only those that a nats-server has acknowledged, and that are not wholly in effect
	// there.
	Incomplete bool
	// After is a key: only accounts whose keys follow it are meant. "" begins at the first.
	After string
	Limit int // how many at most; more than 0
}

// Accountz is a part of the stored accounts, by key.
type Accountz struct {
	Now      time.Time `json:"now"`
	Total    int       `json:"total"` // that are stored
	Limit    int       `json:"limit"`
	Accounts []Account `json:"accounts"`
	// After is what the request for the next part has as after. It is not there after the last one.
	After string `json:"after,omitempty"`
}

// Account is one stored account. Keys of JSON never change. Issued and Expires are in UTC; Expires
// is nil for "never".
type Account struct {
	Key     string     `json:"account"`
	Name    string     `json:"name"`
	Issuer  string     `json:"issuer"`
	Trusted bool       `json:"trusted"` // it is served
	Issued  time.Time  `json:"issued"`
	Expires *time.Time `json:"expires,omitempty"`
	Imports int        `json:"imports"`
	// Pending says that some nats-server has not acknowledged its last change.
	Pending bool `json:"pending"`
	// State is "in effect", "incomplete", "pending", "refused", "expired" or "not served". Reason
	// says why, or how far the delivery has got.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`

	// What follows is for the pages only. Exports is how many there are, if List has described the
	// account. Delivery is how far the last change has got, for each nats-server.
	Delivery accounts.Delivery `json:"-"`
	Exports  int               `json:"-"`
	Faults   []string          `json:"-"` // why imports do nothing
}

// maxScanned is how many accounts one answer of Accountz looks at, to find those with a name. With
// more it has an After, and may have no accounts. It bounds the time of a request with a prefix
// that few names begin with.
const maxScanned = 100_000

// Accountz describes stored accounts. It looks at a bounded number of them: if After is there,
// there may be more, also if there are few or none in this part. Clients go on with the query's
// After set to that of the answer.
func (m *Monitor) Accountz(q AccountQuery) Accountz {
	z := Accountz{Now: time.Now().UTC(), Total: m.surveyed.get().Stored, Limit: q.Limit,
		Accounts: []Account{}}
	check := m.newImportCheck()
	var found []jwtstore.Keyed
	if q.Account != "" {
		if v := m.Index.Get(q.Account); v.Stored() {
			found = append(found, jwtstore.Keyed{Key: q.Account, Version: v})
		}
	} else {
		f := finder{after: q.After, limit: q.Limit, has: q.has,
			isOver: func(looked int) bool { return looked >= maxScanned }}
		found, z.After, _ = f.collect(q.candidates(m))
	}
	for _, c := range found {
		z.Accounts = append(z.Accounts, m.accountOf(check, c.Key, c.Version))
	}
	return z
}

// candidates returns the accounts of which those of the query are some.
func (q AccountQuery) candidates(m *Monitor) some {
	switch {
	case q.Pending:
		return m.pending
	case q.Incomplete:
		return m.storedOf(m.Notifier.Incomplete())
	}
	return newSearch(m.Index, "").next
}

// has reports whether the key or the name of an account begins with the prefix.
func (q AccountQuery) has(c jwtstore.Keyed) bool {
	return hasPrefix(c.Key, q.Prefix) || hasPrefix(c.Summary.Name, q.Prefix)
}

// hasPrefix compares in any case. It folds Unicode, as strings.EqualFold does. A text that is cut
// within a character does not match.
func hasPrefix(text, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
}

// accountOf describes an account. v is what the index has of it. It reads the JWT of an account
// that imports something, and those of the exporters, to know its state.
func (m *Monitor) accountOf(check *importCheck, key string, v jwtstore.Version) Account {
	a := Account{
		Key: key, Name: v.Summary.Name, Issuer: v.Summary.Issuer, Trusted: v.Servable,
		Issued: unix(v.IssuedAt), Imports: v.Summary.Imports,
		Pending: m.Outbox.PendingFor(key).Seq > 0,
	}
	if v.Expires != 0 {
		at := unix(v.Expires)
		a.Expires = &at
	}
	a.Delivery = m.Notifier.Delivery(key)
	a.State, a.Reason = stateOf(&a, check, v)
	return a
}

// stateOf says whether an account is in effect, and why it is not. The worst that holds counts:
// what is not served is not expired besides, and what is refused is not pending. reason may be ""
// where state says all.
func stateOf(a *Account, check *importCheck, v jwtstore.Version) (state, reason string) {
	switch {
	case !v.Servable:
		return "not served", "no key of the operator has signed it, or it is damaged"
	case v.Expired(check.now):
		return "expired", ""
	}
	switch {
	case len(a.Delivery.Refused) > 0:
		return "refused", a.Delivery.String()
	case a.Pending:
		return "pending", a.Delivery.String()
	}
	if why := a.lacks(check, v); len(why) > 0 {
		return "incomplete", strings.Join(why, "; ")
	}
	// Without NATS, nats-servers fetch accounts over HTTP, and do not say what they make of them.
	if a.Delivery.State == accounts.NotConfigured {
		return "in effect", "as far as is known: NATS is not configured"
	}
	return "in effect", ""
}

// lacks says what of an account is not in effect: at which nats-servers, and which of its imports
// the other account does not export to it. It sets a.Faults. No text means that all is in effect.
func (a *Account) lacks(check *importCheck, v jwtstore.Version) (why []string) {
	if at := a.Delivery.NotInEffect(); at != "" {
		why = append(why, at)
	}
	if v.Summary.Imports > 0 {
		a.Faults = check.faults(a.Key)
	}
	return append(why, a.Faults...)
}

// unix returns an instant that is in Unix seconds, in UTC.
func unix(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
