package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/nats-io/jwt/v2"
)

// permit is the verdict on one version of a stored activation token, but for the account that vouches for it: that may change at
// any time.
type permit struct {
	stamp      Stamp // zero: the store has none
	token      []byte
	claims     *jwt.ActivationClaims
	payload    []byte
	activation *Activation // nil if err is set
	err        error       // wraps ErrDamaged

	vouched atomic.Pointer[Account] // by whom when it was last looked at
}

func (p *permit) size() int { return len(p.token) }

// readPermit judges what is stored under a hash: it decodes, and the hash is its own. A nil token is damaged too.
func readPermit(hash string, token []byte) *permit {
	p := &permit{token: token}
	var err error
	if p.claims, p.payload, err = readActivation(bytes.TrimSpace(token)); err == nil {
		if own, _ := p.claims.HashID(); own != hash {
			err = errors.New("it has another hash")
		}
	}
	if err != nil {
		p.err = fmt.Errorf("%w: %w", ErrDamaged, err)
		return p
	}
	p.activation = newActivation(hash, token, p.claims)
	return p
}

// CheckActivation says what is wrong with a token that is said to have this hash, but for who has signed it. The error wraps
// ErrDamaged.
func CheckActivation(hash string, token []byte) error { return readPermit(hash, token).err }

// LookupActivation returns a stored activation token, checked: it decodes, the hash is its own, and the account that has signed
// it is stored and still vouches for it. It may have expired. The error is or wraps ErrNoActivation, or wraps ErrUnreadable or
// ErrDamaged.
func (r *Registry) LookupActivation(ctx context.Context, hash string) (*Activation, error) {
	p, err := r.loadPermit(hash)
	if err != nil {
		return nil, err
	}
	account, err := r.vouch(ctx, p.claims, p.vouched.Load())
	switch {
	case errors.Is(err, ErrActivationIssuer):
		return nil, fmt.Errorf("%w: %w", ErrNoActivation, err)
	case err != nil:
		return nil, err
	}
	p.vouched.Store(account)
	return p.activation, nil
}

// RawActivation returns what lies in the store under a hash, unchecked, for people to look at.
func (r *Registry) RawActivation(_ context.Context, hash string) ([]byte, error) {
	if !IsActivationHash(hash) { // an account's key, say
		return nil, ErrNoActivation
	}
	token, _, err := r.tokens.Load(hash, Stamp{})
	return token, noActivation(err)
}

func noActivation(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return ErrNoActivation
	default:
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
}

// loadPermit returns the verdict on what is stored under a hash. Bytes that have been judged before are not verified again, and
// a damaged file is logged once.
func (r *Registry) loadPermit(hash string) (*permit, error) {
	if !IsActivationHash(hash) {
		return nil, ErrNoActivation
	}
	had, known := r.permits.get(hash), Stamp{}
	if had != nil {
		known = had.stamp
	}
	token, stamp, err := r.tokens.Load(hash, known)
	switch {
	case err != nil:
		return nil, noActivation(err)
	case token == nil || had != nil && bytes.Equal(had.token, token):
		return had, had.err
	}
	p := readPermit(hash, token)
	p.stamp = stamp
	r.permits.put(hash, p)
	if p.err != nil {
		r.log.Warn(fmt.Sprintf("%s - the stored activation JWT is not served - %s", short(hash), harmless(p.err.Error())))
	}
	return p, p.err
}
