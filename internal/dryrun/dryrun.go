// Package dryrun is the answer to a dry run of a push: its JSON, which programs read, and its text
// for people. httpapi makes it, and the command push shows it. It knows no rule and asks
// nothing: accounts says what became of the rules, claimdiff what changes, and effect what that
// does to those who are connected.
//
// The names of the members and the values of Verdict, Rule, State, Code and Kind never change.
package dryrun

import (
	"time"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/effect"
)

// Answer is what a push would do. It is made once and not changed then. Lists that are empty and
// known are [] in JSON, those that are not known null.
type Answer struct {
	Account string `json:"account"` // public key that it is for
	Name    string `json:"name"`    // as the pushed JWT says: any text; "" if it does not say
	Verdict string `json:"verdict"` // Stored, Unchanged, Refused or Signing
	// Status is how HTTP would answer the push. The answer to the dry run has the same.
	Status int    `json:"status"`
	Rules  []Rule `json:"rules"` // each rule of the policy, in the order of a push
	// Pushed is what would be pushed, nil if it can't be read.
	Pushed *Version `json:"pushed"`
	// Stored is what that was compared with, nil if nothing is stored.
	Stored *Version `json:"stored"`
	// Changes are what differs in meaning from what is stored; nil if that can't be told, as for a
	// JWT of another account.
	Changes []claimdiff.Change `json:"changes"`
	// Effects are what it would do to those who are connected, and to other accounts, as the
	// nats-servers in Asked have said. nil if that does not matter, since nothing would be stored.
	Effects []effect.Line `json:"effects"`
	// Asked are the names of the nats-servers that have answered.
	Asked    []string  `json:"asked,omitempty"`
	TookMS   float64   `json:"took_ms,omitempty"` // to ask them
	Warnings []Warning `json:"warnings"`
}

// The values of Verdict.
const (
	Stored    = "stored"    // it would be stored and announced
	Unchanged = "unchanged" // the same is stored already
	Refused   = "refused"   // nothing would happen: the rules say why
	Signing   = "signing"   // the signing service would get it, and decide
)

// Rule is what one rule of the policy says. A push is refused by the first rule that has failed; a
// dry run shows all that can be asked.
type Rule struct {
	// Rule is its name in the manual's page on rules: "expired", "claims".
	Rule  string `json:"rule"`
	State string `json:"state"`          // Passed, Failed or NotAsked
	Code  string `json:"code,omitempty"` // why it has failed: the word of the audit
	Text  string `json:"text,omitempty"` // why, for people
	// Faults are the parts of Text, if the rule may find several.
	Faults []string `json:"faults,omitempty"`
}

// The values of Rule.State.
const (
	Passed   = "passed"
	Failed   = "refused"
	NotAsked = "not asked" // an earlier rule has refused what this one needs
)

// Version tells one JWT of an account from another. Issued is the iat of the claims, to the second,
// in UTC.
type Version struct {
	ETag string `json:"etag,omitempty"` // for If-Match, with its quotes
	// JTI is the ID in the claims: a hash of them, which nsc shows.
	JTI    string    `json:"jti"`
	Issued time.Time `json:"issued"`
	Hash   string    `json:"sha256"` // of the JWT, in hex
}

// Warning is something that is wrong, and does not keep the JWT from being stored. Kinds are those
// of claimcheck and effect, and some of monitor.
type Warning struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}
