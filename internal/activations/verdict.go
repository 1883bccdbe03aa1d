package activations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

const (
	// maxVerdicts bounds the remembered verdicts, each of which keeps its token.
	maxVerdicts = 4096
	// maxErrorBytes bounds what a log line shows of an error that quotes a token.
	maxErrorBytes = 512
)

// decoded is a token in its one spelling, which its issuer has signed.
type decoded struct {
	hash    string
	claims  *jwt.ActivationClaims
	payload []byte // the middle part, still encoded; it is signed in every version
}

// decode verifies a token's own signature. The error is or wraps one of the first four of this
// package, as the original's answers tell them apart.
func decode(token []byte) (*decoded, error) {
	_, payload, err := trust.Payload(token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	parsed, err := jwt.Decode(string(token))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	claims, ok := parsed.(*jwt.ActivationClaims)
	switch {
	case !ok:
		return nil, ErrHash
	case !trust.IsAccountKey(claims.Issuer):
		return nil, ErrIssuer
	case !trust.IsAccountKey(claims.Subject):
		return nil, ErrSubject
	}
	hash, err := claims.HashID()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return &decoded{hash: hash, claims: claims, payload: payload}, nil
}

// decodeAs decodes a token that must have this hash. The error wraps accounts.ErrDamaged. A nil
// token is damaged.
func decodeAs(hash string, token []byte) (*decoded, error) {
	d, err := decode(bytes.TrimSpace(token))
	if err == nil && d.hash != hash {
		err = errors.New("it has another hash")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", accounts.ErrDamaged, err)
	}
	return d, nil
}

// Check says what is wrong with a token that is said to have this hash, except for its issuer. The
// error wraps accounts.ErrDamaged.
func Check(hash string, token []byte) error {
	_, err := decodeAs(hash, token)
	return err
}

// exporter is the account in whose name the token was signed.
func (d *decoded) exporter() string {
	if d.claims.IssuerAccount != "" {
		return d.claims.IssuerAccount
	}
	return d.claims.Issuer
}

// CheckIssuer reports whether a stored account has signed a token. The error wraps ErrIssuer if
// none has.
func (r *Registry) CheckIssuer(ctx context.Context, token []byte) error {
	d, err := decode(bytes.TrimSpace(token))
	if err != nil {
		return err
	}
	return r.checkIssuer(ctx, d)
}

// checkIssuer is CheckIssuer for a decoded token.
func (r *Registry) checkIssuer(ctx context.Context, d *decoded) error {
	exporter := d.exporter()
	short := logging.ShortKey(exporter)
	account, err := r.Accounts.GetLocal(ctx, exporter)
	switch {
	case errors.Is(err, accounts.ErrUnreadable):
		return err
	case err != nil:
		return fmt.Errorf("%w: the account %s is not stored", ErrIssuer, short)
	case exporter == d.claims.Issuer:
		return nil
	}
	claims, err := jwt.DecodeAccountClaims(string(bytes.TrimSpace(account.JWT)))
	if err != nil || !claims.SigningKeys.Contains(d.claims.Issuer) {
		return fmt.Errorf("%w: it is no signing key of the account %s", ErrIssuer, short)
	}
	return nil
}

// Verify checks a token of another server, which is said to have this hash, and stores nothing. It
// may have expired. The error wraps accounts.ErrDamaged, ErrNotFound or accounts.ErrUnreadable.
func (r *Registry) Verify(ctx context.Context, hash string, token []byte) (*Token, error) {
	return r.served(ctx, newVerdict(hash, bytes.TrimSpace(token)))
}

// verdict is what is known of one version of a token. Whether its issuer is good is not part of it:
// the exporting account may change at any time.
type verdict struct {
	*decoded        // nil if err is set
	stored   []byte // as they were read
	token    *Token // nil if err is set
	err      error  // wraps accounts.ErrDamaged
}

// newVerdict verifies bytes that are said to be the token of a hash.
func newVerdict(hash string, token []byte) *verdict {
	d, err := decodeAs(hash, token)
	if err != nil {
		return &verdict{stored: token, err: err}
	}
	return &verdict{decoded: d, stored: token, token: newToken(d, token)}
}

// judge returns the verdict on the stored bytes of a hash. Each version is verified once, and a
// damaged one is logged once.
func (r *Registry) judge(hash string, stored []byte) *verdict {
	r.mu.Lock()
	known := r.verdicts[hash]
	r.mu.Unlock()
	if known != nil && bytes.Equal(known.stored, stored) {
		return known
	}
	v := newVerdict(hash, stored)
	if v.err != nil {
		r.Log.Warn(fmt.Sprintf("%s - the stored activation JWT is not served - %s",
			logging.ShortKey(hash), logging.Quote(v.err.Error(), maxErrorBytes)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.verdicts) >= maxVerdicts {
		clear(r.verdicts)
	}
	r.verdicts[hash] = v
	return v
}

// served is the token of a verdict, if the token is intact and its issuer is good now.
func (r *Registry) served(ctx context.Context, v *verdict) (*Token, error) {
	if v.err != nil {
		return nil, v.err
	}
	switch err := r.checkIssuer(ctx, v.decoded); {
	case errors.Is(err, ErrIssuer):
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	case err != nil:
		return nil, err
	}
	return v.token, nil
}

// newToken describes a decoded token.
func newToken(d *decoded, token []byte) *Token {
	head := trust.Head{
		Subject:  d.hash,
		ID:       d.claims.ID,
		IssuedAt: d.claims.IssuedAt,
		Expires:  d.claims.Expires,
	}
	return &Token{Account: *accounts.NewAccount(slices.Clone(token), head), Issuer: d.claims.Issuer}
}
