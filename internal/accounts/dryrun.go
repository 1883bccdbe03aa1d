package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// errTrial ends the commit of a dry run.
var errTrial = errors.New("this is a dry run")

// Trial is what would become of a JWT if it was put.
type Trial struct {
	Rules   []RuleResult // each that was asked, in the order of Put
	Refused error        // what Put would return; nil: it would take the JWT
	Same    bool         // nothing would change: these claims are stored
	Signing bool         // the signing service would get it, and decide
	Warning string       // says that nats-servers would refuse it, and why; "" if they would not
	Offered *Account     // the JWT, as far as it can be read
	// Claims are those of the JWT; nil if the signature is not that of its issuer.
	Claims *jwt.AccountClaims
	// Stored is what the JWT was compared with. It may not be served, if its issuer is not trusted
	// any more, or it is damaged. nil: nothing is stored.
	Stored *Account
	// StoredClaims are those of Stored; nil if that is nil or damaged.
	StoredClaims *jwt.AccountClaims
}

// DryRun says what PutIf would do, and does nothing. All rules are asked, also after one that
// refuses the JWT. What is stored is looked at in the place of the commit, so no other change of
// the account comes in between. An error means that the store can't be read; it wraps
// ErrUnreadable, or ErrSave and the CommitError with which a push would fail.
func (r *Registry) DryRun(
	ctx context.Context, key string, token []byte, from Origin, only Precondition,
) (*Trial, error) {
	o := newOffer(key, token, from, r.trust.Load())
	o.only = only
	t := &Trial{}
	t.Rules, _ = r.policy.all(nil, inspections, o)
	inspected := firstRefusal(t.Rules)
	t.Signing = from.isPosted() && signable(r.Signer, inspected)
	if o.Subject != o.Key || !trust.IsAccountKey(o.Key) { // there is nothing to compare it with
		t.Rules, _ = r.policy.all(t.Rules, decisions, o)
		return t.finish(o), nil
	}
	_, err := r.Committer.Put(ctx, o.Key, from.Kind, o.JWT,
		func(now jwtstore.Stored) (jwtstore.Version, error) {
			o.current = r.lookUp(o, now)
			t.Rules, t.Same = r.policy.all(t.Rules, decisions, o)
			return jwtstore.Version{}, errTrial
		})
	if _, is := errors.AsType[*CommitError](err); is {
		return nil, fmt.Errorf("%w: %w", ErrSave, err) // a push would fail in the same words
	}
	if !errors.Is(err, errTrial) {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return t.finish(o), nil
}

// finish completes a Trial with what is known of its offer.
func (t *Trial) finish(o *offer) *Trial {
	t.Warning, t.Offered, t.Claims = o.warning, o.tagged(), o.claims
	if !t.Signing {
		t.Refused = firstRefusal(t.Rules)
	}
	if t.Stored = o.served(); t.Stored != nil {
		t.StoredClaims = t.Stored.Claims()
	} else if o.current.stored != nil {
		t.Stored, t.StoredClaims = o.current.stored.unserved()
	}
	return t
}

// unserved returns a stored JWT that is not served with what it says, if its issuer has signed it:
// who that is does not matter. The claims are nil if it is damaged.
func (a *Account) unserved() (*Account, *jwt.AccountClaims) {
	token, shown := bytes.TrimSpace(a.JWT), *a
	head, err := trust.Peek(token)
	if err != nil {
		return a, nil
	}
	claims, err := trust.Verify(token, head)
	if err != nil {
		return a, nil
	}
	shown.Head = head
	return &shown, claims
}

// Claims decodes an account JWT that was verified before. It returns nil if that fails.
func (a *Account) Claims() *jwt.AccountClaims {
	claims, err := trust.Claims(a.JWT)
	if err != nil {
		return nil
	}
	return claims
}
