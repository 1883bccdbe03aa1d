package claimcheck

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
)

// Why an import does nothing. The texts are clauses in English for people.
var (
	errNotStored     = errors.New("the account is not stored")
	errNotExported   = errors.New("it is not exported")
	errTwice         = errors.New("nats-server imports a stream once only, under the first name")
	errNoToken       = errors.New("the export is private, and the import has no activation token")
	errUnreadable    = errors.New("its activation token can't be read")
	errOtherImporter = errors.New("its activation token is for another account")
	errExpired       = errors.New("its activation token has expired")
	errNotSigned     = errors.New("its activation token is not signed by that account")
	errOtherSubject  = errors.New("its activation token is for another subject")
	errRevoked       = errors.New("its activation token is revoked")
)

// The Kinds of faults of an import. Programs read them: they never change.
const (
	// They are values of the label kind of push_warnings_total too.
	KindDangling = "dangling_import"
	KindNoToken  = "private_import_without_token"
	KindExpired  = "activation_expired"
)

// KindIncomplete is the Kind of a warning that a nats-server does not put all of the JWT into effect
// as it is. It never changes either.
const KindIncomplete = "incomplete"

// Kind returns the Kind of a fault, which is not nil.
func Kind(fault error) string {
	switch {
	case errors.Is(fault, errNoToken):
		return KindNoToken
	case errors.Is(fault, errExpired):
		return KindExpired
	}
	return KindDangling
}

// Imports returns why imports of an account do nothing: what it imports is not exported, or not to
// it. nats-server takes the claims all the same, and tells no client. exporter returns the claims
// of another account, nil if it is not known. now decides whether tokens have expired. Faults are
// in the order of the imports.
func Imports(
	c *jwt.AccountClaims, exporter func(key string) *jwt.AccountClaims, now time.Time,
) (faults []string) {
	for n, why := range Faults(c.Imports, func(i *jwt.Import) error {
		return Import(c.Subject, i, exporter(i.Account), now)
	}) {
		if i := c.Imports[n]; why != nil {
			faults = append(faults, fmt.Sprintf("import of %s %.128q from %.12s: %v", i.Type,
				claimdiff.Remote(i), i.Account, why))
		}
	}
	return faults
}

// FaultsFrom is Faults with the claims of one exporter. What it says of imports from other accounts
// has no meaning. now decides whether tokens have expired.
func FaultsFrom(exporter, importer *jwt.AccountClaims, now time.Time) []error {
	return Faults(importer.Imports, func(i *jwt.Import) error {
		return Import(importer.Subject, i, exporter, now)
	})
}

// Faults returns for each import of an account what check says of it, which is Import with what the
// caller knows, and what follows from the imports before it: nats-server imports the same stream
// once only. A null import has no fault. An import without a fault has nil.
func Faults(imports []*jwt.Import, check func(*jwt.Import) error) []error {
	type stream struct {
		account string
		subject jwt.Subject
	}
	faults, seen := make([]error, len(imports)), make(map[stream]bool)
	for n, i := range imports {
		if i == nil {
			continue
		}
		if faults[n] = check(i); faults[n] != nil || !i.IsStream() {
			continue
		}
		id := stream{i.Account, imported(i)}
		if seen[id] {
			faults[n] = errTwice
		}
		seen[id] = true
	}
	return faults
}

// imported returns the subject that an import has in the exporting account.
func imported(i *jwt.Import) jwt.Subject { return jwt.Subject(claimdiff.Remote(i)) }

// Import returns why an import of an account does nothing, nil if it does what it should. from is
// nil if the exporting account is not known.
func Import(importer string, i *jwt.Import, from *jwt.AccountClaims, now time.Time) error {
	if from == nil {
		return errNotStored
	}
	why := errNotExported
	for _, e := range from.Exports {
		if e == nil || e.Type != i.Type || !imported(i).IsContainedIn(e.Subject) {
			continue
		}
		why = checkGrant(importer, i, e, from, now)
		// The export of this very subject decides. Of several others that contain it, one is
		// enough.
		if why == nil || imported(i) == e.Subject {
			return why
		}
	}
	return why
}

// checkGrant returns why an export does not allow an import, nil if it does. The order of the cases
// is from the export to the token, so that the first cause is told.
func checkGrant(
	importer string, i *jwt.Import, e *jwt.Export, from *jwt.AccountClaims, now time.Time,
) error {
	switch {
	case e.AccountTokenPosition > 0 && !isAt(e.AccountTokenPosition, importer, imported(i), e):
		return fmt.Errorf("token %d of the subject must be the importing account",
			e.AccountTokenPosition)
	case e.AccountTokenPosition > 0 || !e.TokenReq:
		return nil
	case i.Token == "":
		return errNoToken
	}
	// Decode checks the signature of the issuer that the token names; DidSign, whose key that is.
	grant, err := jwt.DecodeActivationClaims(i.Token)
	switch {
	case err != nil:
		return errUnreadable
	case grant.Subject != importer && grant.Subject != "public":
		return errOtherImporter
	case grant.Expires != 0 && grant.Expires <= now.Unix():
		return errExpired
	case !from.DidSign(grant):
		return errNotSigned
	case !imported(i).IsContainedIn(grant.ImportSubject):
		return errOtherSubject
	case e.IsClaimRevoked(grant):
		return errRevoked
	}
	return nil
}

// isAt reports whether a token of the imported subject is the importing account. nats-server looks
// for none if the subject is exactly the exported one.
func isAt(position uint, importer string, subject jwt.Subject, e *jwt.Export) bool {
	tokens := strings.Split(string(subject), ".")
	return subject != e.Subject && position <= uint(len(tokens)) && tokens[position-1] == importer
}
