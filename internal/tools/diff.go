package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
)

// Differing is an account of which two Sources have other JWTs. Changes are from the first to the
// second Source, in the order of claimdiff.Diff. They are those from or to nothing if the account
// is in one of them only.
type Differing struct {
	Account string             `json:"account"`
	Name    string             `json:"name"` // as its JWT says: any text
	In      string             `json:"in"`   // "both", "first" or "second"
	Changes []claimdiff.Change `json:"changes"`
}

// Difference is what differs between two Sources. The command diff prints it as JSON or with Print.
// Accounts is Same plus the length of Differ.
type Difference struct {
	Accounts int         `json:"accounts"` // of both
	Same     int         `json:"same"`     // of them, with the same meaning
	Anew     int         `json:"anew"`     // of those, that were issued anew
	Differ   []Differing `json:"differ"`
	Faults   []Fault     `json:"faults"` // what can't be compared
}

// claims is an account in a Source. The zero value is one that is not there. sum is that of the
// token, which tells "issued anew" from "the same".
type claims struct {
	claims *jwt.AccountClaims
	sum    [32]byte
}

// Diff compares two Sources in words. Two that have one account each are compared even if those are
// different ones. Of several JWTs of an account, the newest counts. Activation tokens are left out.
// All claims are in memory. The error is that of a Source. Neither need be signed by the same
// operator. A JWT whose signature is wrong is a Fault.
func Diff(ctx context.Context, first, second Source) (Difference, error) {
	d := Difference{Differ: []Differing{}, Faults: []Fault{}}
	a, errA := d.load(ctx, first)
	b, errB := d.load(ctx, second)
	if err := errors.Join(errA, errB); err != nil {
		return d, err
	}
	if len(a) == 1 && len(b) == 1 {
		for _, one := range a {
			for key, other := range b {
				d.compare(key, one, other)
			}
		}
		return d, nil
	}
	both := maps.Clone(a)
	maps.Copy(both, b)
	for _, key := range slices.Sorted(maps.Keys(both)) {
		d.compare(key, a[key], b[key])
	}
	// What has changed comes first: there may be very many that are in one only.
	slices.SortStableFunc(d.Differ, func(x, y Differing) int { return cmp.Compare(x.In, y.In) })
	return d, nil
}

// load reads the accounts of a Source. The result is by account key.
func (d *Difference) load(ctx context.Context, from Source) (map[string]claims, error) {
	all := map[string]claims{}
	err := from.Each(ctx, func(e Entry) error {
		if e.Err == nil && e.IsToken() {
			return nil
		}
		c, err := e.claims()
		if err != nil {
			d.Faults = append(d.Faults, e.fault(codeNotCompared, err))
			return nil
		}
		if before, is := all[c.Subject]; !is || before.claims.IssuedAt < c.IssuedAt {
			all[c.Subject] = claims{c, e.sum()}
		}
		return nil
	})
	return all, err
}

// compare compares one account, and counts it. If it is in one Source only, the other claims are
// zero. key is that of the second account if the two have other keys.
func (d *Difference) compare(key string, a, b claims) {
	d.Accounts++
	if a.sum == b.sum {
		d.Same++
		return
	}
	// Diff takes nil claims for an account that is not there.
	found := Differing{Account: key, In: "both", Changes: claimdiff.Diff(a.claims, b.claims)}
	switch {
	case len(found.Changes) == 0:
		d.Same++
		d.Anew++
		return
	case a.claims == nil:
		found.In = "second"
	case b.claims == nil:
		found.In = "first"
	}
	for _, c := range []claims{a, b} {
		if c.claims != nil {
			found.Name = c.claims.Name
		}
	}
	d.Differ = append(d.Differ, found)
}

// Print writes the difference for people. first and second are the Sources. An account is a title
// with name and key, and a line for each change: "~ may open 60 connections, was unlimited". One
// that is in one Source only has no such lines, as they would be all of its claims. The last line
// counts. Names and Sources are quoted by claimdiff.Plain.
func (d Difference) Print(w io.Writer, first, second string) {
	for _, a := range d.Differ {
		title := claimdiff.Plain(a.Name)
		if a.Name == "" {
			title = "(no name)"
		}
		fmt.Fprintf(w, "%s %s", title, claimdiff.Plain(a.Account))
		switch a.In {
		case "first":
			fmt.Fprintf(w, " is only in %s\n", claimdiff.Plain(first))
			continue
		case "second":
			fmt.Fprintf(w, " is only in %s\n", claimdiff.Plain(second))
			continue
		}
		fmt.Fprintln(w)
		for _, c := range a.Changes {
			fmt.Fprintf(w, "  %s %s\n", c.Sign, c.Words)
		}
	}
	fmt.Fprintln(w, d.summary())
}

// summary returns the last line. Example: "12 accounts, 1 differs, 3 are only issued anew".
func (d Difference) summary() string {
	words := []string{claimdiff.Counted(d.Accounts, "account", "accounts"),
		claimdiff.Counted(len(d.Differ), "differs", "differ")}
	if d.Anew > 0 {
		words = append(words, claimdiff.Counted(d.Anew, "is", "are")+" only issued anew")
	}
	if n := len(d.Faults); n > 0 {
		words = append(words, fmt.Sprintf("%d can't be compared", n))
	}
	return strings.Join(words, ", ")
}
