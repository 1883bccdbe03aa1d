package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"nats-account-server/internal/trust"
)

// GetLocal returns the JWT of an account that this server has, verified: it decodes, it is the
// account's, and the operator signed it. It may have expired. The error is ErrNotFound, or wraps
// ErrUnreadable or ErrDamaged.
func (r *Registry) GetLocal(ctx context.Context, key string) (*Account, error) {
	stored, err := r.catalog.load(key)
	// A newer version may have been committed since the other one could not be saved. The notifier
	// must not announce the older one in its place.
	if a := r.getUnsaved(ctx, key); a != nil && (err != nil || a.IssuedAt > stored.IssuedAt) {
		return a, nil
	}
	return stored, err
}

// getUnsaved returns what the store has no room for, nil if it has room.
func (r *Registry) getUnsaved(ctx context.Context, key string) *Account {
	if r.unsaved == nil {
		return nil
	}
	// A variable that the closure captures is on the heap: none is made for the usual request.
	var found *Account
	_ = r.unsaved.Find(ctx, key, func(token []byte) (err error) { // what is stored is served then
		found, err = r.Verify(key, token)
		return err
	})
	return found
}

// Get returns the JWT of an account: what GetLocal returns at once, and otherwise what other
// servers have, within a second. The primary's JWT is stored. What only a peer has is not: the peer
// may lack what this server learns of the account a moment later. The errors are those of GetLocal;
// while the primary does not answer it is ErrUnreadable.
func (r *Registry) Get(ctx context.Context, key string) (*Account, error) {
	a, err := r.GetLocal(ctx, key)
	primary := r.primary.Load()
	switch {
	case err == nil && primary != nil:
		(*primary).Served(key)
		return a, nil
	case errors.Is(err, ErrNotFound) && (primary != nil || r.hasPeersFor(key)):
		return r.miss(ctx, key, primary, err)
	case errors.Is(err, ErrDamaged) && primary != nil:
		if a, missed := r.miss(ctx, key, primary, err); missed == nil {
			return a, nil
		}
	}
	return a, err
}

// hasPeersFor reports whether peers can be asked for an account. Without an operator their answers
// could not be verified.
func (r *Registry) hasPeersFor(key string) bool {
	return r.peers != nil && r.HasOperator() && trust.IsAccountKey(key)
}

// miss asks other servers. local is the error of GetLocal.
func (r *Registry) miss(ctx context.Context, key string, primary *Primary, local error) (*Account, error) {
	if primary != nil {
		return r.misses.Ask(ctx, key, true, func(ctx context.Context) (*Account, error) {
			return r.askAll(ctx, key, *primary, errors.Is(local, ErrNotFound))
		})
	}
	a, err := r.misses.Ask(ctx, key, false, func(ctx context.Context) (*Account, error) {
		return r.askPeers(ctx, key)
	})
	if err != nil {
		return nil, ErrNotFound // also if there is no answer in time: peers need not know every account
	}
	return a, nil
}

// askAll asks the primary, and peers at the same time. The primary's answer counts more.
func (r *Registry) askAll(ctx context.Context, key string, primary Primary, peers bool) (*Account, error) {
	if v := r.verdicts.get(key); v != nil && v.err == nil && v.mark == r.trust.Load().mark {
		return v.account, nil // it has been stored since GetLocal
	}
	others := make(chan *Account, 1)
	go func() {
		var a *Account
		if peers {
			a, _ = r.askPeers(ctx, key)
		}
		others <- a
	}()
	a, err := r.Refresh(ctx, key, primary)
	switch {
	case a != nil:
		return a, nil
	case errors.Is(err, ErrCircle):
		return nil, err
	}
	switch a = <-others; {
	case a != nil:
		return a, nil
	case errors.Is(err, ErrNotFound):
		return nil, ErrNotFound
	}
	return nil, fmt.Errorf("%w: the primary does not answer as it should: %w", ErrUnreadable, err)
}

// askPeers returns the first answer that is the account's JWT. The error is ErrNotFound.
func (r *Registry) askPeers(ctx context.Context, key string) (a *Account, err error) {
	if !r.hasPeersFor(key) {
		return nil, ErrNotFound
	}
	err = r.peers.Find(ctx, key, func(token []byte) (err error) {
		a, err = r.Verify(key, token)
		return err
	})
	if err != nil || a == nil {
		return nil, ErrNotFound
	}
	return a, nil
}

// Refresh asks the primary for an account, whether it is stored or not, and stores the answer. It
// returns what is to be served then, which may be a JWT that can't be stored. If the primary's
// answer can't be taken the error says why, and the Account is the one that was stored before, or
// nil. The error wraps ErrNotFound if the primary has none.
func (r *Registry) Refresh(ctx context.Context, key string, primary Source) (a *Account, err error) {
	answered := false
	lacking := primary.Find(ctx, key, func(token []byte) (refused error) {
		answered = true
		o := newOffer(key, bytes.TrimSpace(token), Origin{Kind: KindPrimary, Peer: true}, r.trust.Load())
		a, refused, err = r.takeAnswer(ctx, o)
		return refused
	})
	if !answered {
		return nil, lacking
	}
	return a, err
}

// takeAnswer stores an answer of the primary. If that can't be done, the answer is served as long
// as it is verified. refused is why it was not stored, nil also if it never will be. err is why a
// is not what the primary has.
func (r *Registry) takeAnswer(ctx context.Context, o *offer) (a *Account, refused, err error) {
	result, refused := r.putOffer(context.WithoutCancel(ctx), o)
	if result.Account != nil {
		return result.Account, nil, nil
	}
	if IsFinal(refused) {
		refused = nil
		if a, err := r.GetLocal(ctx, o.key); err == nil {
			return a, nil, nil
		}
	}
	a, err = r.verifyOffer(o)
	switch {
	case isA[*DeletedError](err):
		return nil, refused, fmt.Errorf("%w: %w", ErrNotFound, err)
	case err != nil:
		a, _ = r.GetLocal(ctx, o.key)
	}
	return a, refused, errors.Join(refused, err)
}

// GetRaw is Get for people. A stored JWT that is damaged is returned as it is, unless the primary
// has a good one.
func (r *Registry) GetRaw(ctx context.Context, key string) ([]byte, error) {
	a, err := r.Get(ctx, key)
	switch {
	case err == nil:
		return a.JWT, nil
	case !errors.Is(err, ErrDamaged):
		return nil, err
	}
	return r.catalog.loadRaw(key)
}

// Verify judges a JWT that another server has for an account, and stores nothing. It may have
// expired.
func (r *Registry) Verify(key string, token []byte) (*Account, error) {
	return r.verifyOffer(newOffer(key, bytes.TrimSpace(token), Origin{Peer: true}, r.trust.Load()))
}

// verifyOffer is Verify for an offer, whose signature may have been verified before.
func (r *Registry) verifyOffer(o *offer) (*Account, error) {
	if o.claims == nil {
		head, err := o.trust.Operator.Check(o.key, o.token)
		if err != nil {
			return nil, err
		}
		o.head = head
	}
	text, err := r.store.Tombstone(o.key)
	if err != nil {
		return nil, err
	}
	if err := readTombstone(text).bars(o); err != nil {
		return nil, err
	}
	return newAccount(o.token, o.head, o.hash), nil
}
