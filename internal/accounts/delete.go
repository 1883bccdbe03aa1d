package accounts

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

const (
	// maxDeletions bounds the deletions under way at a time. They share a sync.
	maxDeletions = 32
	// maxReports bounds the deleted accounts that nats-servers are asked for.
	maxReports = 16
	// reportTimeout bounds that request.
	reportTimeout = time.Second
)

// Deletion is what became of an order to delete accounts.
type Deletion struct {
	Issuer string // of the order; "" if it could not be read
	// Deleted counts the accounts that are gone, and those that were not stored before either.
	Deleted int
	// Failed has a line for each account that stays, "A…: why".
	Failed []string
	// Loaded has the names of the nats-servers that still run an account, by account.
	Loaded map[string][]string
}

// String is the line that the client reads.
func (d Deletion) String() string {
	text := fmt.Sprintf("deleted %d accounts", d.Deleted)
	if n := len(d.Failed); n > 0 {
		text += fmt.Sprintf(", failed for %d - %s", n, strings.Join(d.Failed[:min(n, 8)], ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(d.Loaded)) {
		text += fmt.Sprintf("; %s is still loaded by %s", logging.ShortKey(key),
			strings.Join(d.Loaded[key], ", "))
	}
	if len(d.Loaded) > 0 {
		text += ": they keep its clients until a newer JWT of it with the limit conn: 0 is pushed"
	}
	return text
}

// remover takes accounts out. Each leaves a tombstone.
type remover struct{ *scanner }

// Delete carries out an order of an operator. The error says why none of it was. Otherwise the
// accounts that are deleted only come back by a newer JWT.
func (r *remover) Delete(ctx context.Context, order []byte, from Origin) (Deletion, error) {
	o, err := r.checkOrder(bytes.TrimSpace(order))
	done := Deletion{Issuer: o.Issuer}
	if err != nil {
		r.observeRefused(Event{Origin: from, Issuer: o.Issuer}, Reason(err))
		return done, err
	}
	failed := make([]error, len(o.Accounts))
	var deletions errgroup.Group
	deletions.SetLimit(maxDeletions)
	for i, key := range o.Accounts {
		deletions.Go(func() error {
			failed[i] = r.deleteOne(ctx, key, o, from)
			return nil
		})
	}
	_ = deletions.Wait() // each failure is reported by itself
	var deleted []string
	for i, key := range o.Accounts {
		if failed[i] != nil {
			done.Failed = append(done.Failed, logging.ShortKey(key)+": "+failed[i].Error())
			continue
		}
		deleted = append(deleted, key)
	}
	done.Deleted = len(deleted)
	// What is deleted here keeps running where it is loaded: the client has to know.
	done.Loaded = stillLoaded(ctx, r.Announcer, deleted)
	return done, nil
}

// checkOrder reads an order, and returns why it can't be carried out at all; nil if it can.
func (r *remover) checkOrder(order []byte) (trust.Deletion, error) {
	t := r.trust.Load()
	o, err := t.Operators.CheckDeletion(order)
	switch {
	case !r.AllowDelete:
		return o, ErrDeletingOff
	case err != nil:
		return o, err
	}
	if slices.ContainsFunc(o.Accounts, t.isSystem) {
		return o, ErrSystemAccount
	}
	if err := CheckAhead(o.IssuedAt, r.Now()); err != nil {
		return o, err
	}
	if r.ReadOnly {
		return o, ErrReadOnly
	}
	return o, nil
}

// deleteOne carries out an order for one account. One that is not stored is deleted already.
func (r *remover) deleteOne(ctx context.Context, key string, o trust.Deletion, from Origin) error {
	order := deletionOrder{IssuedAt: o.IssuedAt, Issuer: o.Issuer,
		Hash: hex.EncodeToString(o.Hash[:])}
	event := Event{Origin: from, Result: Deleted, Account: key, Issuer: o.Issuer}
	reason := "by order of " + logging.ShortKey(o.Issuer)
	return r.removeAsked(ctx, event, reason, func(now removable) (deletionOrder, error) {
		switch {
		case now.isGone() && now.had.order.IssuedAt >= o.IssuedAt:
			return order, fs.ErrNotExist
		case now.had != nil && now.had.order.Hash == order.Hash:
			return order, ErrReplayed
		case now.had != nil && now.had.order.IssuedAt >= o.IssuedAt:
			return order, ErrOlderOrder
		case max(now.head.IssuedAt, now.floor.IssuedAt) > o.IssuedAt:
			return order, ErrNewer
		case now.floor.IssuedAt > now.head.IssuedAt:
			order.Newest = now.floor.IssuedAt
		}
		return order, nil
	})
}

// Remove takes an account out whose file was removed.
func (r *remover) Remove(ctx context.Context, key string, from Origin) error {
	event := Event{Origin: from, Result: Deleted, Account: key}
	return r.removeAsked(ctx, event, "its file is gone",
		func(now removable) (deletionOrder, error) {
			if now.isGone() {
				return deletionOrder{}, fs.ErrNotExist
			}
			return deletionOrder{IssuedAt: r.Now().Unix()}, nil
		})
}

// Replace puts a tombstone of the bucket in an account's place, whether the account is stored or
// not.
func (r *remover) Replace(ctx context.Context, key string, tombstone []byte, from Origin) error {
	event := Event{Origin: from, Result: Deleted, Account: key}
	if t := readTombstone(tombstone); t != nil {
		event.Issuer = t.order.Issuer
	}
	seq, err := r.Committer.Delete(ctx, key, from.Kind, func(now jwtstore.Stored) ([]byte, error) {
		if now.Absent && bytes.Equal(now.Tombstone, tombstone) {
			return nil, errSame
		}
		event.replaces(now.JWT)
		return tombstone, nil
	})
	switch {
	case errors.Is(err, errSame), errors.Is(err, ErrSuperseded):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSave, err)
	}
	return r.recordRemoved(event, seq, "by another server")
}

// replaces lets an event say what was stored, and returns the head of that. It is empty for a
// damaged JWT, and for none.
func (e *Event) replaces(stored []byte) trust.Head {
	head, err := trust.Peek(bytes.TrimSpace(stored))
	if err != nil {
		head = trust.Head{}
	}
	e.Old = NewAccount(stored, head).AuditVersion()
	return head
}

// removable is an account that may be taken out.
type removable struct {
	head   trust.Head     // of the stored JWT; empty if that is damaged
	floor  jwtstore.Floor // the newest version that was ever accepted
	had    *tombstone     // nil: the account was never deleted
	absent bool           // nothing is stored
}

// isGone reports whether the account was deleted with the newest version that was ever accepted.
func (a removable) isGone() bool {
	return a.absent && a.had != nil && a.had.issuedAt >= a.floor.IssuedAt
}

// decideRemoval returns the order for an account's tombstone, or why the account stays.
type decideRemoval func(now removable) (deletionOrder, error)

// removeAsked is remove on request: a failure is audited, and what is not stored is removed
// already.
func (r *remover) removeAsked(ctx context.Context, event Event, reason string,
	decide decideRemoval) error {
	err := r.remove(ctx, &event, reason, decide)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, ErrAudit) {
		r.observeRefused(event, Reason(err))
	}
	return err
}

// remove puts a tombstone in an account's place. event is about that, and is filled in. reason is
// for the log.
func (r *remover) remove(
	ctx context.Context, event *Event, reason string, decide decideRemoval,
) error {
	key := event.Account
	ctx = WithUser(ctx, event.User)
	seq, err := r.Committer.Delete(ctx, key, event.Kind, func(now jwtstore.Stored) ([]byte, error) {
		head := event.replaces(now.JWT)
		event.Name = logging.Cut(head.Name, maxChangeText)
		had := readTombstone(now.Tombstone)
		order, err := decide(removable{head, now.Floor, had, now.Absent})
		if err != nil {
			return nil, err
		}
		return order.after(had, head).tombstoneOf(now.JWT), nil
	})
	if err != nil {
		return err
	}
	event.Changes = []claimdiff.Change{claimdiff.Removed(key, event.Name)}
	return r.recordRemoved(*event, seq, reason)
}

// recordRemoved records that an account's tombstone is on stable storage, and has that announced.
// The error is an ErrAudit.
func (r *remover) recordRemoved(event Event, seq uint64, reason string) error {
	key := event.Account
	r.Announcer.Announce(key, seq)
	r.Log.Info(fmt.Sprintf("deleted account - %s - %s", logging.ShortKey(key), reason))
	return r.observe(event) // last, because it may wait
}

// stillLoaded asks nats-servers which of these accounts they run. A deletion takes no account from
// a nats-server that has loaded it.
func stillLoaded(ctx context.Context, announcer Announcer, keys []string) map[string][]string {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var mu sync.Mutex
	var reports sync.WaitGroup
	loaded := make(map[string][]string)
	for _, key := range keys[:min(len(keys), maxReports)] {
		reports.Go(func() {
			for _, s := range announcer.Report(ctx, key, true).Servers {
				if s.Runs != nil && s.Runs.State == Loaded {
					mu.Lock()
					loaded[key] = append(loaded[key], s.Name)
					mu.Unlock()
				}
			}
		})
	}
	reports.Wait()
	return loaded
}
