package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/operator"
)

// What Activate reports of an activation token that it does not take. The texts are the original's.
var (
	ErrBadActivation     = errors.New("bad activation JWT in request")
	ErrActivationIssuer  = errors.New("bad activation JWT Issuer in request")
	ErrActivationSubject = errors.New("bad activation JWT Subject in request")
	ErrActivationHash    = errors.New("bad activation hash in request")
	ErrActivationSave    = errors.New("error saving activation JWT") // wrapped with the cause
	ErrNoActivation      = errors.New("no matching activation JWT")
)

// Activation is a stored activation token: one account's permission for another to import something.
type Activation struct {
	Account        // Key is the token's hash
	Issuer  string // the account that exports, or a signing key of it
}

// Tokens keeps activation tokens, each under its hash. Its methods are those of Store and Committer.
type Tokens interface {
	Load(key string, known Stamp) (jwt []byte, now Stamp, err error)
	Put(ctx context.Context, key, door string, jwt []byte, allow func(stored, tombstone []byte) error) (seq uint64, err error)
}

// Activate is the way in for an activation token. It is let in if an account that is stored here, or a signing key of
// that account, has signed it, and kept under the hash of who allows what to whom. changed is false if the very same
// token is stored already.
func (r *Registry) Activate(ctx context.Context, token []byte, src Source) (a *Activation, changed bool, err error) {
	token = bytes.TrimSpace(token)
	was := Verdict{Source: src, Result: Accepted}
	if a, err = r.activate(ctx, token, &was); errors.Is(err, errSame) {
		was.Result, err = Unchanged, nil
	}
	if err != nil {
		was.Result, was.Reason = Refused, Reason(err)
		a = nil
	}
	r.tell(was)
	return a, was.Result == Accepted, err
}

// activate is Activate, but for errSame. It fills in what was is about.
func (r *Registry) activate(ctx context.Context, token []byte, was *Verdict) (*Activation, error) {
	claims, err := readActivation(token)
	if err != nil {
		return nil, err
	}
	hash, err := claims.HashID()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrActivationHash, err)
	}
	a := newActivation(hash, token, claims)
	was.Account, was.Issuer = hash, claims.Issuer
	was.New = describe(&operator.Head{ID: a.ID, IssuedAt: a.IssuedAt}, token)
	if r.readOnly && !was.File {
		return nil, ErrReadOnly
	}
	if err := r.judgeActivation(ctx, claims, was.File); err != nil {
		return nil, err
	}
	var refused error
	_, err = r.tokens.Put(ctx, hash, was.Door, token, func(stored, _ []byte) error {
		refused = newerActivation(claims, stored, token)
		return refused
	})
	switch {
	case refused != nil:
		return a, refused
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrActivationSave, err)
	}
	r.log.Info(fmt.Sprintf("updated activation JWT - %s-%s - %q", short(claims.Issuer), short(claims.Subject), harmless(string(claims.ImportSubject))))
	return a, nil
}

// readActivation tells the ways of being none apart, as the original's answers do.
func readActivation(token []byte) (*jwt.ActivationClaims, error) {
	decoded, err := jwt.Decode(string(token))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadActivation, err)
	}
	claims, ok := decoded.(*jwt.ActivationClaims)
	switch {
	case !ok:
		return nil, ErrActivationHash
	case !operator.IsAccountKey(claims.Issuer):
		return nil, ErrActivationIssuer
	case !operator.IsAccountKey(claims.Subject):
		return nil, ErrActivationSubject
	}
	return claims, nil
}

// judgeActivation says whether the exporting account is known and has signed, and whether the token can be used now. Whoever
// puts a file somewhere may put an expired one there.
func (r *Registry) judgeActivation(ctx context.Context, claims *jwt.ActivationClaims, file bool) error {
	exporter := exporterOf(claims)
	account, err := r.Lookup(ctx, exporter)
	if errors.Is(err, ErrUnreadable) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: the account %s is not stored", ErrActivationIssuer, short(harmless(exporter)))
	}
	if exporter != claims.Issuer {
		its, err := jwt.DecodeAccountClaims(string(bytes.TrimSpace(account.JWT)))
		if err != nil || !its.SigningKeys.Contains(claims.Issuer) {
			return fmt.Errorf("%w: it is no signing key of the account %s", ErrActivationIssuer, short(exporter))
		}
	}
	if ahead(claims.IssuedAt, r.now()) {
		return &FutureError{Offered: time.Unix(claims.IssuedAt, 0), Now: r.now()}
	}
	if file {
		return nil
	}
	return validate(claims)
}

// exporterOf is the account in whose name a token was signed.
func exporterOf(claims *jwt.ActivationClaims) string {
	if claims.IssuerAccount != "" {
		return claims.IssuerAccount
	}
	return claims.Issuer
}

// ExporterOf is the account in whose name an activation token was signed, unchecked; "" if it is none.
func ExporterOf(token []byte) string {
	claims, err := readActivation(bytes.TrimSpace(token))
	if err != nil {
		return ""
	}
	return exporterOf(claims)
}

// newerActivation refuses a token that is older than the stored one.
func newerActivation(claims *jwt.ActivationClaims, stored, token []byte) error {
	if bytes.Equal(bytes.TrimSpace(stored), token) {
		return errSame
	}
	had, err := jwt.DecodeActivationClaims(string(bytes.TrimSpace(stored)))
	if err == nil && had.IssuedAt > claims.IssuedAt {
		return &OlderError{Stored: time.Unix(had.IssuedAt, 0), Offered: time.Unix(claims.IssuedAt, 0)}
	}
	return nil
}

// IsActivationHash says whether a text can be the hash of an activation token: base32 with its padding.
func IsActivationHash(hash string) bool {
	own, padded := strings.CutSuffix(hash, "====")
	return padded && len(own) == 52 && strings.Trim(own, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// LookupActivation returns a stored activation token, checked: it decodes, and the hash is its own. The error is
// ErrNoActivation, or wraps ErrUnreadable or ErrDamaged.
func (r *Registry) LookupActivation(_ context.Context, hash string) (*Activation, error) {
	if !IsActivationHash(hash) { // an account's key, say
		return nil, ErrNoActivation
	}
	token, _, err := r.tokens.Load(hash, Stamp{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoActivation
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	claims, err := readActivation(bytes.TrimSpace(token))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if own, err := claims.HashID(); err != nil || own != hash {
		return nil, fmt.Errorf("%w: it has another hash", ErrDamaged)
	}
	return newActivation(hash, token, claims), nil
}

// AnnounceActivation publishes a token. It is not owed to anybody: no nats-server listens.
func (r *Registry) AnnounceActivation(a *Activation) {
	if r.activator != nil {
		r.activator.AnnounceActivation(a)
	}
}

func newActivation(hash string, token []byte, claims *jwt.ActivationClaims) *Activation {
	head := operator.Head{Subject: hash, ID: claims.ID, IssuedAt: claims.IssuedAt, Expires: claims.Expires}
	return &Activation{Account: *NewAccount(slices.Clone(token), head), Issuer: claims.Issuer}
}
