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
// or accounts.ErrDamaged.
func (r *Registry) Get(ctx context.Context, hash string) (*Token, error) {
	t, err := r.GetLocal(ctx, hash)
	primary := r.primary.Load()
	switch {
	case primary == nil:
		return t, err
	case err == nil:
		(*primary).Served(hash)
		return t, nil
	case !trust.IsActivationHash(hash):
		return nil, err
	}
	damaged := errors.Is(err, accounts.ErrDamaged)
	if !damaged && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	found, missed := r.miss(ctx, hash, *primary)
	if missed != nil && damaged {
		return nil, err
	}
	return found, missed
}

// miss asks the primary for a token that a client waits for.
func (r *Registry) miss(ctx context.Context, hash string, primary accounts.Primary) (*Token, error) {
	return r.misses.Ask(ctx, hash, true, func(ctx context.Context) (*Token, error) {
		t, err := r.Refresh(ctx, hash, primary)
		switch {
		case t != nil:
			return t, nil
		case errors.Is(err, accounts.ErrNotFound), errors.Is(err, ErrNotFound):
			return nil, ErrNotFound
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
) (t *Token, err error) {
	answered := false
	lacking := primary.Find(ctx, hash, func(token []byte) (refused error) {
		answered = true
		t, refused, err = r.takeAnswer(ctx, hash, token, primary)
		return refused
	})
	if !answered {
		return nil, lacking
	}
	return t, err
}

// takeAnswer stores an answer of the primary. If that can't be done, the answer is served as long
// as it is verified. refused is why it was not stored, nil also if it never will be. err is why t
// is not what the primary has.
func (r *Registry) takeAnswer(
	ctx context.Context, hash string, token []byte, primary accounts.Source,
) (t *Token, refused, err error) {
	v := newVerdict(hash, bytes.TrimSpace(token))
	if v.err != nil {
		return nil, v.err, v.err
	}
	if err := r.refreshExporter(ctx, v.decoded, primary); err != nil {
		return nil, err, err
	}
	origin := accounts.Origin{Kind: accounts.KindPrimary, Peer: true}
	t, _, refused = r.Put(context.WithoutCancel(ctx), token, origin)
	if refused == nil {
		return t, nil, nil
	}
	if accounts.IsFinal(refused) || errors.Is(refused, ErrTooLarge) {
		refused = nil
		if t, err := r.GetLocal(ctx, hash); err == nil {
			return t, nil, nil
		}
	}
	if t, err = r.served(ctx, v); err != nil {
		t, _ = r.GetLocal(ctx, hash)
	}
	return t, refused, errors.Join(refused, err)
}

// refreshExporter asks the primary for the account that has signed a token, unless that account is
// stored. The error says that the primary can't tell.
func (r *Registry) refreshExporter(
	ctx context.Context, d *decoded, primary accounts.Source,
) error {
	if !errors.Is(r.checkIssuer(ctx, d), ErrIssuer) {
		return nil
	}
	account, err := r.Accounts.Refresh(ctx, d.exporter(), primary)
	if account == nil && !errors.Is(err, accounts.ErrNotFound) {
		return err
	}
	return nil
}

// GetLocal is Get without the primary. A stored token is checked: it decodes, the hash is its own,
// and a stored account has signed it.
func (r *Registry) GetLocal(ctx context.Context, hash string) (*Token, error) {
	stored, err := r.load(hash)
	if err != nil {
		return nil, err
	}
	return r.served(ctx, r.judge(hash, stored))
}

// GetRaw returns the stored bytes of a hash unchecked, for people to look at. With a primary it
// returns what Get does, if that is a token.
func (r *Registry) GetRaw(ctx context.Context, hash string) ([]byte, error) {
	if r.primary.Load() != nil {
		t, err := r.Get(ctx, hash)
		switch {
		case err == nil:
			return t.JWT, nil
		case errors.Is(err, accounts.ErrUnreadable):
			return nil, err
		}
	}
	return r.load(hash)
}

// load returns the stored bytes of a hash.
func (r *Registry) load(hash string) ([]byte, error) {
	if !trust.IsActivationHash(hash) { // the Store may have an account of that key
		return nil, ErrNotFound
	}
	stored, _, err := r.Store.Load(hash, jwtstore.Stamp{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("%w: %w", accounts.ErrUnreadable, err)
	}
	return stored, nil
}
