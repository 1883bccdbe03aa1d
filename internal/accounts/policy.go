package accounts

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/trust"
)

// maxAhead is how far a JWT's iat may be ahead of this server's clock. One from the far future
// would block its account.
const maxAhead = 5 * time.Minute

// isPosted reports whether a client has posted it. An unchanged JWT is announced again then, and one
// that the operator did not sign goes to the signing service.
func (o Origin) isPosted() bool { return o.Kind == KindHTTP }

// reasserts reports whether a refused JWT makes this server announce the stored one again.
// Nats-servers have heard what is published on an update subject, and may run it.
func (o Origin) reasserts() bool { return o.Kind == KindNATS }

// indexFirst reports whether a JWT is compared with the index first. A peer offers all that it has,
// again and again: what is the same or older leaves no line in the audit log.
func (o Origin) indexFirst() bool { return o.Peer && !o.Broadcast }

// offer is a JWT that Put decides about.
type offer struct {
	key   string
	token []byte // without the space around it
	hash  Digest // of token
	from  Origin
	trust *Trust
	head  trust.Head // as the JWT says, see read

	isRead  bool               // read was called
	bad     error              // what it returned
	claims  *jwt.AccountClaims // once the signature is verified
	current current            // what the offer would replace
	refused error              // the decision under the commit's lock
}

func newOffer(key string, token []byte, from Origin, t *Trust) *offer {
	return &offer{key: key, token: token, hash: sha256.Sum256(token), from: from, trust: t}
}

// read reads the head, once.
func (o *offer) read() error {
	if !o.isRead {
		o.isRead = true
		o.head, o.bad = trust.Peek(o.token)
	}
	return o.bad
}

// expired reports whether the offered JWT has expired.
func (o *offer) expired(now time.Time) bool {
	return o.head.Expires > 0 && o.head.Expires <= now.Unix()
}

// current is what an offer would replace.
type current struct {
	token     []byte      // as it is stored; nil: nothing is stored
	hash      Digest      // of token without the space around it
	head      *trust.Head // nil unless token is servable
	tombstone *tombstone  // nil if the account was never deleted
	// floor is the iat of the JWT that is served now, which may be the configured system account's;
	// 0 if none is.
	floor int64
}

// policy is the part of the rules that the configuration decides.
type policy struct {
	allowOlder bool // an older JWT may replace a newer one
	readOnly   bool // only files are taken
}

// inspect judges an offer by what it says: it needs neither what is stored nor a signature check.
// maxBytes bounds the JWT; 0 means no bound.
func inspect(o *offer, maxBytes int, now time.Time) error {
	if err := o.read(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	switch {
	case o.head.Subject != o.key:
		return ErrMismatch
	case !trust.IsAccountKey(o.key):
		return ErrBadSubject
	}
	if err := checkIssuer(o); err != nil {
		return err
	}
	if maxBytes > 0 && len(o.token) > maxBytes && !o.from.File {
		return &TooLargeError{Size: len(o.token), Limit: maxBytes}
	}
	if IsAhead(o.head.IssuedAt, now) {
		return &FutureError{Offered: time.Unix(o.head.IssuedAt, 0), Now: now}
	}
	return nil
}

// checkIssuer tells the ways of not being signed by the operator apart, as the original's answers
// do. Without an operator only files are taken.
func checkIssuer(o *offer) error {
	operator, issuer := o.trust.Operator, o.head.Issuer
	switch {
	case operator.Trusts(issuer), operator == nil && o.from.File:
		return nil
	case trust.IsOperatorKey(issuer):
		return ErrUntrusted
	case issuer == o.head.Subject:
		return ErrSelfSigned
	default:
		return ErrBadIssuer
	}
}

// decide reports whether an offer that inspect has passed may replace what is stored. errSame means
// that there is nothing to do. The signature check, which costs most, comes after the comparisons.
func (p policy) decide(o *offer, now time.Time) error {
	stored := &o.current
	if stored.head != nil && stored.hash == o.hash && (o.from.File || !o.expired(now)) {
		return errSame
	}
	if err := p.compare(o, now); err != nil {
		return err
	}
	if err := o.verify(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	if !o.from.File { // a file may hold what can't be used now
		if err := Validate(o.claims); err != nil {
			return err
		}
	}
	switch {
	case stored.head != nil && bytes.Equal(stored.head.Payload, o.head.Payload):
		return errSame // in other bytes: the header of a version 1 JWT is not signed
	case p.readOnly && !o.from.File:
		return ErrReadOnly
	}
	return nil
}

// compare reports whether an offer is older than what is stored or was deleted, or of the same
// second and the lesser one.
func (p policy) compare(o *offer, now time.Time) error {
	if err := p.older(o, o.current.floor, now); err != nil {
		return err
	}
	if err := o.current.tombstone.bars(o); err != nil {
		return err
	}
	stored := o.current.head
	if stored != nil && o.from.Peer && o.head.IssuedAt == stored.IssuedAt &&
		isLess(o.hash, o.current.hash) {
		return ErrLesser
	}
	return nil
}

// older refuses an offer that was issued before the served JWT. One from the far future does not
// count as newer.
func (p policy) older(o *offer, floor int64, now time.Time) error {
	if o.head.IssuedAt >= floor || p.allowOlder && !o.from.Peer || IsAhead(floor, now) {
		return nil
	}
	return &OlderError{Stored: time.Unix(floor, 0), Offered: time.Unix(o.head.IssuedAt, 0)}
}

// verify checks the signature, once.
func (o *offer) verify() (err error) {
	if o.claims == nil {
		o.claims, err = trust.Verify(o.token, o.head)
	}
	return err
}

// The rules below hold for activation tokens too.

// IsAhead reports whether an iat is so far ahead of the clock that the JWT would block its account.
func IsAhead(issuedAt int64, now time.Time) bool { return issuedAt > now.Add(maxAhead).Unix() }

// IsLesser reports whether the offered one of two JWTs of one second loses on every server.
func IsLesser(offered, stored []byte) bool {
	return isLess(sha256.Sum256(bytes.TrimSpace(offered)), sha256.Sum256(bytes.TrimSpace(stored)))
}

func isLess(a, b Digest) bool { return bytes.Compare(a[:], b[:]) < 0 }

// Validate reports whether claims can be used now. The error is a *BlockedError.
func Validate(claims interface{ Validate(*jwt.ValidationResults) }) error {
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
