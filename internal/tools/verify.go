package tools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// Verified is what is wrong with the JWTs of a Source. The command verify prints it as JSON or as
// lines.
type Verified struct {
	// JWTs counts those that could be read, good or not.
	JWTs int `json:"jwts"`
	// Accounts counts those that have at least one JWT that the operator has signed.
	Accounts int     `json:"accounts"`
	Faults   []Fault `json:"faults"`
}

// The codes of faults. Programs read them: they never change.
const (
	codeUnreadable = "unreadable" // a file or directory can't be read
	codeDamaged    = "damaged"    // it is no account JWT, or its signature is wrong
	codeUnsigned   = "unsigned"   // no key of the operator has signed it
	codeMisnamed   = "misnamed"   // the file has not the name of the account
	codeDuplicate  = "duplicate"  // two files have JWTs of one account
	// Its times are those of the claims, compared with the clock of this machine.
	codeExpired  = "expired"
	codeEarly    = "not_yet_valid"
	codeRefused  = "refused"  // nats-servers refuse the claims, or the server refuses the push
	codeDangling = "dangling" // an import does nothing

	codeWarning     = "warning"      // the server has stored it, and says something of it
	codeNotExported = "not_exported" // it is damaged, misnamed, or older than what is there
	codeNotCompared = "not_compared" // it can't be read, or is damaged
)

// verifier checks the JWTs of one Source.
type verifier struct {
	// operators may have signed; with none of them any signature counts.
	operators trust.Operators
	now       time.Time
	found     Verified
	// accounts has by key the newest JWT of each account.
	accounts map[string]*verified
}

// verified is an account with a good JWT. Only what checkImports needs of the claims is kept: a
// Source may have a million accounts.
type verified struct {
	entry    Entry
	issuedAt int64
	exporter *jwt.AccountClaims // with exports and signing keys only
	importer *jwt.AccountClaims // with imports only; nil if there are none
}

// Verify finds what is wrong with the JWTs of a Source, each by itself and all together. operators
// are those that may sign; without any, a signature must only be that of the issuer. The error is
// that of the Source. What was found until then is returned with it. found.Faults is never nil, so
// that it is [] in JSON. Its order is that of the Source; what is wrong with imports follows, by
// account.
func Verify(
	ctx context.Context, from Source, operators trust.Operators, now time.Time, p *Progress,
) (Verified, error) {
	v := &verifier{operators: operators, now: now, accounts: map[string]*verified{}}
	v.found.Faults = []Fault{}
	err := from.Each(ctx, func(e Entry) error {
		v.check(e)
		p.Add()
		return nil
	})
	p.End()
	v.checkImports()
	v.found.Accounts = len(v.accounts)
	return v.found, err
}

// add adds a fault.
func (v *verifier) add(e Entry, code string, err error) {
	v.found.Faults = append(v.found.Faults, e.fault(code, err))
}

// check finds what is wrong with one JWT by itself. A JWT that is damaged, or not signed by an
// operator, is told only that: what else it says does not matter. trust.Verify checks the signature
// of the issuer that the JWT names; the operators are asked whether that issuer is theirs.
func (v *verifier) check(e Entry) {
	if e.Err != nil {
		v.add(e, codeOf(e.Err), e.Err)
		return
	}
	v.found.JWTs++
	if e.IsToken() {
		v.checkToken(e)
		return
	}
	claims, err := e.claims()
	if err != nil {
		v.add(e, codeDamaged, err)
		return
	}
	v.checkPlace(e, claims.Subject)
	if len(v.operators) > 0 && !v.operators.Trusts(claims.Issuer) {
		_, err := v.operators.Check(claims.Subject, e.JWT)
		v.add(e, codeUnsigned, err)
		return
	}
	v.checkClaims(e, claims)
	v.keep(e, claims)
}

// codeOf returns the code of why there is no JWT in an Entry. What is there and is no JWT is
// damaged; what the system does not let us read is unreadable.
func codeOf(err error) string {
	for _, what := range []error{errEmpty, errPackLine, trust.ErrPrivateKey} {
		if errors.Is(err, what) {
			return codeDamaged
		}
	}
	return codeUnreadable
}

// checkToken finds what is wrong with an activation token. Whether its issuer may give it is not
// checked: that depends on the claims of the account at each time. Its name is the hash of its
// issuer, the account that it is for, and the subject: jwt.ActivationClaims.HashID.
func (v *verifier) checkToken(e Entry) {
	grant, err := jwt.DecodeActivationClaims(string(e.JWT))
	if err != nil {
		v.add(e, codeDamaged, err)
		return
	}
	if hash, err := grant.HashID(); err != nil || hash != e.Name {
		v.add(e, codeMisnamed,
			fmt.Errorf("its name is not the hash of the activation token, %.60q", hash))
	}
	v.checkTimes(e, &grant.ClaimsData)
}

// checkPlace adds a fault unless a file has the name of its account, where a server looks for it.
// The key must be the name of the file, and in a sharded store the directory must be its last two
// characters.
func (v *verifier) checkPlace(e Entry, account string) {
	if err := e.checkName(account); err != nil {
		v.add(e, codeMisnamed, err)
		return
	}
	base := strings.TrimSuffix(filepath.Base(e.Place), ".jwt")
	_, isKeyed := jwtstore.KeyOf(base + ".jwt")
	if e.Name == "" && isKeyed { // not where a server looks for it
		v.add(e, codeMisnamed, fmt.Errorf("it is in the wrong directory: the name of that is %s",
			base[len(base)-2:]))
	}
}

// checkTimes adds a fault unless a JWT is valid at v.now. An exp or nbf of 0 is none. Both are in
// seconds since 1970.
func (v *verifier) checkTimes(e Entry, c *jwt.ClaimsData) {
	if c.Expires > 0 && c.Expires <= v.now.Unix() {
		v.add(e, codeExpired, errors.New("it has expired on "+claimdiff.Time(c.Expires)))
	}
	if c.NotBefore > v.now.Unix() {
		v.add(e, codeEarly, errors.New("it is not valid before "+claimdiff.Time(c.NotBefore)))
	}
}

// checkClaims adds a fault for each reason why nats-servers do not take the claims. The system
// account has rules of its own; without operators none is known.
func (v *verifier) checkClaims(e Entry, c *jwt.AccountClaims) {
	v.checkTimes(e, &c.ClaimsData)
	isSystem := v.operators.NameSystemAccount(c.Subject)
	for _, reason := range append(blocking(c), claimcheck.Reasons(c, isSystem)...) {
		v.add(e, codeRefused, fmt.Errorf("nats-servers refuse its claims: %w", reason))
	}
}

// blocking returns why every nats-server refuses claims, apart from their times. Issues that do not
// block are warnings of the library. Times have codes of their own.
func blocking(c *jwt.AccountClaims) (found []error) {
	var results jwt.ValidationResults
	claimcheck.Validate(c, &results)
	for _, issue := range results.Issues {
		if issue.Blocking && !issue.TimeCheck {
			found = append(found, errors.New(issue.Description))
		}
	}
	return found
}

// keep keeps what others need of an account. Of two JWTs of it the newest counts. The token is
// dropped: with a million accounts it would be most of the memory.
func (v *verifier) keep(e Entry, c *jwt.AccountClaims) {
	now := &verified{entry: e, issuedAt: c.IssuedAt}
	now.exporter = jwt.NewAccountClaims(c.Subject)
	now.exporter.Exports, now.exporter.SigningKeys = c.Exports, c.SigningKeys
	if len(c.Imports) > 0 {
		now.importer = jwt.NewAccountClaims(c.Subject)
		now.importer.Imports = c.Imports
	}
	now.entry.JWT = nil
	before := v.accounts[c.Subject]
	if before == nil {
		v.accounts[c.Subject] = now
		return
	}
	older, newer := before, now
	if before.issuedAt > now.issuedAt {
		older, newer = now, before
	}
	v.accounts[c.Subject] = newer
	older.entry.Name = c.Subject
	v.add(older.entry, codeDuplicate, fmt.Errorf(
		"the account has another JWT in %.300q, which counts", newer.entry.Place))
}

// checkImports adds a fault for each import of something that no account of the Source exports to
// the account. It is called when all JWTs were read. An exporter that is not in the Source counts
// as one that exports nothing, also if a server has it.
func (v *verifier) checkImports() {
	exporter := func(key string) *jwt.AccountClaims {
		if a := v.accounts[key]; a != nil {
			return a.exporter
		}
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(v.accounts)) {
		a := v.accounts[key]
		if a.importer == nil {
			continue
		}
		for _, why := range claimcheck.Imports(a.importer, exporter, v.now) {
			a.entry.Name = key
			v.add(a.entry, codeDangling, errors.New(why))
		}
	}
}
