package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/trust"
)

// GetLocal returns the JWT of an account that this server has, verified: it decodes, it is the
// account's, and the operator signed it. It may have expired. The error is ErrNotFound, or wraps
// ErrUnreadable or ErrDamaged. It asks no other server, and takes as long as the disk.
func (r *Registry) GetLocal(ctx context.Context, key string) (*Account, error) {
	stored, err := r.load(key)
	if r.Unsaved == nil {
		return stored, err
	}
	// A newer version may have been committed since the other one could not be saved. The notifier
	// must not announce the older one in its place.
	a, lost := r.find(ctx, r.Unsaved, key)
	switch {
	case a != nil && (err != nil || a.IssuedAt > stored.IssuedAt):
		return a, nil
	case errors.Is(err, ErrNotFound) && errors.Is(lost, ErrDamaged):
		r.verdicts.logDamaged(key, "", lost)
		return nil, lost
	case errors.Is(err, ErrNotFound) && errors.Is(lost, ErrUnreadable):
		return nil, lost
	}
	return stored, err
}

// find returns the newest JWT of a source that is the account's. Otherwise the error is that of the
// source. A JWT that is refused counts as none. s gives the JWTs that it has one by one.
func (r *Registry) find(ctx context.Context, s Source, key string) (newest *Account, err error) {
	var refused error
	err = s.Find(ctx, key, func(token []byte) error {
		var a *Account
		if a, refused = r.Verify(key, token); a != nil && (newest == nil || a.isNewer(newest)) {
			newest = a
		}
		return refused
	})
	if refused != nil && errors.Is(err, refused) {
		return nil, ErrNotFound
	}
	return newest, err
}

// isNewer compares two JWTs of different servers. It is the rule between servers, of which all must
// choose the same one.
func (a *Account) isNewer(than *Account) bool {
	floor := jwtstore.Floor{IssuedAt: than.IssuedAt, Hash: than.Hash}
	return CheckFloor(a, floor, Origin{Peer: true}, false) == nil
}

// Get returns the JWT of an account: what GetLocal returns at once, and otherwise what other
// servers have, within a second. The primary's JWT is stored. What only a peer has is not: the peer
// may lack what this server learns of the account a moment later. The errors are those of GetLocal.
// It is ErrPrimary while the primary does not answer, and ErrPeers while peers that may have the
// account can't be asked or don't answer.
func (r *Registry) Get(ctx context.Context, key string) (*Account, error) {
	a, err := r.GetLocal(ctx, key)
	primary := *r.primary.Load()
	if err == nil {
		if primary != nil {
			primary.Served(key)
		}
		return a, nil
	}
	// Without an operator the answers of peers could not be verified.
	askPeers := r.Peers != nil && r.HasOperator() && trust.IsAccountKey(key)
	switch {
	case errors.Is(err, ErrNotFound) && (primary != nil || askPeers):
		return r.miss(ctx, key, primary, askPeers)
	case errors.Is(err, ErrDamaged) && primary != nil:
		if a, missed := r.miss(ctx, key, primary, false); missed == nil {
			return a, nil
		}
	}
	return a, err
}

// miss asks other servers for an account, once for all that want to know at the same time. primary
// may be nil. A caller waits for a second at most.
func (r *Registry) miss(
	ctx context.Context, key string, primary Primary, askPeers bool,
) (*Account, error) {
	// An answer that was judged under another trust is none.
	what := fmt.Sprintf("%s %x", key, r.trust.Load().mark)
	a, err := r.misses.Ask(ctx, what, primary != nil, func(ctx context.Context) (*Account, error) {
		return r.askOthers(ctx, key, primary, askPeers)
	})
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrCircle):
		return a, err
	case primary == nil:
		return nil, fmt.Errorf("%w: %w", ErrPeers, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrPrimary, err)
}

// askOthers asks the primary, and peers at the same time. The primary's answer counts more: what it
// lacks does not exist, unless a peer has it.
func (r *Registry) askOthers(
	ctx context.Context, key string, primary Primary, askPeers bool,
) (*Account, error) {
	var found *Account
	err, lacking := ErrNotFound, ErrNotFound // of the primary, and of peers
	var asking sync.WaitGroup
	if askPeers {
		asking.Go(func() { found, lacking = r.find(ctx, r.Peers, key) })
	}
	if primary != nil {
		var a *Account
		if r.index.Get(key).Servable { // it may have been stored since GetLocal
			if a, err := r.GetLocal(ctx, key); err == nil {
				return a, nil
			}
		}
		switch a, err = r.Refresh(ctx, key, primary); {
		case a != nil:
			return a, nil
		case errors.Is(err, ErrCircle):
			return nil, err
		}
	}
	asking.Wait()
	switch {
	case found != nil:
		return found, nil
	case primary == nil:
		return nil, lacking
	case errors.Is(err, ErrNotFound):
		return nil, ErrNotFound
	}
	return nil, err
}

// Refresh asks the primary for an account, whether it is stored or not, and stores the answer. It
// returns what is to be served then, which may be a JWT that can't be stored. If the primary's
// answer can't be taken the error says why, and the Account is the one that was stored before, or
// nil. The error wraps ErrNotFound if the primary has none.
func (r *Registry) Refresh(ctx context.Context, key string, primary Source) (*Account, error) {
	var o *offer
	a, err := AskPrimary(ctx, key, primary, AnswerFuncs[*Account]{
		Put: func(token []byte) (*Account, error) {
			o = newOffer(key, token, FromPrimary, r.trust.Load())
			result, err := r.put(context.WithoutCancel(ctx), o)
			return result.Account, err
		},
		Stored: func() (*Account, error) { return r.GetLocal(ctx, key) },
		Verify: func() (*Account, error) { return r.judge(o) },
	})
	if isA[*DeletedError](err) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return a, err
}

// FromPrimary is where the answers of a primary come from.
var FromPrimary = Origin{Kind: KindPrimary, Peer: true}

// AnswerFuncs are the functions with which a registry takes the answers of a primary. T is
// *Account, or what an activation token is to its registry.
type AnswerFuncs[T comparable] struct {
	Put    func(token []byte) (T, error) // stores an answer; the zero T if it is stored already
	Stored func() (T, error)             // what is stored
	Verify func() (T, error)             // judges the last answer of Put, and stores nothing
}

// AskPrimary asks the primary for a JWT and stores the answer. If that can't be done, the answer is
// served as long as it is verified. The result is that of Registry.Refresh. It is shared by both
// registries.
func AskPrimary[T comparable](
	ctx context.Context, key string, primary Source, r AnswerFuncs[T],
) (a T, err error) {
	var none T
	answered := false
	lacking := primary.Find(ctx, key, func(token []byte) (refused error) {
		answered = true
		if a, refused = r.Put(token); a != none || errors.Is(refused, ErrUnreadable) {
			err = refused
			return refused
		}
		if isFinal(refused) {
			refused = nil // it will be the same when it is asked for next
			if a, err = r.Stored(); err == nil {
				return nil
			}
		}
		if a, err = r.Verify(); err != nil {
			a, _ = r.Stored()
		}
		// Both may refuse it for the same reason, which is told once.
		if err == nil || refused != nil && strings.Contains(refused.Error(), err.Error()) {
			err = refused
		} else {
			err = errors.Join(refused, err)
		}
		return refused
	})
	if !answered {
		return none, lacking
	}
	return a, err
}

// GetRaw is Get for people. A stored JWT that is damaged is returned as it is, unless the primary
// has a good one, or it has a private key in it.
func (r *Registry) GetRaw(ctx context.Context, key string) ([]byte, error) {
	a, err := r.Get(ctx, key)
	if err == nil {
		return a.JWT, nil
	}
	if errors.Is(err, ErrDamaged) {
		token, _, lost := r.Store.Load(key, jwtstore.Stamp{})
		if _, secret := trust.Bare(token); lost == nil && !errors.Is(secret, trust.ErrPrivateKey) {
			return token, nil
		}
	}
	return nil, err
}

// Verify judges a JWT that another server has for an account, and stores nothing. It may have
// expired, but may not be older than what was accepted before. The signature is checked each time.
func (c *catalog) Verify(key string, token []byte) (*Account, error) {
	return c.judge(newOffer(key, token, Origin{Peer: true}, c.trust.Load()))
}

// judge is Verify for an offer of another server. What Put has read and verified of it is not read
// again.
func (c *catalog) judge(o *offer) (*Account, error) {
	if err := o.read(); err != nil {
		return nil, err
	}
	if err := o.trust.Operators.CheckHead(o.Key, o.Head); err != nil {
		return nil, err
	}
	if err := o.verify(); err != nil {
		return nil, err
	}
	text, err := c.Store.Tombstone(o.Key)
	if err != nil {
		return nil, err
	}
	if err := readTombstone(text).check(o); err != nil {
		return nil, err
	}
	known, err := c.update(o.Key, false)
	if err != nil {
		return nil, err
	}
	if err := CheckFloor(&o.Account, known.now.Floor, o.from, false); err != nil {
		return nil, err
	}
	return o.tagged(), nil
}
