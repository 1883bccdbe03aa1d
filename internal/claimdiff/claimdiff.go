// Package claimdiff tells in words what differs between two versions of an account's claims, and
// what one version says. It does no I/O, asks no clock and trusts no text: names and subjects come
// from tenants, so they are quoted wherever they have more than plain characters.
//
// What is the same to nats-server is no difference: the order of a list, a limit of 0 where that is
// unlimited, the JWT's issue time and ID. What 0, -1 and an absent value mean differs per field:
// limits.go has the table.
package claimdiff

import (
	"fmt"
	"reflect"

	"github.com/nats-io/jwt/v2"
)

// Effect is what a change can do to those who use the account.
type Effect string

// The effects, the worst first.
const (
	Cut   Effect = "cut"   // connections are ended
	Stop  Effect = "stop"  // messages no longer arrive, connections stay
	Later Effect = "later" // only new connections, streams, consumers or requests see it
	Rule  Effect = "rule"  // claims that contradict it are refused
	Meta  Effect = "meta"  // it says something of the JWT
	None  Effect = "none"  // no client notices
)

// The values of Change.Sign.
const (
	added   = "+"
	removed = "-"
	changed = "~"
)

// Change is one difference in meaning.
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

// Diff returns what pushed changes. It is empty if pushed is stored issued anew. If stored is nil,
// the account is new: what is said then is what differs from an account without limits and
// JetStream. If pushed is nil, the account is gone.
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
	d.identity(stored, pushed)
	limitDiffer{d}.limits(&stored.Limits, &pushed.Limits)
	d.signingKeys(stored.SigningKeys, pushed.SigningKeys)
	d.revocations("nats.", stored.Revocations, pushed.Revocations)
	// Most pushes leave these as they are, and to match two lists costs more than to compare them.
	if !reflect.DeepEqual(stored.Exports, pushed.Exports) {
		shareDiffer{d}.exports(stored.Exports, pushed.Exports)
	}
	if !reflect.DeepEqual(stored.Imports, pushed.Imports) {
		shareDiffer{d}.imports(stored.Imports, pushed.Imports)
	}
	d.inside("nats.default_permissions.", "", "by default users ").
		permissions(stored.DefaultPermissions, pushed.DefaultPermissions)
	d.mappings(stored.Mappings, pushed.Mappings)
	d.authorization(&stored.Authorization, &pushed.Authorization)
	d.others(stored, pushed)
	return found
}

// Added says that an account is new. Of such a one Diff says this first.
func Added(key, name string) Change {
	return Change{Field: "sub", Code: "account_added", Sign: added, Of: key, Effect: None,
		Words: account(key, name) + " is new"}
}

// Removed says that an account is gone.
func Removed(key, name string) Change {
	return Change{Field: "sub", Code: "account_removed", Sign: removed, Of: key, Effect: Cut,
		Words: account(key, name) + " is not there any more"}
}

// empty returns what a new account is compared with. What each account has is left out.
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

// account returns the words for an account.
func account(key, name string) string {
	if name == "" {
		return "account " + Key(key)
	}
	return fmt.Sprintf("account %s %s", Quote(name), Key(key))
}

// differ gathers changes. Those of an element have its path, its name and the words before a
// clause.
type differ struct {
	found  *[]Change
	path   string // before the field
	of     string
	prefix string // before the words
	isNew  bool   // there was nothing before, so the words do not say what it was
}

// inside returns a differ for what an element has.
func (d differ) inside(path, of, prefix string) differ {
	d.path, d.of, d.prefix = path, of, prefix
	return d
}

// add takes a change. What is left empty follows from the field and the element.
func (d differ) add(c Change) {
	c.Field = d.path + c.Field
	if c.Of == "" {
		c.Of = d.of
	}
	if c.Sign == "" {
		c.Sign = changed
	}
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

// value compares a value in words. clause has a place for the new one.
func (d differ) value(field, code, clause, stored, pushed string) {
	if stored != pushed {
		d.add(Change{Field: field, Code: code, Words: fmt.Sprintf(clause, pushed) + d.was(stored)})
	}
}

// raw compares a value that words shortens. clause has a place for the new one.
func (d differ) raw(field, code, clause, stored, pushed string, words func(string) string) {
	if stored != pushed {
		d.add(Change{Field: field, Code: code,
			Words: fmt.Sprintf(clause, words(pushed)) + d.was(words(stored))})
	}
}

// text compares a text that a tenant chose. what says whose it is.
func (d differ) text(field, code, what, stored, pushed string) {
	words := what + " " + Quote(pushed)
	switch {
	case stored == pushed:
		return
	case pushed == "":
		words = "no " + what
	}
	if stored == "" {
		d.add(Change{Field: field, Code: code, Sign: added, Words: words})
		return
	}
	d.add(Change{Field: field, Code: code, Words: words + d.was(Quote(stored))})
}

// flag compares a value with two states. yes and no are the clauses for them. Where one of them
// only allows more, Effects has the effect of the other, and harmless is the one that allows more.
func (d differ) flag(field, code string, stored, pushed bool, yes, no string, harmless ...bool) {
	if stored == pushed {
		return
	}
	c := Change{Field: field, Code: code, Words: no}
	if pushed {
		c.Words = yes
	}
	if len(harmless) > 0 && pushed == harmless[0] {
		c.Effect = None
	}
	d.add(c)
}

// was returns the words for what was there before.
func (d differ) was(stored string) string {
	if d.isNew {
		return ""
	}
	return ", was " + stored
}

// list compares two lists whose order means nothing. words returns the clause for an element that
// is there now, or no longer, and effect the effect of that.
func (d differ) list(field, code string, stored, pushed []string, effect func(isAdded bool) Effect,
	words func(item string, isAdded bool) string) {
	gone, came := difference(stored, pushed)
	for _, item := range gone {
		d.add(Change{Field: field, Code: code, Sign: removed, Effect: effect(false),
			Words: words(item, false)})
	}
	for _, item := range came {
		d.add(Change{Field: field, Code: code, Sign: added, Effect: effect(true),
			Words: words(item, true)})
	}
}
