package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/logging"
)

// repeatInterval is how often an unchanged JWT is announced again. People push once more to be
// sure.
const repeatInterval = 5 * time.Second

// maxEdits bounds the announcements of changes by hand that are made at a time.
const maxEdits = 32

// Announcer tells nats-servers of changes that are committed.
type Announcer interface {
	// Announce wakes the announcer for the change seq of key, and returns at once.
	Announce(key string, seq uint64) Receipt
	// Heard is Announce for a change that came by a broadcast, which every connected nats-server
	// has heard too. Only those are told that turn out not to have it.
	Heard(key string, seq uint64)
	// Contested says that several JWTs of key were announced, not all of them by this server. A
	// nats-server may get them in another order. So it is asked later what it runs.
	Contested(key string)
	// IsConfigured reports whether there is a NATS to announce on.
	IsConfigured() bool
	// Follow follows the latest change of key, as Announce does, and announces nothing.
	Follow(key string) Receipt
	// Report tells what is known of every nats-server about the stored JWT of key. It waits up to
	// 1.5 s for answers that may come, and a second more if they are to be asked.
	Report(ctx context.Context, key string, ask bool) Report
	// MaxPayload is the largest JWT that can be announced, in bytes; 0 means unknown.
	MaxPayload() int
}

// Announce announces the stored JWT of an account once more, at most every five seconds. The error
// wraps ErrAnnounce.
func (r *Registry) Announce(ctx context.Context, key string) error {
	if _, err := r.announcing.again(ctx, key, KindNotify); err != nil {
		return fmt.Errorf("%w: %w", ErrAnnounce, err)
	}
	return nil
}

// Report tells what is known of every nats-server about an account's stored JWT. It waits up to
// 1.5 s for answers that may come. If ask is set the nats-servers are asked which one they run,
// which takes up to a second more.
func (r *Registry) Report(ctx context.Context, key string, ask bool) Report {
	return r.Announcer.Report(ctx, key, ask)
}

// announcing decides when a stored JWT is announced.
type announcing struct {
	Options
	trust      *atomic.Pointer[Trust]
	edits      errgroup.Group // announcements of what has come by hand; they share a sync
	repeated   Recently       // unchanged JWTs that were announced again
	reasserter reasserter     // of stored JWTs in whose place another one was announced
}

// newAnnouncing returns an announcing under what trust will point to.
func newAnnouncing(o Options, trust *atomic.Pointer[Trust]) *announcing {
	a := &announcing{Options: o, trust: trust, repeated: Recently{Period: repeatInterval}}
	a.edits.SetLimit(maxEdits)
	a.reasserter = reasserter{announce: a.announceStored, accounts: make(map[string]*reassertion)}
	return a
}

// announce announces a change. If it was posted, the log says that there is no NATS.
func (a *announcing) announce(o *offer, seq uint64) Receipt {
	receipt := a.Announcer.Announce(o.Key, seq)
	if o.from.isPosted() && !a.Announcer.IsConfigured() {
		a.logSkipped(o.Key)
	}
	return receipt
}

// again announces what is stored, unless that happened a moment ago.
func (a *announcing) again(ctx context.Context, key, kind string) (Receipt, error) {
	known := a.Announcer.Follow(key)
	if !a.Announcer.IsConfigured() {
		a.logSkipped(key)
		return known, nil
	}
	if !a.repeated.Allow(key, a.Now()) {
		return known, nil
	}
	seq, err := a.touch(ctx, key, kind)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return known, nil // it has just been deleted
	case err != nil:
		a.repeated.undo(key)
		return known, err
	}
	return a.Announcer.Announce(key, seq), nil
}

// announceEdited announces a JWT that was put into the store by hand, in the background.
func (a *announcing) announceEdited(key string) {
	if a.Edited != nil {
		a.edits.Go(func() error {
			a.Edited(key)
			return nil
		})
	}
	if !a.Announcer.IsConfigured() {
		return
	}
	a.Log.Info(logging.ShortKey(key) + " - the stored JWT was changed by hand: it is announced")
	a.edits.Go(func() error {
		a.announceStored(key)
		return nil
	})
}

// touch commits that the JWT which is served is to be announced once more. That may be the
// configured system account's.
func (a *announcing) touch(ctx context.Context, key, kind string) (seq uint64, err error) {
	sys := a.trust.Load().System
	return a.Committer.Touch(ctx, key, kind, sys != nil && sys.Key == key)
}

// logSkipped writes the original's line for what there is no NATS for.
func (a *announcing) logSkipped(key string) {
	a.Log.Info(fmt.Sprintf("skipping notification for %s, no NATS configured",
		logging.ShortKey(key)))
}
