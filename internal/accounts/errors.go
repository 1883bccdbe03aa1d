package accounts

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What Lookup, Raw and Announce report.
var (
	ErrNotFound   = errors.New("no matching account JWT")
	ErrUnreadable = errors.New("the store can't be read")        // wrapped with the cause
	ErrDamaged    = errors.New("the stored JWT is not servable") // wrapped with the cause
	ErrAnnounce   = errors.New("error sending notification of change")
)

// What Submit reports of a JWT it does not take. The texts of the wrapped causes are for logs.
var (
	ErrBadJWT     = errors.New("bad JWT in request")
	ErrMismatch   = errors.New("pub keys don't match")
	ErrBadSubject = errors.New("bad JWT Subject in request")
	ErrSelfSigned = errors.New("the account signed it itself")
	ErrBadIssuer  = errors.New("another account signed it")
	ErrUntrusted  = errors.New("untrusted issuer in request")
	ErrLesser     = errors.New("another JWT of the same second is stored, which wins everywhere")
	ErrReadOnly   = errors.New("this server is read-only")
	ErrSave       = errors.New("error saving JWT") // wrapped with the cause
)

// Absent says whether an error of Lookup or Find means that there is nothing to show: no such account, or nobody knows.
func Absent(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnreadable) }

// BlockedError says that a JWT is signed by the operator but its claims can't be used now.
type BlockedError struct {
	Issues []string // every validation issue, warnings too
}

func (e *BlockedError) Error() string {
	return "blocking validation errors: " + strings.Join(e.Issues, "; ")
}

// OlderError says that a newer JWT of the same account is stored.
type OlderError struct {
	Stored, Offered time.Time // when each was issued
}

func (e *OlderError) Error() string {
	return fmt.Sprintf("a newer JWT is stored: it was issued at %s, this one at %s",
		e.Stored.UTC().Format(time.RFC3339), e.Offered.UTC().Format(time.RFC3339))
}

// FutureError says that a JWT was issued too far ahead of this server's clock.
type FutureError struct {
	Offered, Now time.Time
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("the JWT was issued at %s, which is more than 5 minutes ahead of this server's clock (%s)",
		e.Offered.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// Until is when it is not too far ahead any more.
func (e *FutureError) Until() time.Time { return e.Offered.Add(-maxAhead) }

// TooLargeError says that a JWT is larger than what nats-server takes in one message.
type TooLargeError struct {
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the JWT has %d bytes, nats-server takes no more than %d (max_payload)", e.Size, e.Limit)
}
