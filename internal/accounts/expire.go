package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"nats-account-server/internal/trust"
)

var errNotExpired = errors.New("the stored JWT has not expired")

// Expire takes out every account whose JWT has expired, also one that a hand has put there, but for the system account. What keeps
// one from being taken out keeps no other; the error says all of that.
func (r *Registry) Expire(ctx context.Context) error {
	failed := []error{r.Rescan(ctx)}
	for _, key := range r.roll.expired(r.now()) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if r.trust.Load().isSystem(key) {
			continue
		}
		if err := r.expire(ctx, key); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", short(key), err))
		}
	}
	return errors.Join(failed...)
}

// expired returns the accounts whose JWT is stored and has expired, sorted.
func (r *roll) expired(now time.Time) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, l := range r.lines {
		if l.servable && l.expired(now) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// expire takes one account out, unless somebody has just pushed another JWT of it.
func (r *Registry) expire(ctx context.Context, key string) error {
	was := &Event{Origin: Origin{Kind: KindExpiry}, Result: Deleted, Account: key}
	err := r.remove(ctx, was, "its JWT has expired", func(head *trust.Head, _ *tombstone) (tombstoneOrder, error) {
		if head == nil || head.Expires == 0 || head.Expires > r.now().Unix() {
			return tombstoneOrder{}, errNotExpired
		}
		was.Issuer = head.Issuer
		return tombstoneOrder{IssuedAt: head.IssuedAt}, nil
	})
	if errors.Is(err, errNotExpired) || errors.Is(err, fs.ErrNotExist) {
		return r.enroll(key)
	}
	return err
}
