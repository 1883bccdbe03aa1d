package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"nats-account-server/internal/trust"
)

// Signer is a signing service: it has the operator's key, which this server never sees.
type Signer interface {
	// Signs says whether there is one.
	Signs() bool
	// Sign returns the service's answer to a JWT that an account signed itself: a JWT signed by the operator, or a text
	// for people. The error is a *SignError.
	Sign(ctx context.Context, token []byte) ([]byte, error)
}

// What is refused before the signing service is asked. The texts are the original's.
var (
	ErrBadPair = errors.New("bad JWT Issuer/Subject pair in request")
	ErrNotOwn  = errors.New("bad JWT issuer is not trusted")
)

// SignError says why there is no answer of the signing service.
type SignError struct{ Reason string }

func (e *SignError) Error() string { return "Failure during signature request. " + e.Reason }

// signable says whether a refused JWT is one for the signing service: it is whole, but the operator did not sign it.
func (r *Registry) signable(err error) bool {
	return r.signer != nil && r.signer.Signs() &&
		(errors.Is(err, ErrSelfSigned) || errors.Is(err, ErrBadIssuer) || errors.Is(err, ErrUntrusted))
}

// sign has a JWT signed that the account signed itself, and lets in what comes back. If that is no JWT but a text,
// nothing has changed, and the text is for whoever asked.
func (r *Registry) sign(ctx context.Context, key string, o *offer) (Result, error) {
	answer, err := r.requestSignature(ctx, key, o)
	if err != nil {
		r.judged(key, o, Result{}, err)
		return Result{}, err
	}
	head, err := trust.Peek(bytes.TrimSpace(answer))
	if err == nil {
		_, err = trust.Verify(bytes.TrimSpace(answer), head)
	}
	if err != nil {
		r.observe(key, o, Forwarded, "")
		r.log.Info(fmt.Sprintf("%s Initiated JWT signing process for %s", short(key), harmless(o.head.ID)))
		return Result{Pending: true, Reply: answer}, nil
	}
	signed := &offer{trust: o.trust, token: bytes.TrimSpace(answer), src: o.src}
	return r.enter(ctx, key, signed, r.inspect(key, signed))
}

// requestSignature asks the signing service, if the account itself signed what is to be signed.
func (r *Registry) requestSignature(ctx context.Context, key string, o *offer) ([]byte, error) {
	if _, err := trust.Verify(o.token, o.head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	switch _, err := r.Get(ctx, key); {
	case errors.Is(err, ErrUnreadable):
		return nil, err
	case o.head.Issuer == key:
	case err != nil:
		return nil, ErrBadPair
	default:
		return nil, ErrNotOwn
	}
	answer, err := r.signer.Sign(ctx, o.token)
	if err != nil {
		r.log.Error(fmt.Sprintf("%s - error when signing account - %s", short(key), err))
	}
	return answer, err
}
