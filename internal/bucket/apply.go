package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// appliedKey is the key of an applied in the context of a Put or Delete. The policy's Put has no
// argument for it, and calls that of the Store with the same context.
type appliedKey struct{}

// applied is the revision that a Put or Delete is of. The zero applied is of no revision: begin
// refuses it.
type applied struct {
	revision
	again bool // also if it was applied before: the directory has something else
}

// applier puts revisions of the bucket into the directory. Each goes through the policy, which
// calls put or delete with the lock of its key.
//
// A commit, the session and a settle may apply revisions of one key at once. Which is the later one
// is decided under the directory's lock of the key, by revisions.begin.
type applier struct {
	dir       *jwtstore.Dir
	revisions *revisions
	policy    atomic.Pointer[policy] // of Serve; there is one whenever there is a connection
	log       *slog.Logger           // limited
	refused   refusedKeys
}

// policy is what a revision goes through.
type policy struct {
	accounts Accounts
	tokens   Tokens
}

// refusedKeys are those whose last revision the policy does not take. They are counted for
// State.Refused. The zero value is ready.
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
// take it. The error is that of the store, which may take it later. A revision that is refused is
// logged, and is not tried again before everything is compared.
func (a *applier) apply(ctx context.Context, r revision) (refused bool, err error) {
	// The policy is not asked, and the JWT not verified, for what was applied before.
	if r.seq <= a.revisions.last(r.key) {
		a.refused.set(r.key, false) // what this server has pushed itself
		return false, nil
	}
	return a.applyAs(ctx, applied{revision: r})
}

// applyAs is apply, also for a revision that was applied before. It takes as long as the disk.
// false and nil mean that the journal has it on stable storage, or that a later one of its key is
// stored.
func (a *applier) applyAs(ctx context.Context, r applied) (refused bool, err error) {
	ctx = context.WithValue(ctx, appliedKey{}, r)
	// The committer has told the nats-servers, so Broadcast lets them only be asked what they run.
	from := accounts.Origin{Kind: accounts.KindKV, Peer: true, Broadcast: true,
		ByHand: !r.isOfServer(), User: r.header.Get(headerUser)}
	policy := a.policy.Load()
	switch {
	case trust.IsActivationHash(r.key):
		_, _, err = policy.tokens.PutAs(ctx, r.key, r.value, from)
	case r.isTombstone():
		err = policy.accounts.Replace(ctx, r.key, r.value, from)
	default:
		_, err = policy.accounts.Put(ctx, r.key, r.value, from)
	}
	switch {
	// With ErrAudit it is stored too: only its line of the audit log is missing.
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
// Such a revision is tried again. Any other error is a refusal of the policy, which a later attempt
// would get as well.
func isOfStore(err error) bool {
	faults := []error{accounts.ErrSave, activations.ErrSave, accounts.ErrUnreadable, jwtstore.ErrClosed,
		jwtstore.ErrDirectory, context.Canceled}
	return slices.ContainsFunc(faults, func(fault error) bool { return errors.Is(err, fault) })
}

// begin records the revision that a Put or Delete is of, and returns it. The error is
// accounts.ErrSuperseded if that is not later than what was applied of the key. undo is that of
// revisions.begin.
func (a *applier) begin(ctx context.Context, key string) (r applied, undo func(), err error) {
	r, _ = ctx.Value(appliedKey{}).(applied)
	undo, ok := a.revisions.begin(key, r.seq, r.again)
	if !ok {
		err = accounts.ErrSuperseded
	}
	return r, undo, err
}

// put is Put for a revision of the bucket. The error is that of begin, of allow, or of the store.
func (a *applier) put(ctx context.Context, key string, jwt []byte, allow allowPut) (uint64, error) {
	// The revision of a refused one stays recorded. That of one which could not be stored does not:
	// it comes again.
	unstored := func() {}
	seq, err := a.dir.Put(ctx, key, accounts.KindKV, jwt,
		func(now jwtstore.Stored) (v jwtstore.Version, err error) {
			r, undo, err := a.begin(ctx, key)
			if err != nil {
				return v, err
			}
			if v, err = allow(now); err == nil {
				unstored = undo
			}
			// What another server replaced of this second must not come back here, although it
			// never was here.
			v.Floor = v.Floor.WithReplaced(r.replaced())
			return v, err
		})
	if err != nil {
		unstored()
	}
	return seq, err
}

// delete is Delete for a revision of the bucket. It bars older JWTs also on a server that never had
// the account: so it is PutTombstone, which needs nothing stored, and not Delete.
func (a *applier) delete(ctx context.Context, key string, allow allowDelete) (uint64, error) {
	unstored := func() {} // as in put
	seq, err := a.dir.PutTombstone(ctx, key, accounts.KindKV,
		func(now jwtstore.Stored) (tombstone []byte, err error) {
			_, undo, err := a.begin(ctx, key)
			if err != nil {
				return nil, err
			}
			if tombstone, err = allow(now); err == nil {
				unstored = undo
			}
			return tombstone, err
		})
	if err != nil {
		unstored()
	}
	return seq, err
}
