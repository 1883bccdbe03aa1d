package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"nats-account-server/internal/operator"
)

var errNotExpired = errors.New("the stored JWT has not expired")

// Expire takes out every account whose JWT has expired, but for the system account. What keeps one from being taken out
// keeps no other; the error says all of that.
func (r *Registry) Expire(ctx context.Context) error {
	var failed []error
	if !r.Surveyed() {
		failed = append(failed, r.Survey(ctx))
	}
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
	was := Verdict{Source: Source{Door: "expiry"}, Result: Deleted, Account: key}
	seq, err := r.committer.Delete(ctx, key, was.Door, func(stored, _ []byte) ([]byte, error) {
		head, err := operator.Peek(bytes.TrimSpace(stored))
		if err != nil || head.Expires == 0 || head.Expires > r.now().Unix() {
			return nil, errNotExpired
		}
		was.Issuer, was.Old = head.Issuer, describe(&head, stored)
		return tombstoneOrder{IssuedAt: head.IssuedAt}.above(stored), nil
	})
	switch {
	case errors.Is(err, errNotExpired), errors.Is(err, fs.ErrNotExist):
		return r.enroll(key)
	case err != nil:
		return err
	}
	r.tell(was)
	r.takenOut(key, seq)
	r.log.Info(fmt.Sprintf("deleted account - %s - its JWT has expired", short(key)))
	return nil
}

// takenOut forgets an account that is not stored any more.
func (r *Registry) takenOut(key string, seq uint64) {
	r.cache.forget(key)
	_ = r.enroll(key) // it has just been committed: it is in memory
	r.announcer.Announce(key, seq, r.now())
}
