package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

var errNotExpired = errors.New("the stored JWT has not expired")

// ExpireEvery takes expired accounts out at an interval until ctx ends, the first time at once. The
// same error is logged once. interval must be more than 0.
func (r *remover) ExpireEvery(ctx context.Context, interval time.Duration) {
	logged := ""
	for ok := true; ok; ok = pause.For(ctx, interval) {
		if err := r.Expire(ctx); err != nil && ctx.Err() == nil && err.Error() != logged {
			logged = err.Error()
			r.Log.Warn("expired JWTs can't be deleted: " + logged)
		}
	}
}

// Expire takes out every account whose JWT has expired, also one that was put into the directory by
// hand, but not the system account. An account that can't be taken out keeps no other one; the
// error names all of them.
func (r *remover) Expire(ctx context.Context) error {
	failed := []error{r.RescanChanged(ctx)}
	for key, v := range r.index.All() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !v.Servable || !v.Expired(r.Now()) || r.trust.Load().isSystem(key) {
			continue
		}
		if err := r.expireOne(ctx, key); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", logging.ShortKey(key), err))
		}
	}
	return errors.Join(failed...)
}

// expireOne takes one account out, unless another JWT of it has just been put.
func (r *remover) expireOne(ctx context.Context, key string) error {
	event := &Event{Origin: Origin{Kind: KindExpiry}, Result: Deleted, Account: key}
	decide := func(now removable) (deletionOrder, error) {
		if now.head.Expires == 0 || now.head.Expires > r.Now().Unix() {
			return deletionOrder{}, errNotExpired
		}
		event.Issuer = now.head.Issuer
		return deletionOrder{IssuedAt: now.head.IssuedAt}, nil
	}
	err := r.remove(ctx, event, "its JWT has expired", decide)
	if errors.Is(err, errNotExpired) || errors.Is(err, fs.ErrNotExist) {
		_, err = r.update(key, false)
	}
	return err
}
