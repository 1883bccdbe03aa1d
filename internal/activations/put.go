package activations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// errSame ends a commit that has nothing to do: the same claims are stored already.
var errSame = errors.New("the same activation JWT is stored")

// offer is a token that Put decides about.
type offer struct {
	*decoded
	token []byte // without space around it
	from  accounts.Origin
}

// Put stores a token if a stored account has signed it, itself or with a signing key. It is the
// only way in. changed is false if the same token is stored already. With an error nothing has
// changed.
func (r *Registry) Put(
	ctx context.Context, token []byte, from accounts.Origin,
) (t *Token, changed bool, err error) {
	o := &offer{token: bytes.TrimSpace(token), from: from}
	event := accounts.Event{Origin: from, Result: accounts.Accepted}
	switch err = r.put(ctx, o); {
	case errors.Is(err, errSame):
		event.Result, err = accounts.Unchanged, nil
	case err != nil:
		event.Result, event.Reason = accounts.Refused, accounts.Reason(err)
	}
	if o.decoded != nil {
		t = newToken(o.decoded, o.token)
		event.Account, event.Issuer = t.Key, t.Issuer
		event.New = accounts.AuditVersion(&trust.Head{ID: t.ID, IssuedAt: t.IssuedAt}, o.token)
	}
	if r.Observer != nil {
		r.Observer.Observe(event)
	}
	if err != nil {
		return nil, false, err
	}
	return t, event.Result == accounts.Accepted, nil
}

// put decodes, checks and commits an offer. It returns errSame if there is nothing to do.
func (r *Registry) put(ctx context.Context, o *offer) (err error) {
	if len(o.token) > maxTokenBytes && !o.from.File {
		return ErrTooLarge
	}
	if o.decoded, err = decode(o.token); err != nil {
		return err
	}
	if r.ReadOnly && !o.from.File {
		return accounts.ErrReadOnly
	}
	if err := r.check(ctx, o); err != nil {
		return err
	}
	var refused error
	_, err = r.Store.Put(ctx, o.hash, o.from.Kind, o.token, func(stored, _ []byte) error {
		refused = r.compare(o, stored)
		return refused
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSave, err)
	}
	r.Log.Info(fmt.Sprintf("updated activation JWT - %s-%s - %.130q",
		logging.ShortKey(o.claims.Issuer), logging.ShortKey(o.claims.Subject),
		string(o.claims.ImportSubject)))
	return nil
}

// check judges an offer without the stored token: its issuer, and whether it can be used
// now. A file may hold an expired or a large token, and needs no operator.
func (r *Registry) check(ctx context.Context, o *offer) error {
	if !r.Accounts.HasOperator() && !o.from.File {
		return fmt.Errorf("%w: no operator is configured", ErrIssuer)
	}
	if err := r.checkIssuer(ctx, o.decoded); err != nil {
		return err
	}
	if now := r.Now(); accounts.IsAhead(o.claims.IssuedAt, now) {
		return &accounts.FutureError{Offered: time.Unix(o.claims.IssuedAt, 0), Now: now}
	}
	if o.from.File {
		return nil
	}
	if limit := r.Connection.MaxPayload(); limit > 0 && len(o.token) > limit {
		return &accounts.TooLargeError{Size: len(o.token), Limit: limit}
	}
	return accounts.Validate(o.claims)
}

// compare decides whether an offer may replace the stored token. The token's commit lock must be
// held. A damaged token may be replaced by any.
func (r *Registry) compare(o *offer, stored []byte) error {
	had, err := decodeAs(o.hash, stored)
	if err != nil {
		return nil
	}
	issuedAt, storedAt := o.claims.IssuedAt, had.claims.IssuedAt
	mayBeOlder := r.AllowOlder && !o.from.Peer
	switch {
	case bytes.Equal(had.payload, o.payload):
		return errSame // in other bytes too: the header of a version 1 token is not signed
	case issuedAt < storedAt && !mayBeOlder && !accounts.IsAhead(storedAt, r.Now()):
		return &accounts.OlderError{Stored: time.Unix(storedAt, 0), Offered: time.Unix(issuedAt, 0)}
	case issuedAt == storedAt && o.from.Peer && accounts.IsLesser(o.token, stored):
		return accounts.ErrLesser
	default:
		return nil
	}
}
