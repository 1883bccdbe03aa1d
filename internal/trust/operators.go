package trust

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Operators are the operators that are trusted, each with its own keys. Without any, no key is
// trusted. They are never changed. There are several while accounts move from one operator to
// another.
type Operators []*Operator

// Trusts reports whether an account JWT of this issuer counts. nats-server refuses a JWT signed by
// the identity key of an operator that requires signing keys, so that key is not trusted then.
// issuer may be any text.
func (all Operators) Trusts(issuer string) bool {
	return slices.ContainsFunc(all, func(o *Operator) bool { return o.trusts(issuer) })
}

// RequireSigningKey reports whether issuer is the identity key of one of the operators, and is not
// trusted because that operator requires a signing key.
func (all Operators) RequireSigningKey(issuer string) bool {
	isKey := func(o *Operator) bool { return o.Key == issuer }
	return slices.ContainsFunc(all, isKey) && !all.Trusts(issuer)
}

// checkIssuer returns why a JWT of this issuer does not count, nil if it does. The error names
// public keys only.
func (all Operators) checkIssuer(issuer string) error {
	switch {
	case all.Trusts(issuer):
		return nil
	case all.RequireSigningKey(issuer):
		return fmt.Errorf("the operator's identity key %s signed it, and this operator requires a "+
			"signing key", issuer)
	}
	keys := all.each(func(o *Operator) string { return o.Key }) // two JWTs of one may be given
	if len(keys) == 1 {
		return fmt.Errorf("the operator %s did not sign it", keys[0])
	}
	return fmt.Errorf("none of the operators %s signed it", strings.Join(keys, ", "))
}

// each returns a key of each operator, once if several have the same, and none for "".
func (all Operators) each(key func(*Operator) string) (keys []string) {
	for _, o := range all {
		if k := key(o); k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Signers returns the public keys that may sign accounts, sorted. Two lists that are equal trust
// the same JWTs.
func (all Operators) Signers() (keys []string) {
	for _, o := range all {
		keys = slices.AppendSeq(keys, maps.Keys(o.signers))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// NameSystemAccount reports whether one of the operators names this account as its system account.
func (all Operators) NameSystemAccount(key string) bool {
	return slices.ContainsFunc(all, func(o *Operator) bool { return o.SystemAccount == key })
}

// SystemAccounts returns the public keys of the accounts that the operators name as their system
// account, each once.
func (all Operators) SystemAccounts() []string {
	return all.each(func(o *Operator) string { return o.SystemAccount })
}
