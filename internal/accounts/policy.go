package accounts

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimcheck"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// maxAhead is how far a JWT's iat may be ahead of this server's clock. One from the far future
// would block its account.
const maxAhead = 5 * time.Minute

// policy has the rules that depend on the configuration. It does no I/O. It is not changed after
// New.
//
// The rules are functions of an offer. rules.go has their order, and this file what each asks. A
// rule must not depend on the place that it has there, but for the one that it needs.
type policy struct {
	allowOlder, readOnly bool // as in Options
	now                  func() time.Time
	announcer            interface{ MaxPayload() int }
}

// offer is a JWT that Put decides about. One goroutine uses it, for one Put.
//
// Its fields are filled in step by step: newOffer, then read, then current under the account's
// lock, then verify. A rule reads only what the rule that it needs has filled in, and current.
type offer struct {
	// Key is what it was put for, JWT has nothing around it. The head is what the JWT says, see
	// read. There is no ETag yet.
	Account
	from  Origin
	trust *Trust

	isRead  bool               // nothing is left to do for read
	bad     error              // what it returns; nil if the head is whole
	claims  *jwt.AccountClaims // once the signature is verified
	current current            // what the offer would replace
	// warning is why nats-servers refuse it although it is taken; "" if they do not.
	warning string
	only    Precondition // for which it is meant
}

// newOffer is an offer about which nothing is known yet. token may have space around it, or the
// lines BEGIN and END. Of a text with a private key in it nothing is kept. token is not changed,
// and a part of it is kept.
func newOffer(key string, token []byte, from Origin, t *Trust) *offer {
	token, err := trust.Bare(token)
	account := Account{Key: key, JWT: token, Hash: sha256.Sum256(token)}
	return &offer{Account: account, from: from, trust: t, isRead: err != nil, bad: err}
}

// read reads the head, once. The head stays empty if the JWT is no account JWT. The head is not
// verified: until verify it is what the sender says.
func (o *offer) read() error {
	if !o.isRead {
		o.isRead = true
		// Peek returns what it has read with an error, too.
		head, err := trust.Peek(o.JWT)
		if err == nil {
			o.Head = head
		}
		o.bad = err
	}
	return o.bad
}

// verify checks the signature, once. The head must have been read. It costs some 100 µs.
func (o *offer) verify() (err error) {
	if o.claims == nil {
		if o.claims, err = trust.Verify(o.JWT, o.Head); err != nil {
			return fmt.Errorf("%w: %w", ErrBadJWT, err)
		}
	}
	return nil
}

// current is what an offer would replace. It is read under the account's lock. It holds as long as
// the lock does. stored and served may be shared with readers and must not be changed.
type current struct {
	stored    *Account   // nil: nothing is stored; of a damaged JWT only JWT and Hash are known
	served    *Account   // stored, if it is servable; nil otherwise
	tombstone *tombstone // nil: the account was never deleted
	// floor is the newest version that was ever accepted, or the configured system account's.
	floor jwtstore.Floor
}

// inspect judges an offer by what it says: it needs neither what is stored nor a signature check.
// The first rule that refuses it is the error: see inspections in rules.go. It runs before the lock
// is taken, so that what can't be taken never waits for a commit.
func (p *policy) inspect(o *offer) error { return p.first(inspections, o) }

// checkHead refuses what is no account JWT. The error is ErrBadJWT, also for a text with a private
// key in it.
func checkHead(_ *policy, o *offer) error {
	if err := o.read(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	return nil
}

// checkAccount refuses the JWT of another account. Key is the part of the path or subject.
func checkAccount(_ *policy, o *offer) error {
	switch {
	case o.Subject != o.Key && trust.IsAccountKey(o.Subject) && trust.IsAccountKey(o.Key):
		return fmt.Errorf("%w: it is the JWT of %s, and was sent for %s",
			ErrMismatch, o.Subject, o.Key)
	case o.Subject != o.Key && trust.IsAccountKey(o.Subject):
		return fmt.Errorf("%w: it is the JWT of %s, and was sent for something that is not the "+
			"key of an account", ErrMismatch, o.Subject)
	case o.Subject != o.Key:
		return fmt.Errorf("%w: the sub of the JWT is not the key of an account", ErrMismatch)
	case !trust.IsAccountKey(o.Key):
		return fmt.Errorf("%w: its sub is not the key of an account, which begins with A",
			ErrBadSubject)
	}
	return nil
}

// checkEpoch refuses an iat below zero, unless it is in a file or the bucket.
func checkEpoch(_ *policy, o *offer) error {
	if err := CheckEpoch(o.IssuedAt); err != nil && !o.from.isLenient() {
		return fmt.Errorf("%w: %w", ErrBadJWT, err)
	}
	return nil
}

// checkSize refuses what can't be announced, unless it is in a file or the bucket.
func checkSize(p *policy, o *offer) error {
	if o.from.isLenient() {
		return nil
	}
	return CheckSize(o.JWT, p.announcer.MaxPayload())
}

// checkAhead refuses an iat that is too far ahead of the clock. The clock of the server that has
// written a revision of the bucket counts. The error is a *FutureError, answered with 400.
func checkAhead(p *policy, o *offer) error {
	if o.from.ByRevision() {
		return nil
	}
	return CheckAhead(o.IssuedAt, p.now())
}

// checkIssuer tells the ways of not being signed by an operator apart, as the original's answers
// do. Without an operator only files are taken. It is asked twice: before the lock, and again under
// it if a reload has changed the trust. Its errors are ErrIdentityKey, ErrUntrusted, ErrSelfSigned
// and ErrBadIssuer. The last three let the signing service be asked.
func checkIssuer(_ *policy, o *offer) error {
	operators := o.trust.Operators
	switch {
	case operators.Trusts(o.Issuer), len(operators) == 0 && o.from.File:
		return nil
	// The operator's own key signs nothing if its JWT demands signing keys.
	case operators.RequireSigningKey(o.Issuer):
		return ErrIdentityKey
	case len(operators) == 0 && trust.IsOperatorKey(o.Issuer):
		return fmt.Errorf("%w: no operator is configured (operatorjwtpath)", ErrUntrusted)
	case trust.IsOperatorKey(o.Issuer):
		return fmt.Errorf("%w: %s has signed it, which is not a key of an "+
			"operator that is configured here", ErrUntrusted, o.Issuer)
	case o.Issuer == o.Subject:
		return fmt.Errorf("%w: the operator must sign it, for instance with nsc push",
			ErrSelfSigned)
	default:
		return fmt.Errorf("%w: %s has signed it, but the operator must", ErrBadIssuer, o.Issuer)
	}
}

// decide returns why an offer that inspect has passed may not replace what is stored, nil if it
// may. errSame means that there is nothing to do. The rules are decisions in rules.go, in their
// order. It runs under the account's lock. o.current must be set. It may cost a signature check,
// and no I/O.
func (p *policy) decide(o *offer) error { return p.first(decisions, o) }

// checkSame returns errSame for what is stored already. What has expired since gets the refusal. It
// comes before the signature check: the same bytes were verified when they were stored.
func checkSame(p *policy, o *offer) error {
	served := o.current.served
	isExpired := o.Expires > 0 && o.Expires <= p.now().Unix()
	if served != nil && served.Hash == o.Hash && (o.from.isLenient() || !isExpired) {
		return errSame
	}
	return nil
}

// checkSignature refuses what its issuer has not signed.
func checkSignature(_ *policy, o *offer) error { return o.verify() }

// checkSameClaims returns errSame for claims that are stored in other bytes: the header of a
// version 1 JWT is not signed. It comes after the signature check, because other bytes may have
// another signature.
func checkSameClaims(_ *policy, o *offer) error {
	served := o.current.served
	if served != nil && bytes.Equal(served.Payload, o.Payload) && !o.from.ByRevision() {
		return errSame // of the bucket all servers have the same bytes
	}
	return nil
}

// checkWritable refuses everything but files if this server is read-only. It comes late, so that an
// unchanged JWT is no error on a read-only server, and a bad one is told what is wrong with it.
func checkWritable(p *policy, o *offer) error {
	if p.readOnly && !o.from.File {
		return ErrReadOnly
	}
	return nil
}

// checkSpelling refuses a client's JWT whose header may have been changed.
func checkSpelling(_ *policy, o *offer) error {
	if o.from.isClient() && trust.IsRespelled(o.JWT, o.claims.Version) {
		return fmt.Errorf("%w: %w", ErrBadJWT, trust.ErrRespelled)
	}
	return nil
}

// checkClaims returns why the claims are refused, a *BlockedError; nil if they are not. The
// signature must have been verified. What is taken although nats-servers refuse it gets a warning.
//
// There are two sources of issues. Those of the jwt library hold for all nats-servers, and those of
// claimcheck for the version that it knows. An issue of time refuses the JWT, unless it is in a
// file or the bucket. Other issues refuse it unless the way in is lenient, the configuration says
// warn, or a peer has taken a JWT that some nats-servers use.
func checkClaims(_ *policy, o *offer) error {
	var found jwt.ValidationResults
	claimcheck.Validate(o.claims, &found)
	// IsBlocking(false) leaves issues of time out.
	isUsed := !found.IsBlocking(false) // by some nats-servers
	if isUsed {
		for _, reason := range claimcheck.Reasons(o.claims, o.trust.isSystem(o.Key)) {
			found.AddError("%s", reason)
		}
	}
	isTimely := o.from.isLenient() || !slices.ContainsFunc(found.Issues, isAboutTime)
	isLenient := o.from.isLenient() || o.trust.WarnOnly || o.from.Peer && isUsed
	switch isRefused := found.IsBlocking(false); {
	case !isTimely, isRefused && !isLenient:
		return blocked(o.claims.Claims(), &found)
	case isRefused:
		o.warning = "nats-server " + claimcheck.Version + " refuses it: " +
			strings.Join(blocked(o.claims.Claims(), &found).Issues, "; ")
	}
	return nil
}

// isAboutTime reports whether an issue will pass, or has come, with time.
func isAboutTime(i *jwt.ValidationIssue) bool { return i.TimeCheck }

// checkNewer returns an error if an offer would take the account back to an older version, or if it
// was deleted. A file brings back what was deleted. The errors are *OlderError, *DeletedError,
// ErrLesser and ErrReplaced.
//
// A file in an empty place has no floor to pass: the owner of the directory has put it there. If
// both a floor and a tombstone refuse, the floor is told as long as something is stored.
func checkNewer(p *policy, o *offer) error {
	if o.from.ByRevision() {
		return nil
	}
	var older error
	if o.current.stored != nil || !o.from.File {
		older = CheckFloor(&o.Account, o.current.floor, o.from, p.allowOlder)
	}
	if deleted := o.current.tombstone.check(o); deleted != nil &&
		(older == nil || o.current.stored == nil) {
		return deleted
	}
	return older
}

// version is what the index gets of an offer that is committed. The offer must have been read. Seq
// and Stamp are zero here: the store sets them with the commit.
func (o *offer) version() jwtstore.Version {
	v := &Verdict[*Account]{Found: &o.Account, mark: o.trust.mark}
	return versionOf(v, o.current.floor.After(o.IssuedAt, o.Hash))
}

// compareIndex compares an offer with what the index knows. It does not verify the signature.
// errSame means that there is nothing to do, nil that the offer may be newer.
func (p *policy) compareIndex(o *offer, known jwtstore.Version) error {
	switch {
	case known.Servable && known.Mark == o.trust.mark && known.Hash == o.Hash:
		return errSame
	case !known.Stored(), o.read() != nil, o.Subject != o.Key:
		return nil // a tombstone may say more
	}
	return CheckFloor(&o.Account, known.Floor, o.from, p.allowOlder)
}

// The rules below hold for activation tokens too.

// CheckFloor returns why a JWT may not come after the newest version that was ever accepted: an
// *OlderError, ErrLesser or ErrReplaced. allowed is whether a client may go back. floor is zero if
// none was accepted, and any JWT may follow.
//
// Within the same second clients and servers differ. From a client the later push wins, unless it
// brings back what was replaced. Between servers the greater hash wins, whatever came first, so
// that all of them end with the same JWT.
func CheckFloor(offered *Account, floor jwtstore.Floor, from Origin, allowed bool) error {
	switch {
	case offered.IssuedAt > floor.IssuedAt, offered.Hash == floor.Hash, allowed && !from.Peer:
		return nil
	case offered.IssuedAt < floor.IssuedAt:
		return &OlderError{Stored: time.Unix(floor.IssuedAt, 0),
			Offered: time.Unix(offered.IssuedAt, 0)}
	case from.Peer && bytes.Compare(offered.Hash[:], floor.Hash[:]) < 0:
		return ErrLesser
	case !from.Peer && floor.HasReplaced(offered.Hash):
		return ErrReplaced
	}
	return nil
}

// RaiseFloor returns the floor after a JWT was found in the store that may be newer than what the
// index knows: it was put there by hand, or the index is new. One that was too far ahead of the
// clock when it was written does not count. stamp says when the file was written. The result is
// never older than floor.
func RaiseFloor(
	floor jwtstore.Floor, found *Account, stamp jwtstore.Stamp, now time.Time,
) jwtstore.Floor {
	if written := stamp.Modified(); written.After(now) {
		now = written // this server's clock was right then, and is behind now
	}
	older := found.IssuedAt < floor.IssuedAt ||
		found.IssuedAt == floor.IssuedAt && floor.HasReplaced(found.Hash)
	if older || isAhead(found.IssuedAt, now) {
		return floor
	}
	return floor.After(found.IssuedAt, found.Hash)
}

// CheckEpoch refuses an iat below zero. issuedAt is in Unix seconds.
func CheckEpoch(issuedAt int64) error {
	if issuedAt >= 0 {
		return nil
	}
	return fmt.Errorf("its iat is %d, which is before 1970: issue it anew, "+
		"with a clock that is right", issuedAt)
}

// CheckAhead refuses an iat that is too far ahead of the clock. The error is a *FutureError.
// maxAhead itself is allowed, and one second more is not.
func CheckAhead(issuedAt int64, now time.Time) error {
	if !isAhead(issuedAt, now) {
		return nil
	}
	return &FutureError{Offered: time.Unix(issuedAt, 0), Now: now}
}

// isAhead reports whether an iat is too far ahead of the clock.
func isAhead(issuedAt int64, now time.Time) bool { return issuedAt > now.Add(maxAhead).Unix() }

// CheckSize refuses a JWT that can't be announced. limit is in bytes; 0 means no limit. The error
// is a *TooLargeError. The limit is max_payload of the nats-servers.
func CheckSize(token []byte, limit int) error {
	if limit <= 0 || len(token) <= limit {
		return nil
	}
	return &TooLargeError{Size: len(token), Limit: limit}
}

// Validate returns why claims can't be used now, a *BlockedError; nil if they can.
func Validate(claims jwt.Claims) error {
	var found jwt.ValidationResults
	claims.Validate(&found)
	if !found.IsBlocking(true) {
		return nil
	}
	return blocked(claims.Claims(), &found)
}

// blocked is the error with every issue that was found. Dates are added, since the library's texts
// have none.
func blocked(claims *jwt.ClaimsData, found *jwt.ValidationResults) *BlockedError {
	e := &BlockedError{}
	for _, issue := range found.Issues {
		text := issue.Description
		switch text { // the texts of the jwt library
		case "claim is expired":
			e.reason = "expired"
			text += describeDates("exp", claims.Expires, claims.IssuedAt)
		case "claim is not yet valid":
			e.reason = cmp.Or(e.reason, "not-yet-valid") // what has expired will never be valid
			text += describeDates("nbf", claims.NotBefore, claims.IssuedAt)
		}
		e.Issues = append(e.Issues, text)
	}
	return e
}

// describeDates says why claims can't be used now, for the date of this name. The clock of this
// server may be wrong as well.
func describeDates(name string, date, issuedAt int64) string {
	text := fmt.Sprintf(": its %s is %s, and this server's clock shows %s", name,
		logging.Time(time.Unix(date, 0)), logging.Time(time.Now()))
	if name == "exp" && date < issuedAt {
		text += "; that is before its iat, " + logging.Time(time.Unix(issuedAt, 0)) +
			": it was never valid"
	}
	return text
}
