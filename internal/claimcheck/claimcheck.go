// Package claimcheck says what nats-server refuses in account claims, beyond what the jwt library's
// own Validate finds. It does no I/O and knows nothing of who signed the claims.
//
//	what                                     who refuses it
//	what Validate finds                      every nats-server that loads the account
//	subject mappings that can't work         a full or cache resolver, when it is updated
//	JetStream for the system account         a nats-server with JetStream, which does not start
//
// A nats-server that loads an account from a URL takes it without the mapping. So claims that have
// passed Validate are used by some nats-servers, whatever this package says of them.
//
// What nats-server takes and leaves out is not refused: an import which no account exports, a trace
// destination that can't be published to, the template of a scoped signing key. What nats-server
// does not look at is not looked at here either.
//
// The reasons are in nats-server's words. The tests of this package, and those of httpapi, compare
// them with what a nats-server answers.
//
// # Files
//
// In the order in which to read them: claimcheck.go has Validate and Reasons, which asks mapping.go
// about subject mappings, and that asks function.go about calls such as {{wildcard(1)}}. imports.go
// says why imports do nothing, and expiry.go which times nats-server can't count.
package claimcheck

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/jwt/v2"
)

// Version is that of the nats-server whose checks these are. A newer one may refuse more: the tests
// run against the nats-server of go.mod and say what differs.
const Version = "2.15"

// errSystem is what nats-server logs before it ends. The library of jwt/v2 does not know which
// account is the system account.
var errSystem = errors.New("not allowed to enable JetStream on the system account")

// Validate adds to found what the jwt library finds wrong with claims. The library panics at a null
// export if the claims have a limit of exports: so it sees them without those.
func Validate(c *jwt.AccountClaims, found *jwt.ValidationResults) {
	if slices.Contains(c.Exports, nil) {
		found.AddError("null export is not allowed") // in the library's words
		others := *c
		others.Exports = slices.DeleteFunc(slices.Clone(c.Exports),
			func(e *jwt.Export) bool { return e == nil })
		c = &others
	}
	c.Validate(found)
}

// Reasons returns why nats-servers refuse claims that have passed Validate. It returns nil if they
// do not. isSystem says that the claims are those of the system account. There is one reason for
// each mapping at most, in the order of their sources.
func Reasons(c *jwt.AccountClaims, isSystem bool) []error {
	var found []error
	// In the order of a map the same claims would be refused with another text each time.
	for _, source := range slices.Sorted(maps.Keys(c.Mappings)) {
		if err := checkMapping(string(source), c.Mappings[source]); err != nil {
			found = append(found, err)
		}
	}
	if isSystem && c.Limits.IsJSEnabled() {
		found = append(found, errSystem)
	}
	return found
}

// checkMapping returns the first thing that is wrong with a mapping. Validate has checked the
// weights, and that no subject is empty or has an empty token. source is what clients publish to,
// and to are the subjects that this becomes, with their weights.
func checkMapping(source string, to []jwt.WeightedMapping) error {
	from, ok := parseSource(source)
	if !ok {
		return fmt.Errorf("mapping %q: %w", source, errSubject)
	}
	seen := map[jwt.Subject]bool{}
	for _, m := range to {
		// Also if the two are for different clusters.
		if seen[m.Subject] {
			return fmt.Errorf("mapping %q: duplicate entry for %q", source, m.Subject)
		}
		seen[m.Subject] = true
		if err := from.checkDestination(string(m.Subject)); err != nil {
			return fmt.Errorf("mapping %q -> %q: %w", source, m.Subject, err)
		}
	}
	return nil
}
