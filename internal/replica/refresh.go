package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
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
	// maxFresh bounds what is remembered as fresh.
	maxFresh = 1 << 17
)

// setFresh keeps an account or a token from being asked for in the background for a while.
func (r *Replica) setFresh(name string, period time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fresh) >= maxFresh {
		clear(r.fresh)
	}
	r.fresh[name] = r.Now().Add(period)
}

// refresh asks for a stored account or token in the background, unless it is fresh.
func (r *Replica) refresh(name string, ask func(ctx context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking[name] || len(r.asking) >= maxRefreshes || r.Now().Before(r.fresh[name]) ||
		r.life.Err() != nil {
		return
	}
	r.asking[name] = true
	r.background.Go(func() {
		ctx, cancel := context.WithTimeout(r.life, r.Timeout)
		defer cancel()
		switch err := ask(ctx); {
		case errors.Is(err, accounts.ErrNotFound):
			r.setFresh(name, cacheFor)
		case err != nil:
			r.Log.Debug(fmt.Sprintf("%s - primary did not return with status OK - %s",
				logging.ShortKey(name), err))
			r.setFresh(name, retryAfter)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.asking, name)
	})
}
