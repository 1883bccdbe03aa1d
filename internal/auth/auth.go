// Package auth decides which client may read and which may write. A client shows a password or a
// certificate.
//
// A bcrypt compare takes 50 to 100 ms of CPU time, which is too much for each GET of each
// nats-server. So a valid Authorization header is remembered, and the same header in many requests
// at once is compared once. At most two compares run, and an address that fails again and again is
// slowed down:
//
//	certificate.go  cache.go  login.go           limiter.go
//	certificate? ── cached? ─ being compared? ── slowed down? ── bcrypt
//
// It knows no route, no JWT and no configuration file.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"golang.org/x/sync/singleflight"
)

// Role is what a client may do. Each role includes the ones before it.
type Role int

const (
	Unauthenticated Role = iota // may do nothing for which a role is needed
	Anonymous                   // may read what is open to every client
	Reader                      // may read what takes credentials
	Writer                      // may write
)

// User is an account of this server with a password.
type User struct {
	Name string
	Hash string // bcrypt: $2a$, $2b$ and $2y$ mean the same
	Role Role
}

// Policy says what each client may do. The zero value permits nothing.
type Policy struct {
	Users []User

	// WithoutCredentials is the role of a request that shows none: Unauthenticated or Anonymous.
	WithoutCredentials Role

	// Roots are the authorities of client certificates; nil: certificates are ignored.
	Roots *x509.CertPool
	// Certificates has the roles of certificates by a name in them: a DNS, mail or URI alternative
	// name, or the common name of a certificate without alternative names. That one does not count
	// under an authority with name constraints. The letter case of DNS names does not matter.
	Certificates map[string]Role
	// OtherCertificates is the role of a certificate with no name in Certificates.
	OtherCertificates Role
}

// Credentials is what a request shows of its sender.
type Credentials struct {
	Authorization string              // the header; "": none
	Certificates  []*x509.Certificate // the client's own, then intermediate ones; nil: none
	Address       string              // host:port
}

// The errors of Authorize.
var (
	ErrNoCredentials  = errors.New("authorization required")
	ErrBadCredentials = errors.New("wrong user or password")
	ErrForbidden      = errors.New("not allowed for this user")
)

// RetryError says that the credentials were not checked.
type RetryError struct {
	After  time.Duration // when it is worth trying again
	Slowed bool          // too many failures from this address; false: too many logins at once
}

// Error says how long to wait only if the address is slowed down.
func (e *RetryError) Error() string {
	if e.Slowed {
		return fmt.Sprintf("too many failed logins from this address: try again in %d s",
			e.Seconds())
	}
	return "too many logins at once: try again later"
}

// Seconds is After in whole seconds, at least 1.
func (e *RetryError) Seconds() int { return max(1, int((e.After+time.Second-1)/time.Second)) }

// identity is what credentials have proven.
type identity struct {
	name string
	role Role
}

// Authorizer applies one policy. A reload makes another one with the same Limiter, and an empty
// cache.
type Authorizer struct {
	policy Policy
	// These fields are not changed after NewAuthorizer.
	users        map[string]User // by name
	certificates map[string]Role // by name, see foldName
	limiter      *Limiter
	compares     singleflight.Group // by cache key
	cache        *cache
	seed         maphash.Seed // for dummy
}

// NewAuthorizer returns an Authorizer that shares the limits of l with the others. Of two users
// with the same name, the last one counts. A certificate with two roles has the greater one.
func NewAuthorizer(p Policy, l *Limiter) *Authorizer {
	a := &Authorizer{policy: p, users: map[string]User{},
		certificates: map[string]Role{}, limiter: l, cache: newCache(), seed: maphash.MakeSeed()}
	for _, u := range p.Users {
		a.users[u.Name] = u
	}
	for name, role := range p.Certificates {
		name = foldName(name)
		a.certificates[name] = max(role, a.certificates[name])
	}
	return a
}

// Authorize checks that a client may do what needs a role. It returns the name that the client has
// proven, "" if no credentials were needed. The error is ErrNoCredentials, ErrBadCredentials,
// ErrForbidden if the client is known and may not, a *RetryError, or that of ctx. It may be called
// from any goroutine.
func (a *Authorizer) Authorize(ctx context.Context, c Credentials, need Role) (string, error) {
	// What is open to every client is not looked at further, even with a wrong password.
	if need <= a.policy.WithoutCredentials {
		return "", nil
	}
	id, err := a.identify(ctx, c, need)
	if err != nil {
		return "", err
	}
	// The client is known, so another password would not help: a 403, not a 401.
	if id.role < need {
		return "", ErrForbidden
	}
	return id.name, nil
}

// identify takes a certificate that is enough, otherwise a password. A certificate that is not
// enough counts if there is no password. Authorize then refuses it.
func (a *Authorizer) identify(ctx context.Context, c Credentials, need Role) (identity, error) {
	id, certified := a.certified(c.Certificates)
	switch {
	case certified && (id.role >= need || c.Authorization == ""):
		return id, nil
	case c.Authorization == "":
		return identity{}, ErrNoCredentials
	}
	return a.login(ctx, c)
}
