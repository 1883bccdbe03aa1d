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

// Put stores a token if a stored account has signed it, itself or with a signing key. changed is
// false if the same token is stored already. With ErrAudit the token is stored. With another error
// nothing has changed.
func (r *Registry) Put(
	ctx context.Context, token []byte, from accounts.Origin,
) (t *Token, changed bool, err error) {
	return r.Offer(token, from).Put(ctx)
}

// Offer is a token that is to be put and has been decoded, once.
type Offer struct {
	registry *Registry
	token    *Token // nil if it could not be decoded
	refused  error  // why it can't be taken; nil: that is not known yet
	from     accounts.Origin
}

// Offer decodes a token that is to be put. Nothing else happens before Offer.Put.
func (r *Registry) Offer(token []byte, from accounts.Origin) Offer {
	o := Offer{registry: r, from: from}
	token, err := trust.Bare(token)
	if err != nil {
		o.refused = fmt.Errorf("%w: %w", ErrBadJWT, err)
	} else if o.refused = checkSize(token, from); o.refused == nil { // decoding takes time and memory
		o.token, o.refused = decode(token)
	}
	return o
}

// LacksIssuer reports whether a token may be put as soon as its issuer is stored: the account, or
// the signing key that it names.
func (o Offer) LacksIssuer(ctx context.Context) bool {
	return o.refused == nil && errors.Is(o.registry.checkIssuer(ctx, o.token), ErrIssuer)
}

// Put is Registry.Put for the token.
func (o Offer) Put(ctx context.Context) (t *Token, changed bool, err error) {
	return o.registry.put(ctx, o.token, o.refused, o.from)
}

// PutAs is Put for a token that must have this hash. What does not is damaged, and leaves no line in
// the audit.
func (r *Registry) PutAs(
	ctx context.Context, hash string, token []byte, from accounts.Origin,
) (t *Token, changed bool, err error) {
	if t, err = decodeAs(hash, bytes.TrimSpace(token)); err != nil {
		return nil, false, fmt.Errorf("%w: %w", accounts.ErrDamaged, err)
	}
	return r.put(ctx, t, checkSize(t.JWT, from), from)
}

// put is the only way in. It takes a decoded token, unless refused says why it can't be taken, and
// reports the decision. t is nil if it could not be decoded: then it names nothing that is certain.
func (r *Registry) put(
	ctx context.Context, t *Token, refused error, from accounts.Origin,
) (_ *Token, changed bool, err error) {
	event := accounts.Event{Origin: from, Result: accounts.Accepted}
	if err = refused; err == nil {
		err = r.commit(ctx, t, from)
	}
	switch {
	case errors.Is(err, errSame): // no failure for the client
		event.Result, err = accounts.Unchanged, nil
	case err != nil:
		event.Result, event.Reason = accounts.Refused, accounts.Reason(err)
	}
	if t != nil {
		event.Account, event.Issuer, event.New = t.Key, t.Issuer, t.AuditVersion()
	}
	if r.Observer != nil {
		if audited := r.Observer.Observe(event); audited != nil && err == nil {
			err = fmt.Errorf("%w: %w", accounts.ErrAudit, audited)
		}
	}
	if err != nil {
		return nil, false, err
	}
	return t, event.Result == accounts.Accepted, nil
}

// checkSize refuses a token that is too large, unless its size has been decided about elsewhere.
func checkSize(token []byte, from accounts.Origin) error {
	if len(token) > maxTokenBytes && !from.File && !from.ByRevision() {
		return ErrTooLarge
	}
	return nil
}

// commit checks and commits a token. The error is errSame if there is nothing to do.
func (r *Registry) commit(ctx context.Context, t *Token, from accounts.Origin) error {
	if r.ReadOnly && !from.File {
		return accounts.ErrReadOnly
	}
	// The server that has written a revision of the bucket has decided about it.
	if !from.ByRevision() {
		if err := r.check(ctx, t, from); err != nil {
			return err
		}
	}
	// The Store calls compare under the hash's commit lock. refused tells its error from the
	// Store's.
	var refused error
	_, err := r.Store.Put(accounts.WithUser(ctx, from.User), t.Key, from.Kind, t.JWT,
		func(now jwtstore.Stored) (v jwtstore.Version, err error) {
			v.Floor, refused = r.compare(t, now, from)
			return v, refused
		})
	switch {
	case refused != nil:
		return refused
	case errors.Is(err, accounts.ErrSuperseded):
		return errSame
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSave, err)
	}
	// The line is the original's. The subject is cut, since it may be long.
	r.Log.Info(fmt.Sprintf("updated activation JWT - %s-%s - %.130q", logging.ShortKey(t.Issuer),
		logging.ShortKey(t.claims.Subject), string(t.claims.ImportSubject)))
	return nil
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
	had, _ := r.verdicts.Find(t.Key, 0, now.JWT,
		func(token []byte) (*Token, error) { return decodeAs(t.Key, token) })
	switch {
	case had.Err != nil: // it is damaged, or there is none
	case bytes.Equal(had.Found.Payload, t.Payload):
		return floor, errSame // in other bytes too: a header of version 1 is not signed
	default:
		// A token that was there before the index knew it is a floor too.
		floor = accounts.RaiseFloor(floor, &had.Found.Account, now.Stamp, r.Now())
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
