package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"weak"

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

	vouched atomic.Pointer[weak.Pointer[Account]] // by whom when it was last looked at
}

// vouchedBy is whom vouch has returned, nil if that is forgotten.
func (p *permit) vouchedBy() *Account {
	if a := p.vouched.Load(); a != nil {
		return a.Value()
	}
	return nil
}

// at is the verdict on the same bytes under another stamp.
func (p *permit) at(stamp Stamp) *permit {
	return &permit{stamp: stamp, token: p.token, claims: p.claims, payload: p.payload, activation: p.activation, err: p.err}
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

// GetActivation returns a stored activation token, checked: it decodes, the hash is its own, and the account that has signed
// it is stored and still vouches for it. It may have expired. The error is or wraps ErrNoActivation, or wraps ErrUnreadable or
// ErrDamaged.
func (r *Registry) GetActivation(ctx context.Context, hash string) (*Activation, error) {
	p, err := r.loadPermit(hash)
	if err != nil {
		return nil, err
	}
	return r.vouched(ctx, p)
}

// vouched is the token of a permit, if an account vouches for it.
func (r *Registry) vouched(ctx context.Context, p *permit) (*Activation, error) {
	known := p.vouchedBy()
	account, err := r.vouch(ctx, p.claims, known)
	switch {
	case errors.Is(err, ErrActivationIssuer):
		return nil, fmt.Errorf("%w: %w", ErrNoActivation, err)
	case err != nil:
		return nil, err
	}
	if account != known {
		pointer := weak.Make(account)
		p.vouched.Store(&pointer)
	}
	return p.activation, nil
}

// VerifyActivation judges what another server has under a hash, without storing it. It may have expired.
func (r *Registry) VerifyActivation(ctx context.Context, hash string, token []byte) (*Activation, error) {
	p := readPermit(hash, bytes.TrimSpace(token))
	if p.err != nil {
		return nil, p.err
	}
	return r.vouched(ctx, p)
}

// GetRawActivation returns what lies in the store under a hash, unchecked, for people to look at.
func (r *Registry) GetRawActivation(_ context.Context, hash string) ([]byte, error) {
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
	case token == nil:
		return had, had.err
	case had != nil && bytes.Equal(had.token, token):
		if had.stamp != stamp {
			r.permits.put(hash, had.at(stamp))
		}
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
