// Package claimdiff says in words what differs between two versions of an account's claims (Diff),
// and what one version says (Describe). Both are pure functions of claims. It does no I/O and asks
// no clock. It does not ask whether claims are valid: accounts and claimcheck do.
//
// It trusts no text: names and subjects come from tenants, so they are quoted wherever they have
// more than plain characters. All words of a Change and an Item are one line that can be printed.
//
// What is the same to nats-server is no change: the order of a list, a limit of 0 where that is
// unlimited, the JWT's issue time and ID. What 0, -1 and an absent value mean differs per field:
// limits.go has the table.
//
// A Change has the most that it can do on a nats-server, which follows from its field (effects.go).
// What it does to the clients that are connected now, package effect says.
//
// # Files
//
// To be read in this order: claimdiff.go has Diff and what all comparisons use. effects.go is the
// table of effects. limits.go, keys.go, permissions.go, shares.go and others.go compare one part of
// the claims each. describe.go says what one version says, for a table: it compares it with
// nothing, so that both have the same words. words.go has numbers, sizes, times and quoting.
//
// # A new field of jwt/v2
//
// After an update of the library, TestEachLeafHasWordsAndNothingElseHas names each field that is
// not known here. It needs
//
//   - a row in effects.go, with what nats-server does when it changes;
//   - a line in the comparison of its part: a row of a table in limits.go if it is a limit,
//     otherwise a call of value, raw, text, flag or list. TestEachLeafIsDescribed says if it is
//     missing in Describe then;
//   - if it is a limit, a row in meaning_test.go, which tries 0, -1 and -2 on a real nats-server;
//   - if its effect is Cut, Stop or Later, what the comment of package effect says;
//   - if nats-server refuses claims for it, a rule in package claimcheck.
package claimdiff

import (
	"cmp"
	"fmt"
	"reflect"

	"github.com/nats-io/jwt/v2"
)

// Effect is what a change can do to those who use the account, at most. Whether it does depends on
// who is connected, which is not known here. The values are part of answers in JSON. The order of
// the constants is that in which a page shows them.
type Effect string

// The effects, the worst first.
const (
	Cut   Effect = "cut"   // connections are ended
	Stop  Effect = "stop"  // messages no longer arrive, connections stay
	Later Effect = "later" // only new connections, streams, consumers or requests see it
	Rule  Effect = "rule"  // claims that contradict it are refused
	Meta  Effect = "meta"  // it says something of the JWT
	None  Effect = "none"  // no client loses anything
)

// The values of Change.Sign. A sign is what begins the line of a change.
const (
	added   = "+"
	removed = "-"
	changed = "~"
)

// Change is one change in meaning. It is complete when Diff returns it, and a value of its own.
// Example: {"nats.limits.conn", "limit_changed", "~", "", "cut", "may open 60 connections, was
// unlimited"}. Of may have any text of a tenant; the others have not.
type Change struct {
	Field string `json:"field"` // a path as Effects has it: "nats.limits.conn"
	Code  string `json:"code"`  // a stable name: "limit_changed"
	Sign  string `json:"sign"`  // "+", "-" or "~"
	// Of is the key of a signing key or user, or the subject of an export or import.
	Of string `json:"of,omitempty"`
	// Effect is the most that this change can do. It is None for what only allows more.
	Effect Effect `json:"effect"`
	// Words is one clause on one line, such as "may open 60 connections, was unlimited".
	Words string `json:"words"`
}

// Diff returns what pushed changes, in the order of the claims. It is empty if pushed is stored
// issued anew.
//
// If stored is nil, the account is new: pushed is compared with an account without limits and
// JetStream, and nothing has an effect yet. If pushed is nil, the account is gone, which is the
// only change then. If both are nil, there is none. Neither is changed. The cost is that of the
// larger lists, sorted.
//
// The order of the calls is that of the lines in an answer: who the account is, what it may do, who
// may act for it, what it shares, and the rest. Each call sees one part of the claims, and none
// depends on an earlier one.
func Diff(stored, pushed *jwt.AccountClaims) []Change {
	var found []Change
	d := differ{found: &found}
	switch {
	case stored == nil && pushed == nil:
		return nil
	case pushed == nil:
		d.add(Removed(stored.Subject, stored.Name))
		return found
	case stored == nil:
		d.add(Added(pushed.Subject, pushed.Name))
		stored, d.isNew = empty(pushed), true
	}
	diffIdentity(d, stored, pushed)
	diffLimits(d, &stored.Limits, &pushed.Limits)
	diffSigningKeys(d, stored.SigningKeys, pushed.SigningKeys)
	diffRevocations(d, stored.Revocations, pushed.Revocations)
	// Most pushes leave these as they are, and to match two lists costs more than to compare them.
	if !reflect.DeepEqual(stored.Exports, pushed.Exports) {
		diffExports(d, stored.Exports, pushed.Exports)
	}
	if !reflect.DeepEqual(stored.Imports, pushed.Imports) {
		diffImports(d, stored.Imports, pushed.Imports)
	}
	diffPermissions(d.inside("nats.default_permissions.", "", "by default users "),
		stored.DefaultPermissions, pushed.DefaultPermissions)
	diffMappings(d, stored.Mappings, pushed.Mappings)
	diffAuthorization(d, &stored.Authorization, &pushed.Authorization)
	diffOthers(d, stored, pushed)
	return found
}

// Added is the change that an account is new. It is the first one that Diff returns for it. key is
// the account's public key, and name may be any text.
func Added(key, name string) Change {
	return Change{Field: "sub", Code: "account_added", Sign: added, Of: key, Effect: None,
		Words: account(key, name) + " is new"}
}

// Removed is the change that an account is gone. All connections of a deleted account end.
func Removed(key, name string) Change {
	return Change{Field: "sub", Code: "account_removed", Sign: removed, Of: key, Effect: Cut,
		Words: account(key, name) + " is not there any more"}
}

// empty returns what a new account is compared with: no limits, and no JetStream. What each account
// has is the same in it, so that it is not said: key, name, issuer, type and version. A limit of 0
// would be a change of each that is unlimited.
func empty(c *jwt.AccountClaims) *jwt.AccountClaims {
	e := &jwt.AccountClaims{
		ClaimsData: jwt.ClaimsData{Subject: c.Subject, Issuer: c.Issuer, Name: c.Name},
	}
	e.Type, e.Version = c.Type, c.Version
	e.Limits.NatsLimits = jwt.NatsLimits{Subs: jwt.NoLimit, Data: jwt.NoLimit, Payload: jwt.NoLimit}
	e.Limits.AccountLimits = jwt.AccountLimits{Imports: jwt.NoLimit, Exports: jwt.NoLimit,
		WildcardExports: true, Conn: jwt.NoLimit, LeafNodeConn: jwt.NoLimit}
	return e
}

// account returns the words for an account. Example: `account "orders" ACNW…V2JU`.
func account(key, name string) string {
	if name == "" {
		return "account " + Key(key)
	}
	return fmt.Sprintf("account %s %s", Quote(name), Key(key))
}

// differ gathers the changes of one part of the claims, which a function diff… compares. It is
// copied for each part and element, with what all changes in there have. found is the same for all
// copies. Fields that are empty add nothing.
//
// value, raw, text and flag add one Change at most, and list adds one for each element.
type differ struct {
	found  *[]Change
	path   string // before the field
	code   string // Change.Code of all changes that have none of their own
	of     string // Change.Of of all changes
	prefix string // before the words
	isNew  bool   // there was nothing before, so the words do not say what it was
	// isScope says that this is the scope of a signing key. nats-server compares a scope as a
	// whole, so that a change which only allows more ends connections too.
	isScope bool
}

// inside returns a differ for a part. path is the whole path of it, prefix is before all words.
// path ends with a dot, or is that of an element: "nats.exports[].".
func (d differ) inside(path, of, prefix string) differ {
	d.path, d.of, d.prefix = path, of, prefix
	return d
}

// as returns a differ whose changes have this code.
func (d differ) as(code string) differ {
	d.code = code
	return d
}

// add gathers a change. Its field and words are those within the part. What is empty in it follows:
// the sign is "~", and the effect is that of the field.
func (d differ) add(c Change) {
	c.Field = d.path + c.Field
	c.Code = cmp.Or(c.Code, d.code)
	c.Of = cmp.Or(c.Of, d.of)
	c.Sign = cmp.Or(c.Sign, changed)
	switch {
	case c.Effect != "":
	case d.isNew: // nothing uses it yet
		c.Effect = None
	default:
		c.Effect = Effects[c.Field]
	}
	c.Words = d.prefix + c.Words
	*d.found = append(*d.found, c)
}

// allowsMore returns the effect of a change that only allows more. "" is that of the field.
func (d differ) allowsMore() Effect {
	if d.isScope {
		return ""
	}
	return None
}

// value compares a value that is given in words. clause has a place for the new one. Example:
// clause "may open %s", stored "unlimited", pushed "60 connections".
func (d differ) value(field, clause, stored, pushed string) {
	d.raw(field, clause, stored, pushed, asIs)
}

// asIs returns words as they are.
func asIs(words string) string { return words }

// raw compares a value that words shortens: two values can differ whose words are the same. clause
// has a place for the new one. stored and pushed are what is compared.
func (d differ) raw(field, clause, stored, pushed string, words func(string) string) {
	if stored != pushed {
		d.add(Change{Field: field,
			Words: fmt.Sprintf(clause, words(pushed)) + d.was(words(stored))})
	}
}

// text compares a text that a tenant chose. what is its name: "description". "" is no text.
func (d differ) text(field, what, stored, pushed string) {
	words := what + " " + Quote(pushed)
	switch {
	case stored == pushed:
		return
	case pushed == "":
		words = "no " + what
	}
	if stored == "" {
		d.add(Change{Field: field, Sign: added, Words: words})
		return
	}
	d.add(Change{Field: field, Words: words + d.was(Quote(stored))})
}

// flag compares a value with two states. yes and no are the clauses for them. more is the state
// that allows more than the other, if one does: a change to it has no effect. Both clauses are
// whole: "imports need a token".
func (d differ) flag(field string, stored, pushed bool, yes, no string, more ...bool) {
	if stored == pushed {
		return
	}
	c := Change{Field: field, Words: no}
	if pushed {
		c.Words = yes
	}
	if len(more) > 0 && pushed == more[0] {
		c.Effect = d.allowsMore()
	}
	d.add(c)
}

// was returns what a clause ends with: the words for what was there before.
func (d differ) was(stored string) string {
	if d.isNew {
		return ""
	}
	return ", was " + stored
}

// elements says how the elements of a list are compared.
type elements struct {
	field      string
	came, gone string              // clauses, with a place for an element that came or is gone
	words      func(string) string // the words for an element
	more       string              // added or removed: that allows more. "": neither does
}

// list compares two lists whose order means nothing. Elements that are there twice count once. What
// is gone comes first. nil and an empty list are the same.
func (d differ) list(of elements, stored, pushed []string) {
	add := func(sign, clause string, items []string) {
		for _, item := range items {
			c := Change{Field: of.field, Sign: sign, Words: fmt.Sprintf(clause, of.words(item))}
			if sign == of.more {
				c.Effect = d.allowsMore()
			}
			d.add(c)
		}
	}
	add(removed, of.gone, without(stored, pushed))
	add(added, of.came, without(pushed, stored))
}
