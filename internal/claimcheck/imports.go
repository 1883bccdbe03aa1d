package claimcheck

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Imports returns why imports of an account do nothing: what it imports is not exported, or not to it.
// nats-server takes the claims all the same, and tells no client. exporter returns the claims of another
// account, nil if it is not known.
func Imports(
	c *jwt.AccountClaims, exporter func(key string) *jwt.AccountClaims, now time.Time,
) (faults []string) {
	for _, i := range c.Imports {
		if i == nil {
			continue
		}
		if why := checkImport(c.Subject, i, exporter(i.Account), now); why != "" {
			faults = append(faults, fmt.Sprintf("import of %s %.128q from %.12s: %s", i.Type,
				string(i.Subject), i.Account, why))
		}
	}
	return faults
}

// checkImport returns why an import does nothing, "" if it does what it should.
func checkImport(importer string, i *jwt.Import, from *jwt.AccountClaims, now time.Time) string {
	if from == nil {
		return "the account is not stored"
	}
	why := "it is not exported"
	for _, e := range from.Exports {
		if e == nil || e.Type != i.Type || !i.Subject.IsContainedIn(e.Subject) {
			continue
		}
		// Of several exports that contain the subject, one is enough.
		if why = checkGrant(importer, i, e, from, now); why == "" {
			return ""
		}
	}
	return why
}

// checkGrant returns why an export does not allow an import, "" if it does.
func checkGrant(
	importer string, i *jwt.Import, e *jwt.Export, from *jwt.AccountClaims, now time.Time,
) string {
	if !e.TokenReq && e.AccountTokenPosition == 0 {
		return ""
	}
	if !e.TokenReq {
		return "" // nats-server compares the token of the subject when it is used
	}
	if i.Token == "" {
		return "the export is private, and the import has no activation token"
	}
	grant, err := jwt.DecodeActivationClaims(i.Token)
	switch {
	case err != nil:
		return "its activation token can't be read"
	case grant.Subject != importer && grant.Subject != "public":
		return "its activation token is for another account"
	case grant.Expires > 0 && grant.Expires <= now.Unix():
		return "its activation token has expired"
	case !from.DidSign(grant):
		return "its activation token is not signed by that account"
	case !i.Subject.IsContainedIn(grant.ImportSubject):
		return "its activation token is for another subject"
	case e.IsClaimRevoked(grant):
		return "its activation token is revoked"
	}
	return ""
}
