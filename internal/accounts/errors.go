package accounts

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// refusal is an error with a word of its own in the audit log.
type refusal struct {
	reason string // that word
	text   string // for the client
}

// NewRefusal returns a sentinel error for a refused JWT. reason is its word in the audit log, see
// Reason.
func NewRefusal(reason, text string) error { return &refusal{reason, text} }

func (e *refusal) Error() string  { return e.text }
func (e *refusal) Reason() string { return e.reason }

// What Get, GetLocal, GetRaw and Announce report; ErrAudit is of Put, Delete and Remove.
var (
	// ErrNotFound is only reported if it is certain that there is none.
	ErrNotFound = errors.New("no matching account JWT")
	// ErrUnreadable is wrapped with the cause: the store or the primary can't tell now.
	ErrUnreadable = errors.New("the store can't be read")
	// ErrPartly is wrapped with the cause: a shard or a file of the store can't be read.
	ErrPartly = fmt.Errorf("%w in part", ErrUnreadable)
	// ErrPeers is wrapped with the cause: other servers may have it, and can't tell now.
	ErrPeers = fmt.Errorf("%w: other servers may have it", ErrUnreadable)
	// ErrBucket is wrapped with the cause: the bucket can't tell now.
	ErrBucket = fmt.Errorf("%w: the bucket does not answer", ErrUnreadable)
	// ErrPrimary is wrapped with the cause: the primary can't tell now.
	ErrPrimary = fmt.Errorf("%w: the primary does not answer as it should", ErrUnreadable)
	// ErrDamaged is wrapped with the cause: what is stored is no JWT, or no trusted one.
	ErrDamaged = errors.New("the stored JWT is not servable")
	// ErrAnnounce is wrapped with the cause.
	ErrAnnounce = errors.New("error sending notification of change")
	// ErrAudit is wrapped with the cause. What Put, Delete or Remove had to do is done.
	ErrAudit = errors.New("this is done, but it is not in the audit: try again later")
	// ErrCircle is reported by a Primary which has asked this server itself.
	ErrCircle = fmt.Errorf("%w: the primary has asked this server itself", ErrUnreadable)
)

// What Put reports of a JWT that it does not take. The wrapped causes are for logs. Most of the
// texts are the original's.
var (
	ErrBadJWT     = NewRefusal("bad-jwt", "bad JWT in request")
	ErrMismatch   = NewRefusal("mismatch", "pub keys don't match")
	ErrBadSubject = NewRefusal("bad-subject", "bad JWT Subject in request")
	ErrSelfSigned = NewRefusal("self-signed", "the account signed it itself")
	ErrBadIssuer  = NewRefusal("bad-issuer", "another account signed it")
	ErrUntrusted  = NewRefusal("untrusted", "untrusted issuer in request")
	// ErrIdentityKey is about an operator of ours, and ErrUntrusted about any other.
	ErrIdentityKey = NewRefusal("identity-key", "the operator's identity key signed it, "+
		"and this operator requires a signing key: sign it with one of the operator's signing keys")
	ErrLesser = NewRefusal("older",
		"another JWT of the same second is stored, which wins everywhere")
	ErrReplaced = NewRefusal("older",
		"it was replaced by another JWT of the same second: issue it anew")
	ErrReadOnly = NewRefusal("read-only", "this server is read-only")
	ErrSave     = NewRefusal("save-failed", "error saving JWT") // wrapped with the cause

	// Before the signing service is asked.
	ErrBadPair = NewRefusal("bad-issuer", "bad JWT Issuer/Subject pair in request")
	ErrNotOwn  = NewRefusal("bad-issuer", "bad JWT issuer is not trusted")
)

// ErrSuperseded is returned by a Committer for a revision of a bucket that has been replaced
// already.
var ErrSuperseded = errors.New("a later revision is stored")

// Outcome says what is known of a commit that several servers share.
type Outcome int

// The outcomes of a commit that has no success.
const (
	NotStored Outcome = iota // it is certain that nothing has changed
	Uncertain                // it may be stored
	Full                     // nothing has changed, and nothing will until there is room
	Elsewhere                // it is stored, but not on this server
)

// outcomes are the words for them.
var outcomes = [...]string{
	NotStored: "not stored: ",
	Uncertain: "outcome unknown: push it again, that is safe: ",
	Full:      "bucket full: ",
	Elsewhere: "committed, but not on this server: ",
}

// CommitError reports that a commit which several servers share has failed, or may have.
type CommitError struct {
	Outcome Outcome
	Why     string // for the client
}

func (e *CommitError) Error() string { return outcomes[e.Outcome] + e.Why }

// Reason is the word of the audit log.
func (*CommitError) Reason() string { return "save-failed" }

// What keeps an account from being deleted.
var (
	ErrSystemAccount = NewRefusal("system-account", "not allowed to delete system account")
	ErrDeletingOff   = NewRefusal("deleting-off",
		"deleting is off: it takes store { allow_delete: true }")
	ErrReplayed   = NewRefusal("replayed", "this request was carried out before")
	ErrNewer      = NewRefusal("newer", "the stored JWT is newer than the request")
	ErrOlderOrder = NewRefusal("replayed",
		"a later request was carried out before, or another one of the same second")
)

// Reason is the audit log's word for an error.
func Reason(err error) string {
	if errors.Is(err, trust.ErrPrivateKey) {
		return "private-key"
	}
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		return r.Reason()
	}
	return "refused"
}

// isFinal reports whether Put will refuse the same JWT for good. A nil error is final too.
func isFinal(err error) bool {
	return err == nil || errors.Is(err, ErrLesser) || errors.Is(err, ErrReplaced) ||
		isA[*OlderError](err) || isA[*DeletedError](err) || isA[*BlockedError](err)
}

// isA reports whether an error is or wraps one of type E.
func isA[E error](err error) bool {
	_, is := errors.AsType[E](err)
	return is
}

// BlockedError reports that the operator signed a JWT whose claims can't be used now.
type BlockedError struct {
	Issues []string // every validation issue, warnings too
	reason string
}

func (e *BlockedError) Error() string {
	return "blocking validation errors: " + strings.Join(e.Issues, "; ")
}

// Reason is the word of the audit log.
func (e *BlockedError) Reason() string { return cmp.Or(e.reason, "blocked") }

// OlderError reports that a newer JWT of the same account is stored.
type OlderError struct {
	Stored, Offered time.Time // when each was issued
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("a newer JWT is stored: it was issued at %s, this one at %s",
		logging.Time(e.Stored), logging.Time(e.Offered))
}

// Reason is the word of the audit log.
func (*OlderError) Reason() string { return "older" }

// ChangedError reports that a JWT is meant for another state of the account than the present one.
type ChangedError struct {
	ETag string // of what is stored, with its quotes; "" if nothing is
}

func (e *ChangedError) Error() string {
	if e.ETag == "" {
		return "the account is not stored, and this JWT was to replace one"
	}
	return "the account has changed, or is there already: the ETag of the stored JWT is " + e.ETag
}

// Reason is the word of the audit log.
func (*ChangedError) Reason() string { return "changed" }

// FutureError reports that a JWT was issued too far ahead of this server's clock.
type FutureError struct {
	Offered, Now time.Time
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("the JWT was issued at %s, which is more than 5 minutes ahead of this "+
		"server's clock (%s)",
		logging.Time(e.Offered), logging.Time(e.Now))
}

// Reason is the word of the audit log.
func (*FutureError) Reason() string { return "future" }

// Until is when the JWT is not too far ahead any more.
func (e *FutureError) Until() time.Time { return e.Offered.Add(-maxAhead) }

// TooLargeError reports that a JWT is larger than what nats-server takes in one message.
type TooLargeError struct {
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the JWT has %d bytes, nats-server takes no more than %d (max_payload)",
		e.Size, e.Limit)
}

// Reason is the word of the audit log.
func (*TooLargeError) Reason() string { return "too-large" }

// DeletedError reports that the account was deleted, and that the JWT is too old to bring it back.
type DeletedError struct {
	At time.Time // of the order
}

func (e *DeletedError) Error() string {
	return fmt.Sprintf("the account was deleted at %s: only a newer JWT brings it back",
		logging.Time(e.At))
}

// Reason is the word of the audit log.
func (*DeletedError) Reason() string { return "deleted" }

// SignError reports why the signing service gave no answer.
type SignError struct{ Cause string }

func (e *SignError) Error() string { return "Failure during signature request. " + e.Cause }

// Reason is the word of the audit log.
func (*SignError) Reason() string { return "signing-failed" }
