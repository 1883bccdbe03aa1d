// Package operator holds the trust anchors: the operator's JWT, its signing keys and the system account it names.
//
// It answers one question, "did our operator sign this, and what does it say?", and does no I/O.
package trust

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// Operator is a trusted operator. It is never changed after Parse.
type Operator struct {
	Key           string // public key, O…
	Name          string
	SystemAccount string // public key the operator JWT names, "" if none
	Strict        bool   // only signing keys may sign, not the operator's own key
	Expires       time.Time
	SecretFields  []string // claims that hold a password: not everybody may read the JWT; nil if there are none

	token   []byte
	signers map[string]struct{}
}

// ErrKind says that a file holds a JWT of another kind than the one asked for.
var (
	ErrNotOperator = errors.New("not operator claim")
	ErrNotAccount  = errors.New("not account claim")
)

// Parse reads an operator JWT, bare or between BEGIN and END lines.
func Parse(text []byte) (*Operator, error) {
	token, err := undecorate(text)
	if err != nil {
		return nil, err
	}
	claims, err := jwt.Decode(token)
	if err != nil {
		return nil, err
	}
	oc, ok := claims.(*jwt.OperatorClaims)
	if !ok {
		return nil, ErrNotOperator
	}
	o := &Operator{
		Key:           oc.Subject,
		Name:          oc.Name,
		SystemAccount: oc.SystemAccount,
		Strict:        oc.StrictSigningKeyUsage,
		SecretFields:  secretFields(&oc.Operator),
		token:         served(text, token),
		signers:       make(map[string]struct{}),
	}
	if oc.Expires > 0 {
		o.Expires = time.Unix(oc.Expires, 0)
	}
	if !o.Strict {
		o.signers[o.Key] = struct{}{}
	}
	for _, k := range oc.SigningKeys {
		o.signers[k] = struct{}{}
	}
	if len(o.signers) == 0 {
		return nil, errors.New("the operator demands signing keys (strict signing key usage) but lists none: no account JWT could be accepted")
	}
	return o, nil
}

// Token is the operator JWT as it is served: a bare file's bytes verbatim, as the original serves them, and only
// the JWT of a decorated one.
func (o *Operator) Token() []byte { return o.token }

// Trusts says whether an account JWT issued by this key is one of ours. nats-server refuses a JWT signed by the
// operator's own key when the operator demands signing keys, so that key is not trusted then.
func (o *Operator) Trusts(issuer string) bool {
	if o == nil {
		return false
	}
	_, ok := o.signers[issuer]
	return ok
}

// undecorate returns the JWT between BEGIN and END lines, or the trimmed text when there are none.
func undecorate(text []byte) (string, error) {
	token, err := jwt.ParseDecoratedJWT(text)
	if err != nil {
		return "", err
	}
	token = strings.TrimSpace(token)
	if token == "" {
		return "", errors.New("the file is empty")
	}
	return token, nil
}

func served(text []byte, token string) []byte {
	if strings.TrimSpace(string(text)) == token {
		return text
	}
	return []byte(token)
}

// ParseAccount reads an account JWT file, bare or decorated, as systemaccountjwtpath names it. It verifies the
// JWT's own signature; whether our operator signed it is Check's question.
func ParseAccount(text []byte) (token []byte, claims *jwt.AccountClaims, err error) {
	t, err := undecorate(text)
	if err != nil {
		return nil, nil, err
	}
	c, err := jwt.Decode(t)
	if err != nil {
		return nil, nil, err
	}
	ac, ok := c.(*jwt.AccountClaims)
	if !ok {
		return nil, nil, ErrNotAccount
	}
	return served(text, t), ac, nil
}

// Verify decodes an account JWT and checks its signature against the issuer it names. Whether that issuer is
// trusted is Trusts' question. The signature check costs some 100 µs.
func Verify(token []byte, head Head) (*jwt.AccountClaims, error) {
	c, err := jwt.DecodeAccountClaims(string(token))
	if err != nil {
		return nil, err
	}
	if c.Subject != head.Subject || c.Issuer != head.Issuer || c.IssuedAt != head.IssuedAt {
		return nil, errors.New("the claims are ambiguous")
	}
	return c, nil
}

// Check says whether token is an account JWT for the account key that this operator signed, whatever its dates
// say. Without an operator (nil) a JWT only has to be consistent in itself.
func (o *Operator) Check(key string, token []byte) (Head, error) {
	head, err := Peek(token)
	if err != nil {
		return head, err
	}
	if head.Subject != key || !IsAccountKey(key) {
		return head, fmt.Errorf("it is the JWT of another subject, not of %s", key)
	}
	if o != nil && !o.Trusts(head.Issuer) {
		return head, fmt.Errorf("the operator %s did not sign it", o.Key)
	}
	_, err = Verify(token, head)
	return head, err
}
