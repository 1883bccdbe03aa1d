package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/trust"
)

const (
	// cacheFor is how long what the primary has said is not asked for again; updates come over NATS.
	cacheFor = time.Hour
	// retryAfter is how long it is not asked for again when that has failed.
	retryAfter = 10 * time.Second
	// refreshedAtOnce is how many are asked for in the background. The next who wants one of the others asks for it.
	refreshedAtOnce = 32
	// mostFresh bounds what is known to be fresh.
	mostFresh = 1 << 17
)

func (r *Replica) isFresh(what string) { r.settle(what, cacheFor) }

func (r *Replica) settle(what string, until time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fresh) >= mostFresh {
		clear(r.fresh)
	}
	r.fresh[what] = r.Now().Add(until)
}

// refresh asks for a stored account or activation token in the background, if that was long ago.
func (r *Replica) refresh(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking[what] || len(r.asking) >= refreshedAtOnce || r.Now().Before(r.fresh[what]) || r.life.Err() != nil {
		return
	}
	r.asking[what] = true
	r.background.Go(func() {
		ctx, cancel := context.WithTimeout(r.life, r.Timeout)
		defer cancel()
		switch err := r.renew(ctx, what); {
		case errors.Is(err, errLacking):
			r.isFresh(what)
		case err != nil:
			r.Log.Debug(fmt.Sprintf("%.12s - primary did not return with status OK - %s", what, err))
			r.settle(what, retryAfter)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.asking, what)
	})
}

func (r *Replica) renew(ctx context.Context, what string) error {
	if trust.IsActivationHash(what) {
		_, err := r.fetchToken(ctx, what)
		return err
	}
	_, err := r.fetch(ctx, what)
	return err
}
