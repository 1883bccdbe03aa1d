package replica

import "context"

// Find implements accounts.Source.
func (r *Replica) Find(ctx context.Context, key string, take func(token []byte) error) error {
	defer r.begin()()
	token, err := r.ask(ctx, pathAccounts+key)
	if err != nil {
		return err
	}
	if err := take(token); err != nil {
		return err
	}
	r.setFresh(key, cacheFor)
	return nil
}

// Served implements accounts.Primary: it asks for a stored account again in the background, if that
// was long ago.
func (r *Replica) Served(key string) {
	r.refresh(key, func(ctx context.Context) error {
		_, err := r.Accounts.Refresh(ctx, key, r)
		return err
	})
}
