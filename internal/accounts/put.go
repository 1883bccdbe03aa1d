package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// restInterval is how long an account must not have changed for a broadcast to be believed to have
// reached the nats-servers in the order in which it reached this server.
const restInterval = 5 * time.Second

// errSame ends a commit that has nothing to do: these claims are stored already.
var errSame = errors.New("the same JWT is stored")

// Result is what Put did. Receipt.Wait is how a client waits for nats-servers. The zero Result
// without an error means that there was nothing to do.
type Result struct {
	Account *Account // the JWT that was put; nil if it was stored already and was not posted
	Changed bool     // the JWT is stored now, and was not before
	Receipt Receipt  // of the announcement; nil if there is none to follow
	Pending bool     // nothing is stored: the signing service has the JWT, and said Reply
	Reply   []byte   // may be anything
	Warning string   // says that nats-servers refuse what was stored, and why; "" if they do not
	// Claims are those of the JWT that is stored now. Replaced are those of the one before; nil if
	// there was none, or it was damaged. Both are nil if nothing has changed.
	Claims, Replaced *jwt.AccountClaims
}

// Put is the one way in. It verifies that the operator signed the JWT for the account, compares it
// with what is stored, commits it and has it announced. It does not wait for nats-servers. What is
// done differently for one way in than for another follows from the methods of Origin.
//
// If it returns without an error the JWT is on stable storage and will be announced, whatever
// happens to this process. So it is with ErrAudit. Otherwise nothing has changed, and the error is
// another one of those in errors.go.
func (r *Registry) Put(ctx context.Context, key string, token []byte, from Origin) (Result, error) {
	return r.PutIf(ctx, key, token, from, Precondition{})
}

// PutIf is Put for a JWT that is meant for a state of the account: the error is a *ChangedError if
// the account is in another one when the JWT would be stored. The zero Precondition holds for any
// state. A subject that names no account costs nothing.
func (r *Registry) PutIf(
	ctx context.Context, key string, token []byte, from Origin, only Precondition,
) (Result, error) {
	// There is no line in the audit for it: any client of the system account can publish on such a
	// subject.
	if from.reasserts() && !trust.IsAccountKey(key) {
		return Result{}, ErrBadSubject
	}
	o := newOffer(key, token, from, r.trust.Load())
	o.only = only
	return r.put(ctx, o)
}

// put is Put for an offer.
//
// The order: what a peer has and the index knows is dropped first, without the store. inspect comes
// before the signing service, since only its refusal says that one is needed. commit does the rest
// under the account's lock. Last, an update that was refused makes the stored JWT heard again.
func (r *Registry) put(ctx context.Context, o *offer) (Result, error) {
	if o.from.indexFirst() { // costs no signature check and no look into the store
		switch err := r.policy.compareIndex(o, r.index.Get(o.Key)); {
		case errors.Is(err, errSame):
			return Result{}, nil
		case err != nil:
			return Result{}, err
		}
	}
	err := r.policy.inspect(o)
	if o.from.isPosted() && signable(r.Signer, err) {
		return r.sign(ctx, o)
	}
	result, err := r.commit(ctx, o, err)
	if o.from.reasserts() && isAboutJWT(err) {
		// Without a stored JWT there is nothing to announce in the place of the refused one.
		if _, missing := r.GetLocal(ctx, o.Key); missing == nil {
			r.announcing.reassert(o)
		}
	}
	return result, err
}

// isAboutJWT reports whether an error of Put says that the JWT can't be taken, whatever state this
// server is in.
func isAboutJWT(err error) bool {
	return err != nil && !errors.Is(err, ErrSave) && !errors.Is(err, ErrReadOnly) &&
		!errors.Is(err, ErrAudit)
}

// commit stores an offer, if inspect had nothing against it and the policy decides so. The function
// that Committer.Put calls runs under the account's lock, and must not wait. A refusal is observed,
// and nothing else has happened then. If the store fails, the audit has the offer as refused with
// ErrSave.
func (r *Registry) commit(ctx context.Context, o *offer, inspected error) (Result, error) {
	if inspected != nil {
		return Result{}, r.refuse(o, inspected)
	}
	// refused tells a decision of the policy from trouble of the store: the Committer returns both
	// as an error.
	var refused error
	seq, err := r.Committer.Put(WithUser(ctx, o.from.User), o.Key, o.from.Kind, o.JWT,
		func(now jwtstore.Stored) (jwtstore.Version, error) {
			refused = r.allow(o, now)
			return o.version(), refused
		})
	switch {
	case err == nil:
		return r.recordCommitted(o, seq)
	case errors.Is(err, errSame), errors.Is(err, ErrSuperseded):
		return r.unchanged(ctx, o)
	case refused == nil: // it was allowed: the store is in trouble
		err = fmt.Errorf("%w: %w", ErrSave, err)
	}
	return Result{}, r.refuse(o, err)
}

// allow asks the policy with what is stored. The trust may have changed since the offer was
// inspected. now is what the store has at this moment. The error refuses the commit.
//
// The order: the trust first, because the rest is judged under it. A key that was taken away by a
// reload since inspect must sign nothing.
func (r *Registry) allow(o *offer, now jwtstore.Stored) error {
	if t := r.trust.Load(); t != o.trust {
		o.trust = t
		if err := checkIssuer(&r.policy, o); err != nil {
			return err
		}
	}
	o.current = r.lookUp(o, now)
	r.checkClock(o.Key, o.current.floor)
	err := r.policy.decide(o)
	if err != nil && o.current.floor != now.Floor {
		// What is stored was put there by hand. It is the floor from now on, also if it goes again.
		_, _ = r.update(o.Key, false)
	}
	return err
}

// recordCommitted records an offer that is on stable storage now, and has it announced. The error
// is an ErrAudit. seq is the number of the change in the journal.
//
// The order: the verdict first, so that a GET verifies nothing, then the announcement, and the
// audit last. A crash in between leaves a change without a line in the audit. The change itself is
// in the journal and the outbox.
func (r *Registry) recordCommitted(o *offer, seq uint64) (Result, error) {
	event := o.event(Accepted)
	result := Result{Account: r.recordStored(o, seq), Changed: true, Warning: o.warning}
	// The mark is set by the same call that asks for it, so that of two changes at once one sees
	// the other.
	changedBefore := r.changed.mark(o.Key, r.Now())
	r.logUpdated(o)
	if o.warning != "" {
		r.Log.Warn(fmt.Sprintf("%s - the JWT is taken, but %s: correct the "+
			"claims and issue it anew",
			logging.ShortKey(o.Key), logging.Quote(o.warning, maxErrorBytes)))
	}
	if changedBefore {
		r.Announcer.Contested(o.Key)
	}
	if o.from.Broadcast && (!changedBefore || o.from.ByRevision()) {
		r.Announcer.Heard(o.Key, seq)
	} else {
		// Of two changes in a row a nats-server may have heard the second one first.
		result.Receipt = r.announcing.announce(o, seq)
	}
	// Nats-servers need not wait for that.
	result.Claims, result.Replaced = o.claims, event.difference(o)
	return result, r.observe(event) // last, because it may wait
}

// logUpdated writes the original's line for a push.
func (r *Registry) logUpdated(o *offer) {
	r.Log.Info(fmt.Sprintf("updated JWT for account - %s - %s", logging.ShortKey(o.Key),
		logging.Quote(o.ID, maxErrorBytes)))
}

// unchanged answers for a JWT that is stored already. One that was posted is announced again. The
// answer to a client is a Result without Changed. The stored JWT is announced at most every five
// seconds, however often it is pushed.
func (r *Registry) unchanged(ctx context.Context, o *offer) (Result, error) {
	if !o.from.isPosted() {
		return Result{}, nil
	}
	r.logUpdated(o) // as the original does, and people wait for the line
	receipt, err := r.announcing.again(ctx, o.Key, o.from.Kind)
	if err != nil {
		return Result{}, r.refuse(o, fmt.Errorf("%w: %w", ErrSave, err))
	}
	return Result{Account: o.tagged(), Receipt: receipt}, r.observe(o.event(Unchanged))
}

// refuse tells the Observer that an offer is refused, and returns why.
func (r *Registry) refuse(o *offer, err error) error {
	r.observeRefused(o.event(Refused), Reason(err))
	return err
}

// SubjectOf is the account that a JWT claims to be of, unchecked; "" if it does not say.
func SubjectOf(token []byte) string {
	token, unclear := trust.Bare(token)
	head, err := trust.Peek(token)
	if unclear != nil || err != nil {
		return ""
	}
	return head.Subject
}
