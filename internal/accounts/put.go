package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// restInterval is how long an account must not have changed for a broadcast to be believed to have
// reached the nats-servers in the order in which it reached this server.
const restInterval = 5 * time.Second

// errSame ends a commit that has nothing to do: these claims are stored already.
var errSame = errors.New("the same JWT is stored")

// Result is what Put did.
type Result struct {
	Account *Account // the JWT that was put; nil if it was stored already and was not posted
	Changed bool     // the JWT is stored now, and was not before
	Receipt Receipt  // of the announcement; nil if there is none to follow
	Pending bool     // nothing is stored: the signing service has the JWT, and said Reply
	Reply   []byte   // may be anything
}

// Put is the one way in. It verifies that the operator signed the JWT for the account, compares it
// with what is stored, commits it and has it announced. It does not wait for nats-servers. What is
// done differently for one way in than for another follows from the Origin, see policy.go.
//
// If it returns without an error the JWT is on stable storage and will be announced, whatever
// happens to this process. Otherwise nothing has changed, and the error is one of those in
// errors.go.
func (r *Registry) Put(ctx context.Context, key string, token []byte, from Origin) (Result, error) {
	if from.reasserts() && !trust.IsAccountKey(key) {
		return Result{}, ErrBadSubject
	}
	return r.putOffer(ctx, newOffer(key, bytes.TrimSpace(token), from, r.trust.Load()))
}

// putOffer is Put for an offer.
func (r *Registry) putOffer(ctx context.Context, o *offer) (Result, error) {
	if o.from.indexFirst() {
		switch err := r.catalog.compare(o); {
		case errors.Is(err, errSame):
			return Result{}, nil
		case err != nil:
			return Result{}, err
		}
	}
	err := inspect(o, r.announcer.MaxPayload(), r.now())
	if o.from.isPosted() && r.signable(err) {
		return r.sign(ctx, o)
	}
	result, err := r.commit(ctx, o, err)
	if o.from.reasserts() && err != nil && !errors.Is(err, ErrSave) && !errors.Is(err, ErrReadOnly) {
		if _, missing := r.GetLocal(ctx, o.key); missing == nil {
			r.announcing.reassert(o)
		}
	}
	return result, err
}

// commit stores an offer, if inspect had nothing against it and the policy decides so.
func (r *Registry) commit(ctx context.Context, o *offer, inspected error) (Result, error) {
	if inspected != nil {
		r.audit.refused(o, inspected)
		return Result{}, inspected
	}
	seq, err := r.committer.Put(ctx, o.key, o.from.Kind, o.token, func(stored, tombstone []byte) error {
		o.refused = r.decide(o, stored, tombstone)
		return o.refused
	})
	switch {
	case err == nil:
		return r.committed(o, seq), nil
	case errors.Is(err, errSame):
		return r.unchanged(ctx, o)
	case o.refused == nil:
		err = fmt.Errorf("%w: %w", ErrSave, err)
	}
	r.audit.refused(o, err)
	return Result{}, err
}

// decide asks the policy with what is stored. The trust may have changed since the offer was
// inspected.
func (r *Registry) decide(o *offer, stored, tombstone []byte) error {
	if now := r.trust.Load(); now != o.trust {
		o.trust = now
		if err := checkIssuer(o); err != nil {
			return err
		}
	}
	o.current = r.catalog.lookUp(o, stored, tombstone)
	return r.policy.decide(o, r.now())
}

// committed records an offer that is on stable storage now, and has it announced.
func (r *Registry) committed(o *offer, seq uint64) Result {
	r.audit.emit(o, Accepted, "")
	account := r.catalog.stored(o, seq)
	now := r.now()
	changedBefore := r.changed.mark(o.key, now)
	r.log.Info(fmt.Sprintf("updated JWT for account - %s - %s", logging.ShortKey(o.key),
		logging.Quote(o.head.ID, maxErrorBytes)))
	result := Result{Account: account, Changed: true}
	if o.from.Broadcast && !changedBefore {
		r.announcer.Heard(o.key, seq, now)
	} else {
		// Of two changes in a row a nats-server may have heard the second one first.
		result.Receipt = r.announcing.announce(o, seq)
	}
	return result
}

// unchanged answers for a JWT that is stored already. One that was posted is announced again.
func (r *Registry) unchanged(ctx context.Context, o *offer) (Result, error) {
	if !o.from.isPosted() {
		return Result{}, nil
	}
	receipt, err := r.announcing.again(ctx, o.key, o.from.Kind)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrSave, err)
		r.audit.refused(o, err)
		return Result{}, err
	}
	r.audit.emit(o, Unchanged, "")
	return Result{Account: newAccount(o.token, o.head, o.hash), Receipt: receipt}, nil
}
