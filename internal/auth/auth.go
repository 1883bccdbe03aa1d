// Package access says who may read and who may write: users with a password, and clients with a certificate.
//
// A bcrypt compare takes 50 to 100 ms of CPU, and a herd of nats-servers must not pay that for each GET. So an
// Authorization header that was right once is remembered, the same header coming in many times at once is compared
// once, at most two compares run, and an address that fails again and again is slowed down:
//
//	Admit ─ certificate? ─ remembered? ─ being compared? ─ slowed down? ─ its turn? ─ one of two seats ─ bcrypt
//	        certificate.go memory.go     guard.go          desk.go
//
// It knows no route, no JWT and no configuration file.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Role is what somebody may do. Who has a role may also do what the ones before it may.
type Role int

const (
	Nobody Role = iota // may do nothing that is guarded
	Guest              // may read what is open to everybody
	Reader             // has shown who it is, and may read
	Writer             // may also write
)

// User is somebody with a password.
type User struct {
	Name string
	Hash string // bcrypt: $2a$, $2b$ and $2y$ mean the same
	Role Role
}

// Rules is who may do what. The zero value lets nobody do anything.
type Rules struct {
	Users     []User
	Everybody Role // of who shows nothing at all: Nobody or Guest

	Roots        *x509.CertPool  // who vouches for client certificates; nil: they count for nothing
	Certificates map[string]Role // by a name in the certificate: common name, or DNS, mail or URI alternative name
	Certified    Role            // of a certificate with no name in Certificates
}

// Visitor is what a request shows of who sent it.
type Visitor struct {
	Authorization string              // the header, "" if there is none
	Certificates  []*x509.Certificate // the client's own and the intermediate ones it sent; nil if there are none
	Address       string              // host:port
}

var (
	ErrUnknown   = errors.New("authorization required")
	ErrWrong     = errors.New("wrong user or password")
	ErrForbidden = errors.New("not allowed for this user")
)

// LaterError says that the credentials were not looked at.
type LaterError struct {
	After  time.Duration // when it is worth trying again
	Slowed bool          // too many failures from this address; otherwise too many logins at once
}

func (e *LaterError) Error() string {
	if e.Slowed {
		return fmt.Sprintf("too many failed logins from this address: try again in %d s", e.Seconds())
	}
	return "too many logins at once: try again later"
}

// Seconds is After in whole seconds, at least 1.
func (e *LaterError) Seconds() int {
	return max(1, int((e.After+time.Second-1)/time.Second))
}

// identity is whom a visitor has proven to be.
type identity struct {
	name string
	role Role
}

// Admit lets a visitor in who may do what needs a role, and returns the name of whoever had to prove it; it is "" where
// everybody is let in. The error is ErrUnknown if the visitor shows nothing, ErrWrong, ErrForbidden if it is known and
// may not, a *LaterError, or that of ctx.
func (g *Guard) Admit(ctx context.Context, v Visitor, need Role) (name string, err error) {
	if need <= g.rules.Everybody {
		return "", nil
	}
	who, err := g.identify(ctx, v, need)
	switch {
	case err != nil:
		return "", err
	case who.role < need:
		return "", ErrForbidden
	}
	return who.name, nil
}

// identify takes a certificate that is enough, otherwise a password.
func (g *Guard) identify(ctx context.Context, v Visitor, need Role) (identity, error) {
	who, certified := g.certified(v.Certificates)
	switch {
	case certified && (who.role >= need || v.Authorization == ""):
		return who, nil
	case v.Authorization == "":
		return identity{}, ErrUnknown
	}
	return g.login(ctx, v)
}
