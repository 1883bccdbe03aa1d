package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/trust"
)

const (
	// repeatEvery is how often an unchanged JWT is announced again: people push once more to be sure.
	repeatEvery = 5 * time.Second
	// restEvery is how long an account must have been left alone for a broadcast to be believed to have reached the
	// nats-servers in the order in which it reached us.
	restEvery = 5 * time.Second
	// maxAhead is how far a JWT's iat may be ahead of our clock. One from the far future would block its account.
	maxAhead = 5 * time.Minute
)

// errSame ends a commit that has nothing to do: these claims are stored already.
var errSame = errors.New("the same JWT is stored")

// submitted takes what was posted. It decodes the JWT, sees that the operator signed it for this
// account, compares it with what is stored, commits it and announces it; then it waits a moment for the nats-servers'
// answers. A JWT that is stored already is announced once more, but not on every push.
//
// When it returns without an error the JWT is on stable storage and the announcement will be made, whatever
// happens to this process. Otherwise nothing has changed, and the error is one of those in errors.go.
func (r *Registry) submitted(ctx context.Context, key string, token []byte, src Origin) (Result, error) {
	o := &offer{trust: r.trust.Load(), token: bytes.TrimSpace(token), src: src}
	inspected := r.inspect(key, o)
	if r.signable(inspected) {
		return r.sign(ctx, key, o)
	}
	return r.enter(ctx, key, o, inspected)
}

// enter is Submit for what has been inspected.
func (r *Registry) enter(ctx context.Context, key string, o *offer, inspected error) (Result, error) {
	account, seq, err := r.submit(ctx, key, o, inspected)
	switch {
	case errors.Is(err, errSame):
		return r.repeated(ctx, o)
	case err != nil:
		return Result{}, err
	}
	return Result{Account: account, Changed: true, Receipt: r.announce(key, seq)}, nil
}

// Offer is the same way in for what other servers pass on: nobody waits for the nats-servers, and a JWT that is stored
// already is not announced, so that servers who tell each other everything come to rest.
func (r *Registry) offered(ctx context.Context, key string, token []byte, src Origin) (Result, error) {
	o := &offer{trust: r.trust.Load(), token: bytes.TrimSpace(token), src: src}
	restless := r.changed.lately(key, r.now())
	account, seq, err := r.submit(ctx, key, o, r.inspect(key, o))
	switch {
	case errors.Is(err, errSame):
		return Result{}, nil
	case err != nil:
		return Result{}, err
	case src.Broadcast && !restless:
		r.announcer.Heard(key, seq, r.now())
	default:
		// Of two changes in a row a nats-server may have heard the second one first.
		r.announcer.Announce(key, seq, r.now())
	}
	return Result{Account: account, Changed: true}, nil
}

// submit commits an offer, unless inspect had something against it. It returns errSame when there is nothing to do; every
// other error was observed.
func (r *Registry) submit(ctx context.Context, key string, o *offer, inspected error) (account *Account, seq uint64, err error) {
	if err = inspected; err == nil {
		seq, err = r.committer.Put(ctx, key, o.src.Kind, o.token, func(stored, tombstone []byte) error {
			return r.admit(o, stored, tombstone)
		})
		if err != nil && o.refused == nil && !errors.Is(err, errSame) {
			err = fmt.Errorf("%w: %w", ErrSave, err)
		}
	}
	switch {
	case errors.Is(err, errSame):
		return nil, 0, errSame
	case err != nil:
		r.judged(key, o, Result{}, err)
		return nil, 0, err
	}
	r.judged(key, o, Result{Changed: true}, nil)
	account = NewAccount(o.token, o.head)
	r.cache.put(key, &entry{trust: o.trust, token: o.token, account: account})
	_ = r.enroll(key) // it has just been committed: it is in memory
	r.changed.happened(key, r.now())
	r.log.Info(fmt.Sprintf("updated JWT for account - %s - %s", short(key), harmless(o.head.ID)))
	return account, seq, nil
}

// offer is a JWT on its way through the gate.
type offer struct {
	trust   *Trust
	token   []byte
	src     Origin
	head    trust.Head
	refused error // why admit said no

	stored []byte      // what it would replace; nil if there is nothing
	old    *trust.Head // of that, if it would be served
}

// inspect does everything that needs neither the store nor the signature.
func (r *Registry) inspect(key string, o *offer) error {
	head, err := trust.Peek(o.token)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	o.head = head
	switch {
	case head.Subject != key:
		return ErrMismatch
	case !trust.IsAccountKey(key):
		return ErrBadSubject
	}
	if err := judgeIssuer(o.trust.Operator, head); err != nil && !(o.src.File && o.trust.Operator == nil) {
		return err
	}
	if limit := r.announcer.MaxPayload(); limit > 0 && len(o.token) > limit && !o.src.File {
		return &TooLargeError{Size: len(o.token), Limit: limit}
	}
	if now := r.now(); ahead(head.IssuedAt, now) {
		return &FutureError{Offered: time.Unix(head.IssuedAt, 0), Now: now}
	}
	return nil
}

// judgeIssuer tells the ways of not being signed by our operator apart, as the original's answers do.
func judgeIssuer(op *trust.Operator, head trust.Head) error {
	switch {
	case op.Trusts(head.Issuer):
		return nil
	case trust.IsOperatorKey(head.Issuer):
		return ErrUntrusted
	case head.Issuer == head.Subject:
		return ErrSelfSigned
	default:
		return ErrBadIssuer
	}
}

func ahead(issuedAt int64, now time.Time) bool {
	return issuedAt > now.Add(maxAhead).Unix()
}

// admit decides, under the account's own lock, whether o may replace what is stored. The cheap comparisons come
// before the signature check.
func (r *Registry) admit(o *offer, stored, deleted []byte) error {
	current := r.intact(o, stored)
	o.stored, o.old = stored, current
	if current != nil && bytes.Equal(bytes.TrimSpace(stored), o.token) && (o.src.File || !o.expired(r.now())) {
		return errSame
	}
	if newest := o.newest(current); o.head.IssuedAt < newest && (!r.allowOlder || o.src.Peer) && !ahead(newest, r.now()) {
		o.refused = &OlderError{Stored: time.Unix(newest, 0), Offered: time.Unix(o.head.IssuedAt, 0)}
		return o.refused
	}
	if o.refused = readTombstone(deleted).bars(o.head, o.token, o.src); o.refused != nil {
		return o.refused
	}
	if current != nil && o.src.Peer && o.head.IssuedAt == current.IssuedAt && lesser(o.token, stored) {
		o.refused = ErrLesser
		return o.refused
	}
	if o.refused = verify(o); o.refused != nil {
		return o.refused
	}
	if current != nil && bytes.Equal(current.Payload, o.head.Payload) {
		return errSame // in other bytes: the header of a version 1 JWT is not signed
	}
	if r.readOnly && !o.src.File {
		o.refused = ErrReadOnly
		return o.refused
	}
	return nil
}

// lesser says which of two JWTs of one second loses everywhere, whatever came first where.
func lesser(offered, stored []byte) bool {
	ours, theirs := sha256.Sum256(bytes.TrimSpace(stored)), sha256.Sum256(offered)
	return bytes.Compare(theirs[:], ours[:]) < 0
}

// newest is when the JWT that is served now was issued: the stored one's iat, or that of the configured system
// account, which is served while the store has none. 0 if there is neither.
func (o *offer) newest(current *trust.Head) (issuedAt int64) {
	if sys := o.trust.System; sys != nil && sys.Key == o.head.Subject {
		issuedAt = sys.IssuedAt
	}
	if current != nil {
		issuedAt = max(issuedAt, current.IssuedAt)
	}
	return issuedAt
}

func (o *offer) expired(now time.Time) bool {
	return o.head.Expires > 0 && o.head.Expires <= now.Unix()
}

// intact returns the head of the stored JWT if it is one that we would serve, else nil. Bytes that have been judged
// before are not verified again.
func (r *Registry) intact(o *offer, stored []byte) *trust.Head {
	if stored == nil {
		return nil
	}
	look := o.trust.Operator.Check
	if had := r.cache.get(o.head.Subject); had.judged(o.trust, stored) {
		look = func(_ string, token []byte) (trust.Head, error) {
			if had.err != nil {
				return trust.Head{}, had.err
			}
			return trust.Peek(token)
		}
	}
	head, err := look(o.head.Subject, bytes.TrimSpace(stored))
	if err != nil {
		return nil
	}
	return &head
}

// verify checks the signature and what the claims say.
func verify(o *offer) error {
	claims, err := trust.Verify(o.token, o.head)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	if o.src.File {
		return nil
	}
	return validate(claims)
}

// validate says whether the claims can be used now.
func validate(claims interface{ Validate(*jwt.ValidationResults) }) error {
	var found jwt.ValidationResults
	claims.Validate(&found)
	if !found.IsBlocking(true) {
		return nil
	}
	blocked := &BlockedError{}
	for _, issue := range found.Issues {
		blocked.Issues = append(blocked.Issues, issue.Description)
	}
	return blocked
}

// repeated answers for a JWT that is stored already. It is announced once more, but not on every push.
func (r *Registry) repeated(ctx context.Context, o *offer) (Result, error) {
	receipt, err := r.again(ctx, o.head.Subject, o.src.Kind)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrSave, err)
		r.judged(o.head.Subject, o, Result{}, err)
		return Result{}, err
	}
	r.judged(o.head.Subject, o, Result{}, nil)
	return Result{Account: NewAccount(o.token, o.head), Receipt: receipt}, nil
}

// Announce announces the stored JWT of an account once more, at most every five seconds. The error wraps
// ErrAnnounce.
func (r *Registry) Announce(ctx context.Context, key string) error {
	if _, err := r.again(ctx, key, KindNotify); err != nil {
		return fmt.Errorf("%w: %w", ErrAnnounce, err)
	}
	return nil
}

func (r *Registry) again(ctx context.Context, key, door string) (Receipt, error) {
	known := known(r.announcer.Delivery(key))
	if known.State == NotConfigured {
		r.skipping(key)
		return known, nil
	}
	if !r.repeat.allow(key, r.now()) {
		return known, nil
	}
	seq, err := r.committer.Touch(ctx, key, door)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil // it is the configured system account, which nats-servers fetch when they start
	}
	if err != nil {
		r.repeat.undo(key)
		return known, err
	}
	return r.announce(key, seq), nil
}

func (r *Registry) announce(key string, seq uint64) Receipt {
	receipt := r.announcer.Announce(key, seq, r.now())
	if r.announcer.Delivery(key).State == NotConfigured {
		r.skipping(key)
	}
	return receipt
}

// known is the Receipt of an announcement about which nothing more will be learned.
type known Delivery

func (k known) Wait(context.Context) Delivery { return Delivery(k) }

func (r *Registry) skipping(key string) {
	r.log.Info(fmt.Sprintf("skipping notification for %s, no NATS configured", short(key)))
}

// short is a key as logs show it.
func short(key string) string {
	return key[:min(len(key), 12)]
}

// harmless makes a text that a stranger may have written fit for one line of a log.
func harmless(text string) string {
	q := strconv.QuoteToASCII(text)
	return q[1 : len(q)-1]
}
