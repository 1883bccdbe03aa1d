// Package trust finds out whether an operator of ours signed a JWT, and what the JWT says. It does
// no I/O.
//
//	operator.go   an operator, read from its JWT: which keys may sign
//	operators.go  all that are trusted
//	account.go    account JWTs: what they say of themselves, and whether an operator signed them
//	deletion.go   orders to delete accounts
//	keys.go       the syntax of keys and hashes
//	bare.go       a JWT between lines BEGIN and END; a private key where a JWT should be
//	explain.go    what is wrong with a text that is no good JWT
//	secret.go     passwords in an operator's JWT
package trust

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Operator is a trusted operator. It is never changed after Parse. It may be read from any
// goroutine.
type Operator struct {
	Key           string // public key, O…
	Name          string
	SystemAccount string    // public key that the operator JWT names; "": it names none
	Strict        bool      // the operator's own key may not sign accounts, only its signing keys
	Expires       time.Time // zero: never
	SecretFields  []string  // claims with a password: not every reader may see the JWT; nil: none

	token   []byte              // what is served
	signers map[string]struct{} // public keys that may sign accounts; empty: see SignsNothing
}

// The errors for a JWT of another kind than the one asked for.
var (
	ErrNotOperator   = errors.New("not operator claim")
	ErrNotAccount    = errors.New("not account claim")
	ErrNotActivation = errors.New("not activation claim")
)

// Parse reads an operator JWT, bare or between BEGIN and END lines. The JWT must be consistent in
// itself. Whether it has expired is for the caller to judge. A private key in text is an error, so
// that it is never served.
func Parse(text []byte) (*Operator, error) {
	token, claims, err := parseFile[*jwt.OperatorClaims](text, ErrNotOperator)
	if err != nil {
		return nil, err
	}
	o := &Operator{
		Key:           claims.Subject,
		Name:          claims.Name,
		SystemAccount: claims.SystemAccount,
		Strict:        claims.StrictSigningKeyUsage,
		SecretFields:  secretFields(&claims.Operator),
		token:         token,
		signers:       make(map[string]struct{}),
	}
	if claims.Expires > 0 {
		o.Expires = time.Unix(claims.Expires, 0)
	}
	if !o.Strict {
		o.signers[o.Key] = struct{}{}
	}
	for _, key := range claims.SigningKeys {
		o.signers[key] = struct{}{}
	}
	return o, nil
}

// Token is the operator JWT as it is served. The text of a bare file is served verbatim, as the
// original does; of a decorated file only the JWT is served. The caller must not change it.
func (o *Operator) Token() []byte { return o.token }

// Signers returns the public keys that may sign accounts, sorted.
func (o *Operator) Signers() []string { return slices.Sorted(maps.Keys(o.signers)) }

// SignsNothing reports whether the operator requires a signing key and has none: the last one was
// removed. nats-server starts with such an operator too, and trusts no account of it.
func (o *Operator) SignsNothing() bool { return len(o.signers) == 0 }

// trusts reports whether this operator lets the key sign accounts.
func (o *Operator) trusts(key string) bool {
	_, found := o.signers[key]
	return found
}

// parseFile reads a file with a JWT, bare or between BEGIN and END lines, and checks the JWT's own
// signature. It returns what is served of the file. A JWT of another kind gives the error
// otherKind. C is the type of the claims that are wanted.
func parseFile[C jwt.Claims](text []byte, otherKind error) (served []byte, claims C, err error) {
	token, err := Bare(text)
	switch {
	case err != nil:
		return nil, claims, err
	case len(token) == 0:
		return nil, claims, errors.New("the file is empty")
	}
	decoded, err := jwt.Decode(string(token))
	if err != nil {
		return nil, claims, Explain(token, err)
	}
	claims, ok := decoded.(C)
	if !ok {
		return nil, claims, Explain(token, otherKind)
	}
	// The original serves a bare file verbatim, with its line end.
	if bytes.Equal(bytes.TrimSpace(text), token) {
		return text, claims, nil
	}
	return token, claims, nil
}
