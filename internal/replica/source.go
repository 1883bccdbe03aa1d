package replica

import (
	"context"

	"nats-account-server/internal/trust"
)

// Find implements accounts.Source, for accounts by key and for activation tokens by hash.
func (r *Replica) Find(ctx context.Context, key string, take func(token []byte) error) error {
	defer r.begin()()
	path := pathAccounts + key
	if trust.IsActivationHash(key) {
		path = pathActivations + key
	}
	token, err := r.ask(ctx, path)
	if err != nil {
		return err
	}
	if err := take(token); err != nil {
		return err
	}
	r.setFresh(key, cacheFor)
	return nil
}

// Served implements accounts.Primary: it asks for what is stored again in the background, if that
// was long ago.
func (r *Replica) Served(key string) {
	r.refresh(key, func(ctx context.Context) (err error) {
		if trust.IsActivationHash(key) {
			_, err = r.Activations.Refresh(ctx, key, r)
		} else {
			_, err = r.Accounts.Refresh(ctx, key, r)
		}
		return err
	})
}
