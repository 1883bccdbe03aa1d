package replica

import (
	"context"
	"errors"
	"fmt"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
)

// FindActivation implements activations.Source: it asks the primary for a token, for at most a
// second. All that want the same token at the same time share a question.
func (r *Replica) FindActivation(ctx context.Context, hash string) (*activations.Token, error) {
	return r.tokenMisses.Ask(ctx, hash, true, func(ctx context.Context) (*activations.Token, error) {
		defer r.begin()()
		return r.missedToken(ctx, hash)
	})
}

// missedToken returns what is to be served of a token that is not stored.
func (r *Replica) missedToken(ctx context.Context, hash string) (*activations.Token, error) {
	t, err := r.fetchToken(ctx, hash)
	switch {
	case t != nil:
		return t, nil
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, activations.ErrNotFound):
		return nil, activations.ErrNotFound
	case errors.Is(err, accounts.ErrCircle):
		return nil, err
	}
	return nil, fmt.Errorf("%w: the primary does not answer as it should: %w",
		accounts.ErrUnreadable, err)
}

// Refresh implements activations.Source: it asks for a stored token again in the background, if
// that was long ago.
func (r *Replica) Refresh(hash string) {
	r.refresh(hash, func(ctx context.Context) error {
		_, err := r.fetchToken(ctx, hash)
		return err
	})
}

// fetchToken asks the primary for a token, stores it if possible, and returns what is to be served.
// That can also be a token that has expired or that can't be stored. With an error it is the token
// that was stored before, or nil.
func (r *Replica) fetchToken(ctx context.Context, hash string) (*activations.Token, error) {
	token, err := r.ask(ctx, pathActivations+hash)
	if err == nil {
		err = activations.Check(hash, token)
	}
	if err != nil {
		return nil, err
	}
	if err := r.fetchExporter(ctx, token); err != nil {
		return nil, err
	}
	_, _, refused := r.Activations.Put(context.WithoutCancel(ctx), token, origin)
	if accounts.IsFinal(refused) || errors.Is(refused, activations.ErrTooLarge) {
		refused = nil
		r.setFresh(hash, cacheFor)
		if t, err := r.Activations.GetLocal(ctx, hash); err == nil {
			return t, nil
		}
	}
	t, err := r.Activations.Verify(ctx, hash, token)
	if err != nil {
		t, _ = r.Activations.GetLocal(ctx, hash)
	}
	return t, errors.Join(refused, err)
}

// fetchExporter asks the primary for the account that has signed a token, unless that is stored.
// The error says that the primary can't tell.
func (r *Replica) fetchExporter(ctx context.Context, token []byte) error {
	if !errors.Is(r.Activations.CheckIssuer(ctx, token), activations.ErrIssuer) {
		return nil
	}
	account, err := r.Accounts.Refresh(ctx, activations.ExporterOf(token), r)
	if account == nil && !errors.Is(err, accounts.ErrNotFound) {
		return err
	}
	return nil
}
