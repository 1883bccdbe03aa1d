package accounts

import (
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/trust"
)

// The rules below hold for activation tokens too.

// IsAhead reports whether an iat is so far ahead of the clock that the JWT would block its account.
func IsAhead(issuedAt int64, now time.Time) bool { return ahead(issuedAt, now) }

// IsLesser reports whether the offered one of two JWTs of one second loses on every server.
func IsLesser(offered, stored []byte) bool { return lesser(offered, stored) }

// Validate reports whether claims can be used now. The error is a *BlockedError.
func Validate(claims interface{ Validate(*jwt.ValidationResults) }) error { return validate(claims) }

// VersionOf describes a JWT for the audit log. head may be nil.
func VersionOf(head *trust.Head, token []byte) *Version { return describe(head, token) }

// HasOperator reports whether an operator is configured.
func (r *Registry) HasOperator() bool { return r.trust.Load().Operator != nil }
