package activations

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// Token is an activation token that its issuer has signed. It is never changed. Its Key is its
// hash, its Issuer the account that exports, or a signing key of that account.
type Token struct {
	accounts.Account
	claims *jwt.ActivationClaims // as decoded; never nil
}

// decode verifies a token's own signature. Space around the token is ignored. The error is or wraps
// one of the first four of this package, as the original's answers tell them apart.
func decode(token []byte) (*Token, error) {
	bare := bytes.TrimSpace(token)
	// The payload alone tells tokens apart: the header of a version 1 token is not signed.
	_, payload, err := trust.Payload(bare)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadJWT, trust.Explain(bare, err))
	}
	parsed, err := jwt.Decode(string(bare))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadJWT, trust.Explain(bare, err))
	}
	// The order of these checks is the original's, and so is each error.
	claims, ok := parsed.(*jwt.ActivationClaims)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %w", ErrHash, trust.Explain(bare, trust.ErrNotActivation))
	case !trust.IsAccountKey(claims.Issuer):
		return nil, fmt.Errorf("%w: its iss is not the key of an account, which must sign it",
			ErrIssuer)
	case !trust.IsAccountKey(claims.Subject):
		return nil, fmt.Errorf("%w: its sub is not the key of an account, which may import",
			ErrSubject)
	}
	// The hash is not in the token. It follows from issuer, subject and import subject.
	hash, err := claims.HashID()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHash, err)
	}
	head := trust.Head{
		Subject:  hash,
		Issuer:   claims.Issuer,
		ID:       claims.ID,
		IssuedAt: claims.IssuedAt,
		Expires:  claims.Expires,
		Payload:  payload,
	}
	return &Token{*accounts.NewAccount(token, head), claims}, nil
}

// decodeAs decodes a token that must have this hash. nil is no token.
func decodeAs(hash string, token []byte) (*Token, error) {
	t, err := decode(token)
	if err == nil && t.Key != hash {
		return nil, errors.New("it has another hash")
	}
	return t, err
}

// Newer reports whether a is newer than b, two stored tokens with this hash. What is no token is
// newer than none.
func Newer(hash string, a, b []byte) bool {
	newer, err := decodeAs(hash, bytes.TrimSpace(a))
	if err != nil {
		return false
	}
	older, err := decodeAs(hash, bytes.TrimSpace(b))
	return err != nil || newer.IssuedAt > older.IssuedAt
}

// Check says what is wrong with a token that is said to have this hash, except for its issuer. The
// error wraps accounts.ErrDamaged.
func Check(hash string, token []byte) error {
	if _, err := decodeAs(hash, token); err != nil {
		return fmt.Errorf("%w: %w", accounts.ErrDamaged, err)
	}
	return nil
}

// exporter is the account in whose name the token was signed.
func (t *Token) exporter() string { return cmp.Or(t.claims.IssuerAccount, t.Issuer) }

// checkIssuer reports whether a stored account has signed a token. The error wraps ErrIssuer if
// none has.
func (r *Registry) checkIssuer(ctx context.Context, t *Token) error {
	short := logging.ShortKey(t.exporter())
	// Only what is stored counts here: a check must not wait for other servers.
	account, err := r.Accounts.GetLocal(ctx, t.exporter())
	switch {
	case errors.Is(err, accounts.ErrUnreadable):
		return err
	case err != nil:
		return fmt.Errorf("%w: the account %s is not stored: push it first", ErrIssuer, short)
	case t.exporter() == t.Issuer:
		return nil
	}
	// A signing key counts as long as the stored account names it.
	if claims := account.Claims(); claims == nil || !claims.SigningKeys.Contains(t.Issuer) {
		return fmt.Errorf("%w: it is no signing key of the account %s, as that is stored",
			ErrIssuer, short)
	}
	return nil
}
