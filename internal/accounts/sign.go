package accounts

import (
	"context"
	"errors"
	"fmt"

	"nats-account-server/internal/logging"
)

// signable reports whether a refused JWT is one for the signing service: it is whole, but the
// operator did not sign it.
func signable(service Signer, err error) bool {
	return service != nil && service.Signs() &&
		(errors.Is(err, ErrSelfSigned) || errors.Is(err, ErrBadIssuer) ||
			errors.Is(err, ErrUntrusted))
}

// sign has a JWT signed that the account signed itself, and puts the answer. If that is no JWT but
// a text, nothing has changed, and the text is for the client.
func (r *Registry) sign(ctx context.Context, o *offer) (Result, error) {
	answer, err := r.requestSignature(ctx, o)
	if err != nil {
		return Result{}, r.refuse(o, err)
	}
	signed := newOffer(o.Key, answer, o.from, o.trust)
	signed.only = o.only
	if err = signed.read(); err == nil {
		err = signed.verify()
	}
	if err != nil {
		audited := r.observe(o.event(Forwarded))
		r.Log.Info(fmt.Sprintf("%s Initiated JWT signing process for %s", logging.ShortKey(o.Key),
			logging.Quote(o.ID, maxErrorBytes)))
		return Result{Pending: true, Reply: answer}, audited
	}
	return r.commit(ctx, signed, r.policy.inspect(signed))
}

// requestSignature asks the signing service, if the account itself signed what is to be signed.
func (r *Registry) requestSignature(ctx context.Context, o *offer) ([]byte, error) {
	if err := o.verify(); err != nil {
		return nil, err
	}
	switch _, err := r.Get(ctx, o.Key); {
	case errors.Is(err, ErrUnreadable) && !errors.Is(err, ErrPeers):
		return nil, err
	case o.Issuer == o.Key:
	case errors.Is(err, ErrPeers):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: the account is not known, so it must have "+
			"signed its first JWT itself", ErrBadPair)
	default:
		return nil, fmt.Errorf("%w: only what the account has signed with its own "+
			"key is sent to be signed", ErrNotOwn)
	}
	answer, err := r.Signer.Sign(ctx, o.JWT)
	if err != nil {
		r.Log.Error(fmt.Sprintf("%s - error when signing account - %s",
			logging.ShortKey(o.Key), err))
	}
	return answer, err
}
