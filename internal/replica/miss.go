package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

const (
	// missWithin is how long the primary and others get for an account that somebody waits for.
	missWithin = time.Second
	// mostMisses is how many the primary is asked for at once. More have to wait, within the same second.
	mostMisses = 64
)

// Find returns a stored account at once, and any other one from the primary or from another account server. The error wraps
// those of package accounts; it is ErrUnreadable while nobody can know whether the primary has the account.
func (r *Replica) Find(ctx context.Context, key string) (*accounts.Account, error) {
	a, err := r.Gate.Lookup(ctx, key)
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

// LookupActivation returns a stored activation token at once, and any other one from the primary.
func (r *Replica) LookupActivation(ctx context.Context, hash string) (*accounts.Activation, error) {
	a, err := r.Gate.LookupActivation(ctx, hash)
	switch {
	case err == nil:
		r.refresh(hash)
		return a, nil
	case !accounts.IsActivationHash(hash), !errors.Is(err, accounts.ErrNoActivation) && !errors.Is(err, accounts.ErrDamaged):
		return nil, err
	}
	_, missed := r.together(ctx, hash, func(ctx context.Context) (any, error) { return nil, r.fetchToken(ctx, hash) })
	switch {
	case missed == nil:
		return r.Gate.LookupActivation(ctx, hash)
	case errors.Is(missed, accounts.ErrUnreadable) && errors.Is(err, accounts.ErrNoActivation):
		return nil, missed
	}
	return nil, err
}

// Raw returns what is stored for an account, and what the primary has if nothing is.
func (r *Replica) Raw(ctx context.Context, key string) ([]byte, error) {
	a, err := r.Find(ctx, key)
	switch {
	case err == nil:
		return a.JWT, nil
	case accounts.Absent(err):
		return nil, err
	}
	return r.Gate.Raw(ctx, key)
}

// RawActivation is Raw for an activation token.
func (r *Replica) RawActivation(ctx context.Context, hash string) ([]byte, error) {
	a, err := r.LookupActivation(ctx, hash)
	switch {
	case err == nil:
		return a.JWT, nil
	case errors.Is(err, accounts.ErrUnreadable):
		return nil, err
	}
	return r.Gate.RawActivation(ctx, hash)
}

// together asks once for all who want to know the same at the same time, and for no more than mostMisses things at once.
func (r *Replica) together(ctx context.Context, what string, ask func(ctx context.Context) (any, error)) (any, error) {
	if strings.Contains(accounts.Via(ctx), r.id) {
		r.heard(ctx, errCircle)
		return nil, errCircle
	}
	waiting, cancel := context.WithTimeout(ctx, missWithin+missWithin/5) // whatever the flight may still be waiting for
	defer cancel()
	flight := r.misses.DoChan(what, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missWithin) // others wait too
		defer cancel()
		defer context.AfterFunc(r.life, cancel)()
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

// missed asks the primary and other account servers at the same time. What only others have is not stored.
func (r *Replica) missed(ctx context.Context, key string) (*accounts.Account, error) {
	if a, err := r.Gate.Lookup(ctx, key); err == nil {
		return a, nil // it has come in the meantime
	}
	others := make(chan *accounts.Account, 1)
	go func() {
		a, _ := r.Gate.Find(ctx, key) // nil with an error, also when ctx ends
		others <- a
	}()
	a, err := r.fetch(ctx, key)
	if err == nil {
		return a, nil
	}
	switch a = <-others; {
	case a != nil:
		return a, nil
	case errors.Is(err, errLacking):
		return nil, accounts.ErrNotFound
	}
	return nil, fmt.Errorf("%w: the primary does not answer as it should: %w", accounts.ErrUnreadable, err)
}

// fetch asks the primary for an account, stores what can be stored, and returns what is to be served: also what has expired, or
// what there is no room for.
func (r *Replica) fetch(ctx context.Context, key string) (*accounts.Account, error) {
	token, err := r.ask(ctx, pathAccounts+key)
	if err != nil {
		return nil, err
	}
	_, refused := r.Gate.Merge(context.WithoutCancel(ctx), key, token, source)
	if a, err := r.Gate.Lookup(ctx, key); err == nil {
		r.isFresh(key)
		return a, nil
	}
	a, err := r.Gate.Foreign(key, token)
	if err == nil {
		return a, nil
	}
	if deleted, is := errors.AsType[*accounts.DeletedError](err); is {
		return nil, fmt.Errorf("%w: %w", errLacking, deleted)
	}
	return nil, errors.Join(refused, err)
}

// fetchToken asks the primary for an activation token and lets it in, with the account that has signed it.
func (r *Replica) fetchToken(ctx context.Context, hash string) error {
	token, err := r.ask(ctx, pathActivations+hash)
	switch {
	case errors.Is(err, errLacking):
		return err
	case err != nil:
		return fmt.Errorf("%w: the primary does not answer as it should: %w", accounts.ErrUnreadable, err)
	}
	if err := accounts.CheckActivation(hash, token); err != nil {
		return err
	}
	if _, err := r.Gate.Lookup(ctx, accounts.ExporterOf(token)); err != nil {
		if _, err := r.fetch(ctx, accounts.ExporterOf(token)); err != nil {
			return err
		}
	}
	r.isFresh(hash)
	_, _, err = r.Gate.Activate(context.WithoutCancel(ctx), token, source)
	return err
}
