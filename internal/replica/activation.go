package replica

import (
	"context"
	"errors"

	"nats-account-server/internal/activations"
)

// FindActivation implements activations.Source: it asks the primary for a token, at most a second
// long.
func (r *Replica) FindActivation(ctx context.Context, hash string) (*activations.Token, error) {
	found, err := r.together(ctx, hash, func(ctx context.Context) (any, error) {
		t, err := r.fetchToken(ctx, hash)
		switch {
		case t != nil:
			return t, nil
		case errors.Is(err, errLacking), errors.Is(err, activations.ErrNotFound):
			return nil, activations.ErrNotFound
		}
		return nil, unknown(err)
	})
	if err != nil {
		return nil, err
	}
	return found.(*activations.Token), nil
}

// Refresh implements activations.Source: it asks for a stored token again in the background, if
// that was long ago.
func (r *Replica) Refresh(hash string) { r.refresh(hash) }

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
	_, _, refused := r.Activations.Put(context.WithoutCancel(ctx), token, source)
	if refused = r.settled(hash, refused); refused == nil {
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
	account, err := r.fetch(ctx, activations.ExporterOf(token))
	if account == nil && !errors.Is(err, errLacking) {
		return err
	}
	return nil
}
