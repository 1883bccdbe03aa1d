package activations

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// errSame ends a commit that has nothing to do: the same claims are stored already.
var errSame = errors.New("the same activation JWT is stored")

// Put stores a token if a stored account has signed it, itself or with a signing key. It is the
// only way in. changed is false if the same token is stored already. With ErrAudit the
// token is stored. With another error nothing has changed.
func (r *Registry) Put(
	ctx context.Context, token []byte, from accounts.Origin,
) (t *Token, changed bool, err error) {
	event := accounts.Event{Origin: from, Result: accounts.Accepted}
	token, err = trust.Bare(token)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrBadJWT, err)
	} else {
		t, err = r.put(ctx, token, from)
	}
	switch {
	case errors.Is(err, errSame): // no failure for the client
		event.Result, err = accounts.Unchanged, nil
	case err != nil:
		event.Result, event.Reason = accounts.Refused, accounts.Reason(err)
	}
	// A token that can't be decoded names nothing that is certain.
	if t != nil {
		event.Account, event.Issuer, event.New = t.Key, t.Issuer, t.AuditVersion()
	}
	var audited error
	if r.Observer != nil {
		audited = r.Observer.Observe(event)
	}
	if err != nil {
		return nil, false, err
	}
	if audited != nil {
		return nil, false, fmt.Errorf("%w: %w", accounts.ErrAudit, audited)
	}
	return t, event.Result == accounts.Accepted, nil
}

// put decodes, checks and commits a token. The error is errSame if there is nothing to do. With an
// error t is what was refused, nil if it could not be decoded.
func (r *Registry) put(
	ctx context.Context, token []byte, from accounts.Origin,
) (t *Token, err error) {
	// The server that has written a revision of the bucket has decided about it.
	isDecided := from.ByRevision()
	// The size comes first, because decoding takes time and memory.
	if len(token) > maxTokenBytes && !from.File && !isDecided {
		return nil, ErrTooLarge
	}
	if t, err = decode(token); err != nil {
		return nil, err
	}
	// The token is decoded by now, so that the audit can name it.
	if r.ReadOnly && !from.File {
		return t, accounts.ErrReadOnly
	}
	if !isDecided {
		if err := r.check(ctx, t, from); err != nil {
			return t, err
		}
	}
	// The Store calls compare under the hash's commit lock. refused tells its error from the
	// Store's.
	var refused error
	_, err = r.Store.Put(accounts.WithUser(ctx, from.User), t.Key, from.Kind, token,
		func(now jwtstore.Stored) (v jwtstore.Version, err error) {
			v.Floor, refused = r.compare(t, now, from)
			return v, refused
		})
	switch {
	case refused != nil:
		return t, refused
	case errors.Is(err, accounts.ErrSuperseded):
		return t, errSame
	case err != nil:
		return t, fmt.Errorf("%w: %w", ErrSave, err)
	}
	// The line is the original's. The subject is cut, since it may be long.
	r.Log.Info(fmt.Sprintf("updated activation JWT - %s-%s - %.130q", logging.ShortKey(t.Issuer),
		logging.ShortKey(t.claims.Subject), string(t.claims.ImportSubject)))
	return t, nil
}

// check judges a token without the stored one: its issuer, and whether it can be used now. A file
// may hold an expired or a large token, and needs no operator. The rules and their order are those
// for accounts, as far as tokens have the same.
func (r *Registry) check(ctx context.Context, t *Token, from accounts.Origin) error {
	// Without an operator, only what comes from a file is taken.
	if !r.Accounts.HasOperator() && !from.File {
		return fmt.Errorf("%w: no operator is configured", ErrIssuer)
	}
	if err := r.checkIssuer(ctx, t); err != nil {
		return err
	}
	if err := accounts.CheckEpoch(t.IssuedAt); err != nil && !from.File {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	if err := accounts.CheckAhead(t.IssuedAt, r.Now()); err != nil || from.File {
		return err
	}
	if err := accounts.CheckSize(t.JWT, r.Connection.MaxPayload()); err != nil {
		return err
	}
	return accounts.Validate(t.claims)
}

// compare decides whether a token may replace the stored one, and returns the floor after it. The
// hash's commit lock must be held. A damaged token may be replaced by any.
func (r *Registry) compare(
	t *Token, now jwtstore.Stored, from accounts.Origin,
) (jwtstore.Floor, error) {
	floor := now.Floor
	if had, err := decodeAs(t.Key, now.JWT); err == nil {
		if bytes.Equal(had.Payload, t.Payload) {
			return floor, errSame // in other bytes too: a header of version 1 is not signed
		}
		// A token that was there before the index knew it is a floor too.
		floor = accounts.RaiseFloor(floor, &had.Account, now.Stamp, r.Now())
	}
	if !from.Peer && !from.File && trust.IsRespelled(t.JWT, t.claims.Version) {
		return floor, fmt.Errorf("%w: %w", ErrBadJWT, trust.ErrRespelled)
	}
	if from.ByRevision() {
		return floor.After(t.IssuedAt, t.Hash), nil
	}
	return floor.After(t.IssuedAt, t.Hash),
		accounts.CheckFloor(&t.Account, floor, from, r.AllowOlder)
}
