package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// appliedKey is the key of an applied in the context of a Put or Delete.
type appliedKey struct{}

// applied is the revision that a Put or Delete is of.
type applied struct {
	revision
	again bool // also if it was applied before: the directory has something else
}

// applier puts revisions of the bucket into the directory. Each goes through the policy, which
// calls put or delete with the lock of its key.
type applier struct {
	dir       *jwtstore.Dir
	revisions *revisions
	accounts  Accounts // of Use
	tokens    Tokens
	log       *slog.Logger // limited
	refused   refusedKeys
}

// refusedKeys are those whose last revision the policy does not take.
type refusedKeys struct {
	mu   sync.Mutex // guards keys
	keys map[string]struct{}
}

// maxRefused bounds the keys that are remembered. What is beyond it is not counted.
const maxRefused = 10000

// set records whether a key is one of them.
func (k *refusedKeys) set(key string, isRefused bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !isRefused:
		delete(k.keys, key)
	case k.keys == nil:
		k.keys = map[string]struct{}{key: {}}
	case len(k.keys) < maxRefused:
		k.keys[key] = struct{}{}
	}
}

// len returns how many there are.
func (k *refusedKeys) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys)
}

// apply stores a revision, unless a later one of its key is. refused says that the policy does not
// take it. The error is that of the store, which may take it later.
func (a *applier) apply(ctx context.Context, r revision) (refused bool, err error) {
	// The policy is not asked, and the JWT not verified, for what was applied before.
	if r.seq <= a.revisions.last(r.key) {
		a.refused.set(r.key, false) // what this server has pushed itself
		return false, nil
	}
	return a.applyAs(ctx, applied{revision: r})
}

// applyAs is apply, also for a revision that was applied before.
func (a *applier) applyAs(ctx context.Context, r applied) (refused bool, err error) {
	ctx = context.WithValue(ctx, appliedKey{}, r)
	from := accounts.Origin{Kind: accounts.KindKV, Peer: true, Broadcast: true,
		ByHand: !r.isOfServer(), User: r.header.Get(headerUser)}
	switch {
	case trust.IsActivationHash(r.key):
		if err = activations.Check(r.key, r.value); err == nil {
			_, _, err = a.tokens.Put(ctx, r.value, from)
		}
	case r.isTombstone():
		err = a.accounts.Replace(ctx, r.key, r.value, from)
	default:
		_, err = a.accounts.Put(ctx, r.key, r.value, from)
	}
	switch {
	case err == nil, errors.Is(err, accounts.ErrAudit):
		a.refused.set(r.key, false)
		return false, nil
	case isOfStore(err):
		return false, err
	}
	a.refused.set(r.key, true)
	a.log.Warn(fmt.Sprintf("%s - revision %d of the bucket is not taken, and counts as absent: %s",
		logging.ShortKey(r.key), r.seq, err))
	return true, nil
}

// isOfStore reports whether the store could not do what the policy has allowed, or could not say.
func isOfStore(err error) bool {
	for _, e := range []error{accounts.ErrSave, accounts.ErrUnreadable, jwtstore.ErrClosed,
		jwtstore.ErrDirectory, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return accounts.Reason(err) == "save-failed"
}

// put is Put for a revision of the bucket.
func (a *applier) put(ctx context.Context, key string, jwt []byte, allow allowPut) (uint64, error) {
	undo, isAllowed := func() {}, false
	seq, err := a.dir.Put(ctx, key, accounts.KindKV, jwt,
		func(now jwtstore.Stored) (v jwtstore.Version, err error) {
			var ok bool
			r := appliedOf(ctx)
			if undo, ok = a.revisions.begin(key, r.seq, r.again); !ok {
				return v, accounts.ErrSuperseded
			}
			v, err = allow(now)
			v.Floor = v.Floor.WithReplaced(r.replaced())
			isAllowed = err == nil
			return v, err
		})
	if err != nil && isAllowed {
		undo()
	}
	return seq, err
}

// delete is Delete for a revision of the bucket.
func (a *applier) delete(ctx context.Context, key string, allow allowDelete) (uint64, error) {
	undo, isAllowed := func() {}, false
	seq, err := a.dir.PutTombstone(ctx, key, accounts.KindKV,
		func(now jwtstore.Stored) (tombstone []byte, err error) {
			var ok bool
			r := appliedOf(ctx)
			if undo, ok = a.revisions.begin(key, r.seq, r.again); !ok {
				return nil, accounts.ErrSuperseded
			}
			tombstone, err = allow(now)
			isAllowed = err == nil
			return tombstone, err
		})
	if err != nil && isAllowed {
		undo()
	}
	return seq, err
}

// appliedOf returns the revision that a Put or Delete is of.
func appliedOf(ctx context.Context) applied {
	r, _ := ctx.Value(appliedKey{}).(applied)
	return r
}
