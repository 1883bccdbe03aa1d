package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
)

const (
	// missWithin is how long the primary and others get for an account that somebody waits for.
	missWithin = time.Second
	// mostMisses is how many the primary is asked for at once. More have to wait, within the same second.
	mostMisses = 64
)

// Find returns a stored account at once, and any other one from the primary or from another account server. The error wraps
// those of package accounts; it is ErrUnreadable while nobody can know whether the primary has the account.
func (r *Replica) Get(ctx context.Context, key string) (*accounts.Account, error) {
	a, err := r.Gate.GetLocal(ctx, key)
	switch {
	case err == nil:
		r.refresh(key)
		return a, nil
	case !errors.Is(err, accounts.ErrNotFound) && !errors.Is(err, accounts.ErrDamaged):
		return nil, err
	}
	got, missed := r.together(ctx, key, func(ctx context.Context) (any, error) { return r.missed(ctx, key) })
	switch {
	case missed == nil:
		return got.(*accounts.Account), nil
	case errors.Is(err, accounts.ErrDamaged):
		return nil, err
	}
	return nil, missed
}

// Raw returns what is stored for an account, and what the primary has if nothing is.
func (r *Replica) GetRaw(ctx context.Context, key string) ([]byte, error) {
	a, err := r.Get(ctx, key)
	switch {
	case err == nil:
		return a.JWT, nil
	case accounts.Absent(err):
		return nil, err
	}
	return r.Gate.GetRaw(ctx, key)
}

// together asks once for all who want to know the same at the same time, and for no more than mostMisses things at once.
func (r *Replica) together(ctx context.Context, what string, ask func(ctx context.Context) (any, error)) (any, error) {
	through, err := r.chain(ctx)
	if err != nil {
		r.heard(ctx, err)
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, missWithin+missWithin/5) // whatever the flight may still be waiting for
	defer cancel()
	flight := r.misses.DoChan(what+" "+through, func() (any, error) {
		defer r.begin()()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missWithin) // others wait too
		defer cancel()
		select {
		case r.missing <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %d accounts are being asked for", accounts.ErrUnreadable, mostMisses)
		}
		defer func() { <-r.missing }()
		return ask(ctx)
	})
	select {
	case result := <-flight:
		return result.Val, result.Err
	case <-waiting.Done():
		return nil, fmt.Errorf("%w: %w", accounts.ErrUnreadable, waiting.Err())
	}
}

// begin has stop wait until end is called, unless it has been called before.
func (r *Replica) begin() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return func() {}
	}
	r.background.Add(1)
	return r.background.Done
}

// missed asks the primary and other account servers at the same time. What only others have is not stored.
func (r *Replica) missed(ctx context.Context, key string) (*accounts.Account, error) {
	if a, err := r.Gate.GetLocal(ctx, key); err == nil {
		return a, nil // it has come in the meantime
	}
	others := make(chan *accounts.Account, 1)
	go func() {
		a, _ := r.Gate.Get(ctx, key) // nil with an error, also when ctx ends
		others <- a
	}()
	a, err := r.fetch(ctx, key)
	if a != nil {
		return a, nil
	}
	switch a = <-others; {
	case a != nil:
		return a, nil
	case errors.Is(err, errLacking):
		return nil, accounts.ErrNotFound
	}
	return nil, unknown(err)
}

// unknown says that nobody can know.
func unknown(err error) error {
	return fmt.Errorf("%w: the primary does not answer as it should: %w", accounts.ErrUnreadable, err)
}

// fetch asks the primary for an account, stores what can be stored, and returns what is to be served: also what has expired, or
// what there is no room for. With an error it is what was there before: that of the primary could not be taken.
func (r *Replica) fetch(ctx context.Context, key string) (*accounts.Account, error) {
	token, err := r.ask(ctx, pathAccounts+key)
	if err != nil {
		return nil, err
	}
	_, refused := r.Gate.Put(context.WithoutCancel(ctx), key, token, source)
	if refused = r.settled(key, refused); refused == nil {
		if a, err := r.Gate.GetLocal(ctx, key); err == nil {
			return a, nil
		}
	}
	a, err := r.Gate.Verify(key, token)
	if deleted, is := errors.AsType[*accounts.DeletedError](err); is {
		return nil, fmt.Errorf("%w: %w", errLacking, deleted)
	}
	if err != nil {
		a, _ = r.Gate.GetLocal(ctx, key)
		refused = errors.Join(refused, err)
	}
	return a, refused
}

// settled notes that what the primary has is known for a while, unless it could not be taken for a reason that may pass: that is
// returned.
func (r *Replica) settled(what string, refused error) error {
	_, older := errors.AsType[*accounts.OlderError](refused)
	_, deleted := errors.AsType[*accounts.DeletedError](refused)
	_, blocked := errors.AsType[*accounts.BlockedError](refused)
	switch {
	case refused == nil, older, deleted, blocked, errors.Is(refused, accounts.ErrLesser), errors.Is(refused, activations.ErrTooLarge):
		r.isFresh(what)
		return nil
	}
	return refused
}
