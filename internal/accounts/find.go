package accounts

import (
	"bytes"
	"context"
	"errors"

	"nats-account-server/internal/trust"
)

// Finder asks other servers for the JWT of an account that is not stored here.
type Finder interface {
	// Find returns the first answer that judge accepts, nil if there is none. It takes a second at most.
	Find(ctx context.Context, key string, judge func(token []byte) error) []byte
}

// Find is Lookup, and asks other servers when nothing is stored. What they answer is verified and not stored: whoever
// has the account may lack what we know of it a moment later.
func (r *Registry) Get(ctx context.Context, key string) (*Account, error) {
	a, err := r.GetLocal(ctx, key)
	now := r.trust.Load()
	if !errors.Is(err, ErrNotFound) || r.finder == nil || now.Operator == nil || !trust.IsAccountKey(key) {
		return a, err
	}
	token := r.finder.Find(ctx, key, func(token []byte) error {
		_, err := r.foreign(now, key, token)
		return err
	})
	if token == nil {
		return nil, ErrNotFound
	}
	return r.foreign(now, key, token)
}

// Foreign judges what another server has for an account, without storing it. It may have expired.
func (r *Registry) Verify(key string, token []byte) (*Account, error) {
	return r.foreign(r.trust.Load(), key, token)
}

// foreign judges what another server has for an account.
func (r *Registry) foreign(trust *Trust, key string, token []byte) (*Account, error) {
	token = bytes.TrimSpace(token)
	head, err := trust.Operator.Check(key, token)
	if err != nil {
		return nil, err
	}
	text, err := r.store.Tombstone(key)
	if err != nil {
		return nil, err
	}
	if err := readTombstone(text).bars(head, token, Origin{Peer: true}); err != nil {
		return nil, err
	}
	return NewAccount(token, head), nil
}
