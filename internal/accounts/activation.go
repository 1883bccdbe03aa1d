package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/trust"
)

// What Activate reports of an activation token that it does not take. The texts are the original's.
var (
	ErrBadActivation     = errors.New("bad activation JWT in request")
	ErrActivationIssuer  = errors.New("bad activation JWT Issuer in request")
	ErrActivationSubject = errors.New("bad activation JWT Subject in request")
	ErrActivationHash    = errors.New("bad activation hash in request")
	ErrActivationSave    = errors.New("error saving activation JWT") // wrapped with the cause
	ErrActivationSize    = errors.New("the activation JWT is larger than 16384 bytes")
	ErrNoActivation      = errors.New("no matching activation JWT")
)

// mostActivation is how large a token may be, in bytes, unless whoever owns a directory put it there. Every account may bring as
// many as it likes, and one of a real account has some 600.
const mostActivation = 16 << 10

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

// Activator publishes an activation token once.
type Activator interface {
	AnnounceActivation(a *Activation) (published bool)
}

// Activate is the way in for an activation token. It is let in if an account that is stored here, or a signing key of
// that account, has signed it, and kept under the hash of who allows what to whom. changed is false if the very same
// token is stored already.
func (r *Registry) Activate(ctx context.Context, token []byte, src Origin) (a *Activation, changed bool, err error) {
	token = bytes.TrimSpace(token)
	was := Event{Origin: src, Result: Accepted}
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
func (r *Registry) activate(ctx context.Context, token []byte, was *Event) (*Activation, error) {
	if len(token) > mostActivation && !was.File {
		return nil, ErrActivationSize
	}
	claims, payload, err := readActivation(token)
	if err != nil {
		return nil, err
	}
	hash, err := claims.HashID()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrActivationHash, err)
	}
	a := newActivation(hash, token, claims)
	was.Account, was.Issuer = hash, claims.Issuer
	was.New = describe(&trust.Head{ID: a.ID, IssuedAt: a.IssuedAt}, token)
	if r.readOnly && !was.File {
		return nil, ErrReadOnly
	}
	if err := r.judgeActivation(ctx, claims, token, was.Origin); err != nil {
		return nil, err
	}
	var refused error
	_, err = r.tokens.Put(ctx, hash, was.Kind, token, func(stored, _ []byte) error {
		refused = r.admitActivation(a, payload, readPermit(hash, stored), was.Origin)
		return refused
	})
	switch {
	case refused != nil:
		return a, refused
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrActivationSave, err)
	}
	r.log.Info(fmt.Sprintf("updated activation JWT - %s-%s - %.130q", short(claims.Issuer), short(claims.Subject), string(claims.ImportSubject)))
	return a, nil
}

// readActivation tells the ways of being none apart, as the original's answers do. payload is the part that is signed in every
// version.
func readActivation(token []byte) (claims *jwt.ActivationClaims, payload []byte, err error) {
	_, payload, err = trust.Payload(token)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadActivation, err)
	}
	decoded, err := jwt.Decode(string(token))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadActivation, err)
	}
	claims, ok := decoded.(*jwt.ActivationClaims)
	switch {
	case !ok:
		return nil, nil, ErrActivationHash
	case !trust.IsAccountKey(claims.Issuer):
		return nil, nil, ErrActivationIssuer
	case !trust.IsAccountKey(claims.Subject):
		return nil, nil, ErrActivationSubject
	}
	return claims, payload, nil
}

// judgeActivation says whether the exporting account is known and has signed, and whether the token can be used now. Whoever
// puts a file somewhere may put an expired one there.
func (r *Registry) judgeActivation(ctx context.Context, claims *jwt.ActivationClaims, token []byte, src Origin) error {
	if r.trust.Load().Operator == nil && !src.File {
		return fmt.Errorf("%w: no operator is configured", ErrActivationIssuer)
	}
	if _, err := r.vouch(ctx, claims, nil); err != nil {
		return err
	}
	if ahead(claims.IssuedAt, r.now()) {
		return &FutureError{Offered: time.Unix(claims.IssuedAt, 0), Now: r.now()}
	}
	if src.File {
		return nil
	}
	if limit := r.announcer.MaxPayload(); limit > 0 && len(token) > limit {
		return &TooLargeError{Size: len(token), Limit: limit}
	}
	return validate(claims)
}

// vouch returns the account that exports, if it is stored and has signed the token, itself or with a signing key. What it was
// when it was last known to have done so is not looked at again. The error wraps ErrActivationIssuer or ErrUnreadable.
func (r *Registry) vouch(ctx context.Context, claims *jwt.ActivationClaims, known *Account) (*Account, error) {
	exporter := exporterOf(claims)
	account, err := r.GetLocal(ctx, exporter)
	switch {
	case errors.Is(err, ErrUnreadable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: the account %s is not stored", ErrActivationIssuer, short(harmless(exporter)))
	case exporter == claims.Issuer || account == known:
		return account, nil
	}
	its, err := jwt.DecodeAccountClaims(string(bytes.TrimSpace(account.JWT)))
	if err != nil || !its.SigningKeys.Contains(claims.Issuer) {
		return nil, fmt.Errorf("%w: it is no signing key of the account %s", ErrActivationIssuer, short(exporter))
	}
	return account, nil
}

// Vouch says whether an account that is stored here has signed a token. The error wraps ErrActivationIssuer if none has.
func (r *Registry) Vouch(ctx context.Context, token []byte) error {
	claims, _, err := readActivation(bytes.TrimSpace(token))
	if err == nil {
		_, err = r.vouch(ctx, claims, nil)
	}
	return err
}

// exporterOf is the account in whose name a token was signed.
func exporterOf(claims *jwt.ActivationClaims) string {
	if claims.IssuerAccount != "" {
		return claims.IssuerAccount
	}
	return claims.Issuer
}

// ExporterOf is the account in whose name an activation token was signed, which may not be known; "" if it is none.
func ExporterOf(token []byte) string {
	claims, _, err := readActivation(bytes.TrimSpace(token))
	if err != nil {
		return ""
	}
	return exporterOf(claims)
}

// admitActivation compares a token with the stored one, as admit does with accounts.
func (r *Registry) admitActivation(a *Activation, payload []byte, had *permit, src Origin) error {
	switch {
	case had.err != nil: // there is none, or it is damaged
		return nil
	case bytes.Equal(had.payload, payload): // in other bytes too: the header of a version 1 token is not signed
		return errSame
	case a.IssuedAt < had.activation.IssuedAt && (!r.allowOlder || src.Peer) && !ahead(had.activation.IssuedAt, r.now()):
		return &OlderError{Stored: time.Unix(had.activation.IssuedAt, 0), Offered: time.Unix(a.IssuedAt, 0)}
	case src.Peer && a.IssuedAt == had.activation.IssuedAt && lesser(a.JWT, had.token):
		return ErrLesser
	default:
		return nil
	}
}

// IsActivationHash says whether a text can be the hash of an activation token: base32 with its padding.
func IsActivationHash(hash string) bool {
	own, padded := strings.CutSuffix(hash, "====")
	return padded && len(own) == 52 && strings.Trim(own, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// AnnounceActivation publishes a token: one that has changed at once, any other one at most every five seconds. It is not owed
// to anybody: no nats-server listens.
func (r *Registry) AnnounceActivation(a *Activation, changed bool) {
	if r.activator == nil || !changed && !r.repeat.allow(a.Key, r.now()) || r.activator.AnnounceActivation(a) {
		return
	}
	why := "NATS is not connected"
	if r.announcer.Delivery(a.Key).State == NotConfigured {
		why = "no NATS configured"
	}
	r.log.Info(fmt.Sprintf("skipping activation notification for %s, %s", short(a.Key), why))
}

func newActivation(hash string, token []byte, claims *jwt.ActivationClaims) *Activation {
	head := trust.Head{Subject: hash, ID: claims.ID, IssuedAt: claims.IssuedAt, Expires: claims.Expires}
	return &Activation{Account: *NewAccount(slices.Clone(token), head), Issuer: claims.Issuer}
}
