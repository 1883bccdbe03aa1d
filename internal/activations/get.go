package activations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// Get returns the token of a hash: the stored one at once, and otherwise the primary's, within a
// second. It may have expired. The error is or wraps ErrNotFound, or wraps accounts.ErrUnreadable
// or accounts.ErrDamaged. hash is any text of a path.
func (r *Registry) Get(ctx context.Context, hash string) (*Token, error) {
	t, err := r.GetLocal(ctx, hash)
	// One primary for the whole request, also if a reload replaces it meanwhile.
	primary := *r.primary.Load()
	switch {
	case primary == nil:
	// What is stored is served at once. The primary learns only that it was served.
	case err == nil:
		primary.Served(hash)
	case !trust.IsActivationHash(hash):
	case errors.Is(err, ErrNotFound):
		return r.miss(ctx, hash, primary)
	// The primary may have a good one. Otherwise the damage is reported.
	case errors.Is(err, accounts.ErrDamaged):
		if t, missed := r.miss(ctx, hash, primary); missed == nil {
			return t, nil
		}
	}
	return t, err
}

// miss asks the primary for a token that a client waits for.
func (r *Registry) miss(
	ctx context.Context, hash string, primary accounts.Primary,
) (*Token, error) {
	return r.misses.Ask(ctx, hash, true, func(ctx context.Context) (*Token, error) {
		t, err := r.Refresh(ctx, hash, primary)
		switch {
		case t != nil:
			return t, nil
		// The primary says so, or what it sends has an issuer that is stored nowhere.
		case errors.Is(err, accounts.ErrNotFound), errors.Is(err, ErrNotFound):
			return nil, ErrNotFound
		// The error says already that this can't be known.
		case errors.Is(err, accounts.ErrCircle):
			return nil, err
		}
		return nil, fmt.Errorf("%w: the primary does not answer as it should: %w",
			accounts.ErrUnreadable, err)
	})
}

// Refresh asks the primary for a token, whether it is stored or not, and stores the answer. It
// returns what is to be served then, which may be a token that can't be stored. If the answer can't
// be taken the error says why, and the Token is the one that was stored before, or nil. The error
// wraps accounts.ErrNotFound if the primary has none.
func (r *Registry) Refresh(
	ctx context.Context, hash string, primary accounts.Source,
) (*Token, error) {
	var t *Token
	var bad error
	return accounts.AskPrimary(ctx, hash, primary, accounts.AnswerFuncs[*Token]{
		Put: func(token []byte) (*Token, error) {
			if t, bad = decodeAs(hash, bytes.TrimSpace(token)); bad != nil {
				return nil, bad
			}
			// Without its account, a good token would be refused as one of an unknown issuer.
			if err := r.refreshExporter(ctx, t, primary); err != nil {
				return nil, fmt.Errorf("%w: %w", accounts.ErrUnreadable, err)
			}
			stored, _, err := r.put(context.WithoutCancel(ctx), t,
				checkSize(t.JWT, accounts.FromPrimary), accounts.FromPrimary)
			if errors.Is(err, ErrTooLarge) { // it will always be: it is only served
				return r.served(ctx, t)
			}
			return stored, err
		},
		Stored: func() (*Token, error) { return r.GetLocal(ctx, hash) },
		Verify: func() (*Token, error) {
			if bad != nil {
				return nil, fmt.Errorf("%w: %w", accounts.ErrDamaged, bad)
			}
			return r.served(ctx, t)
		},
	})
}

// refreshExporter asks the primary for the account that has signed a token, unless that account is
// stored. The error says that the primary can't tell.
func (r *Registry) refreshExporter(ctx context.Context, t *Token, primary accounts.Source) error {
	if !errors.Is(r.checkIssuer(ctx, t), ErrIssuer) {
		return nil
	}
	// Refresh stores the account too, under the rules for any account of the primary.
	account, err := r.Accounts.Refresh(ctx, t.exporter(), primary)
	if account == nil && !errors.Is(err, accounts.ErrNotFound) {
		return err
	}
	return nil
}

// GetLocal is Get without the primary. A stored token is checked: it decodes, the hash is its own,
// and a stored account has signed it.
func (r *Registry) GetLocal(ctx context.Context, hash string) (*Token, error) {
	if !trust.IsActivationHash(hash) { // the Store may have an account of that key
		return nil, ErrNotFound
	}
	// A verdict says that the token is intact. Whether its issuer counts is checked each time.
	v, err := r.verdicts.Load(hash, 0,
		func(token []byte) (*Token, error) { return decodeAs(hash, token) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	case v.Err != nil:
		return nil, v.Err
	}
	return r.served(ctx, v.Found)
}

// GetRaw returns the stored bytes of a hash unchecked, for people to look at. With a primary it
// returns what Get does, if that is a token. What has a private key in it is damaged.
func (r *Registry) GetRaw(ctx context.Context, hash string) ([]byte, error) {
	if *r.primary.Load() != nil {
		t, err := r.Get(ctx, hash)
		switch {
		case err == nil:
			return t.JWT, nil
		case errors.Is(err, accounts.ErrUnreadable):
			return nil, err
		}
	}
	if !trust.IsActivationHash(hash) {
		return nil, ErrNotFound
	}
	// The zero stamp equals that of no version, so the bytes are returned.
	stored, _, err := r.Store.Load(hash, jwtstore.Stamp{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("%w: %w", accounts.ErrUnreadable, err)
	}
	if _, secret := trust.Bare(stored); errors.Is(secret, trust.ErrPrivateKey) {
		return nil, fmt.Errorf("%w: %w", accounts.ErrDamaged, secret)
	}
	return stored, nil
}

// served returns an intact token if a stored account has signed it now. Accounts change, so that is
// asked for each request.
func (r *Registry) served(ctx context.Context, t *Token) (*Token, error) {
	// A token without its account is not served, but it stays: the account may come back.
	switch err := r.checkIssuer(ctx, t); {
	case errors.Is(err, ErrIssuer):
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	case err != nil:
		return nil, err
	}
	return t, nil
}
