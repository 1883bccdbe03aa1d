package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"nats-account-server/internal/logging"
)

var errNotExpired = errors.New("the stored JWT has not expired")

// Expire takes out every account whose JWT has expired, also one that was put into the directory by
// hand, but not the system account. An account that can't be taken out keeps no other one; the
// error names all of them.
func (r *remover) Expire(ctx context.Context) error {
	failed := []error{r.Rescan(ctx)}
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
		_, _, err = r.update(key, false)
	}
	return err
}
