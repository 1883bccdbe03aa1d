package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"nats-account-server/internal/logging"
)

// signable reports whether a refused JWT is one for the signing service: it is whole, but the
// operator did not sign it.
func (r *Registry) signable(err error) bool {
	return r.signer != nil && r.signer.Signs() &&
		(errors.Is(err, ErrSelfSigned) || errors.Is(err, ErrBadIssuer) || errors.Is(err, ErrUntrusted))
}

// sign has a JWT signed that the account signed itself, and puts the answer. If that is no JWT but
// a text, nothing has changed, and the text is for the client.
func (r *Registry) sign(ctx context.Context, o *offer) (Result, error) {
	answer, err := r.requestSignature(ctx, o)
	if err != nil {
		r.audit.refused(o, err)
		return Result{}, err
	}
	signed := newOffer(o.key, bytes.TrimSpace(answer), o.from, o.trust)
	if err = signed.read(); err == nil {
		err = signed.verify()
	}
	if err != nil {
		r.audit.emit(o, Forwarded, "")
		r.log.Info(fmt.Sprintf("%s Initiated JWT signing process for %s", logging.ShortKey(o.key),
			logging.Quote(o.head.ID, maxErrorBytes)))
		return Result{Pending: true, Reply: answer}, nil
	}
	return r.commit(ctx, signed, inspect(signed, r.announcer.MaxPayload(), r.now()))
}

// requestSignature asks the signing service, if the account itself signed what is to be signed.
func (r *Registry) requestSignature(ctx context.Context, o *offer) ([]byte, error) {
	if err := o.verify(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	switch _, err := r.Get(ctx, o.key); {
	case errors.Is(err, ErrUnreadable):
		return nil, err
	case o.head.Issuer == o.key:
	case err != nil:
		return nil, ErrBadPair
	default:
		return nil, ErrNotOwn
	}
	answer, err := r.signer.Sign(ctx, o.token)
	if err != nil {
		r.log.Error(fmt.Sprintf("%s - error when signing account - %s", logging.ShortKey(o.key), err))
	}
	return answer, err
}
