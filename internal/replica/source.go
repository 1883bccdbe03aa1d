package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

const (
	// cacheFor is how long what the primary has said is not asked for again. Updates come over
	// NATS.
	cacheFor = time.Hour
	// retryAfter is how long it is not asked for again after a failure.
	retryAfter = 10 * time.Second
	// maxRefreshes bounds what is asked for in the background at a time. The rest is asked for when
	// it is served next.
	maxRefreshes = 32
	// maxFresh bounds the keys and hashes that are remembered as fresh.
	maxFresh = 1 << 17
)

// Find implements accounts.Source, for accounts by key and for activation tokens by hash.
func (r *Replica) Find(ctx context.Context, key string, take func(token []byte) error) error {
	token, err := r.ask(ctx, key)
	if err != nil {
		return err
	}
	r.setFresh(key, cacheFor) // what take stores may be served before take returns
	if err := take(token); err != nil {
		r.setFresh(key, 0)
		return err
	}
	return nil
}

// Served implements accounts.Primary. It asks for what is stored again in the background, if that
// was long ago.
func (r *Replica) Served(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A key that is not in the map has the zero time, which is long ago.
	if r.life.Err() != nil || r.Now().Before(r.fresh[key]) {
		return
	}
	if r.refreshes.TryGo(func() error { r.refresh(key); return nil }) {
		r.setFreshLocked(key, cacheFor) // it is not asked for twice at a time
	}
}

// refresh asks for an account or a token that is stored.
func (r *Replica) refresh(key string) {
	// No client waits for this, so it has the whole time of a request.
	ctx, cancel := context.WithTimeout(r.life, r.Timeout)
	defer cancel()
	var err error
	if trust.IsActivationHash(key) {
		_, err = r.Activations.Refresh(ctx, key, r)
	} else {
		_, err = r.Accounts.Refresh(ctx, key, r)
	}
	switch {
	// What is stored is still served. The primary may only have lost it.
	case errors.Is(err, accounts.ErrNotFound):
		r.setFresh(key, cacheFor)
	case err != nil:
		r.Log.Debug(fmt.Sprintf("%s - primary did not return with status OK - %s",
			logging.ShortKey(key), err))
		r.setFresh(key, retryAfter)
	}
}

// setFresh keeps an account or a token from being asked for in the background for a while.
func (r *Replica) setFresh(key string, period time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setFreshLocked(key, period)
}

// setFreshLocked is setFresh. r.mu must be held.
func (r *Replica) setFreshLocked(key string, period time.Duration) {
	// All are forgotten then: each may be asked for once more, which does no harm.
	if len(r.fresh) >= maxFresh {
		clear(r.fresh)
	}
	r.fresh[key] = r.Now().Add(period)
}
