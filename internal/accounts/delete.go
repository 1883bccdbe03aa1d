package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"nats-account-server/internal/trust"
)

// What keeps an account from being deleted.
var (
	ErrSystemAccount = errors.New("not allowed to delete system account")
	ErrReplayed      = errors.New("this request was carried out before")
	ErrNewer         = errors.New("the stored JWT is newer than the request")
)

// DeletedError says that the account was deleted and that the JWT is too old to bring it back.
type DeletedError struct {
	At time.Time // when that was ordered
}

func (e *DeletedError) Error() string {
	return fmt.Sprintf("the account was deleted at %s: only a newer JWT brings it back", e.At.UTC().Format(time.RFC3339))
}

// tombstone is what is kept of a deleted account. In the store it is the JWT, as nats-server keeps it too, and a line
// of JSON behind it.
type tombstone struct {
	hash     Digest // of the JWT that was deleted
	issuedAt int64  // its iat, Unix seconds
	order    tombstoneOrder
}

// tombstoneOrder is who had it deleted.
type tombstoneOrder struct {
	IssuedAt int64  `json:"deleted"` // iat of the order, Unix seconds
	Issuer   string `json:"by"`
	Hash     string `json:"order"` // SHA-256 of the order, in hex: it is carried out once
}

func (o tombstoneOrder) above(token []byte) []byte {
	text, _ := json.Marshal(o) // it is two texts and a number
	return slices.Concat(bytes.TrimSpace(token), []byte{'\n'}, text, []byte{'\n'})
}

// readTombstone understands nats-server's as well, which has no line behind the JWT. nil is none.
func readTombstone(text []byte) *tombstone {
	if text == nil {
		return nil
	}
	token, rest, _ := bytes.Cut(bytes.TrimSpace(text), []byte{'\n'})
	t := &tombstone{hash: sha256.Sum256(bytes.TrimSpace(token))}
	if head, err := trust.Peek(bytes.TrimSpace(token)); err == nil {
		t.issuedAt = head.IssuedAt
	}
	if json.Unmarshal(rest, &t.order) != nil {
		t.order = tombstoneOrder{IssuedAt: t.issuedAt}
	}
	return t
}

// bars says whether a JWT may not bring the account back: the same and older ones never, and from a peer, who may have
// missed the deletion, none that is not newer than that.
func (t *tombstone) bars(head trust.Head, token []byte, src Origin) error {
	if t == nil || src.File || head.IssuedAt > t.issuedAt && (!src.Peer || head.IssuedAt > t.order.IssuedAt) {
		return nil
	}
	if head.IssuedAt == t.issuedAt && !src.Peer && sha256.Sum256(token) != t.hash {
		return nil // of the same second: the later one wins
	}
	return &DeletedError{At: time.Unix(t.order.IssuedAt, 0)}
}

// Deletion is what became of an order to delete accounts.
type Deletion struct {
	Issuer  string // "" if it could not be read
	Deleted int
	Failed  []string            // "A…: why"
	Loaded  map[string][]string // nats-servers that still run an account, by account
}

// Delete carries out an order of the operator. The error says why none of it was; otherwise the accounts that are
// deleted are so for good, and none of them comes back by a JWT that is not newer.
func (r *Registry) Delete(ctx context.Context, order []byte, src Origin) (Deletion, error) {
	trust := r.trust.Load()
	o, err := trust.Operator.CheckDeletion(bytes.TrimSpace(order))
	done := Deletion{Issuer: o.Issuer}
	if now := r.now(); err == nil && ahead(o.IssuedAt, now) {
		err = &FutureError{Offered: time.Unix(o.IssuedAt, 0), Now: now}
	}
	for _, key := range o.Accounts {
		if trust.isSystem(key) {
			err = ErrSystemAccount
		}
	}
	if err == nil && r.readOnly {
		err = ErrReadOnly
	}
	if err != nil {
		r.tell(Event{Origin: src, Result: Refused, Reason: Reason(err), Issuer: o.Issuer})
		return done, err
	}
	gone := r.deleteAll(ctx, o, src, &done)
	done.Deleted = len(gone)
	done.Loaded = r.stillLoaded(ctx, gone)
	return done, nil
}

// deletedAtOnce is how many deletions are under way at a time: they share a sync.
const deletedAtOnce = 32

// deleteAll returns the accounts that are deleted, and notes those that are not.
func (r *Registry) deleteAll(ctx context.Context, o trust.Deletion, src Origin, done *Deletion) (gone []string) {
	failed := make([]error, len(o.Accounts))
	var all sync.WaitGroup
	turn := make(chan struct{}, deletedAtOnce)
	for i, key := range o.Accounts {
		turn <- struct{}{}
		all.Go(func() {
			failed[i] = r.delete(ctx, key, o, src)
			<-turn
		})
	}
	all.Wait()
	for i, key := range o.Accounts {
		if failed[i] != nil {
			done.Failed = append(done.Failed, short(key)+": "+failed[i].Error())
		} else {
			gone = append(gone, key)
		}
	}
	return gone
}

// isSystem says whether an account is the system account.
func (t *Trust) isSystem(key string) bool {
	return t.System != nil && t.System.Key == key || t.Operator != nil && t.Operator.SystemAccount == key
}

// delete carries out an order for one account. One that is not there is deleted already.
func (r *Registry) delete(ctx context.Context, key string, o trust.Deletion, src Origin) error {
	order := tombstoneOrder{IssuedAt: o.IssuedAt, Issuer: o.Issuer, Hash: hex.EncodeToString(o.Hash[:])}
	was := Event{Origin: src, Result: Deleted, Account: key, Issuer: o.Issuer}
	return r.removeTold(ctx, was, "by order of "+short(o.Issuer), func(head *trust.Head, had *tombstone) (tombstoneOrder, error) {
		switch {
		case had != nil && had.order.Hash == order.Hash:
			return order, ErrReplayed
		case head != nil && head.IssuedAt > o.IssuedAt:
			return order, ErrNewer
		}
		return order, nil
	})
}

// Remove takes an account out whose file somebody has removed.
func (r *Registry) Remove(ctx context.Context, key string, src Origin) error {
	was := Event{Origin: src, Result: Deleted, Account: key}
	return r.removeTold(ctx, was, "its file is gone", func(*trust.Head, *tombstone) (tombstoneOrder, error) {
		return tombstoneOrder{IssuedAt: r.now().Unix()}, nil
	})
}

// judgement says what the tombstone of an account is to tell, or why the account stays. head is nil if what is stored
// can't be read, had if the account was never deleted before.
type judgement func(head *trust.Head, had *tombstone) (tombstoneOrder, error)

// removeTold is remove for what somebody has asked for: that it failed is observed, and what is not there is removed.
func (r *Registry) removeTold(ctx context.Context, was Event, why string, judge judgement) error {
	err := r.remove(ctx, &was, why, judge)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		was.Result, was.Reason = Refused, Reason(err)
		r.tell(was)
	}
	return err
}

// remove puts a tombstone in an account's place. was is the verdict about that; its Old is filled in.
func (r *Registry) remove(ctx context.Context, was *Event, why string, judge judgement) error {
	key := was.Account
	seq, err := r.committer.Delete(ctx, key, was.Kind, func(stored, text []byte) ([]byte, error) {
		var known *trust.Head
		if head, err := trust.Peek(bytes.TrimSpace(stored)); err == nil {
			known = &head
		}
		was.Old = describe(known, stored)
		order, err := judge(known, readTombstone(text))
		if err != nil {
			return nil, err
		}
		return order.above(stored), nil
	})
	if err != nil {
		return err
	}
	r.tell(*was)
	r.cache.forget(key)
	_ = r.enroll(key) // it has just been committed: it is in memory
	r.announcer.Announce(key, seq, r.now())
	r.log.Info(fmt.Sprintf("deleted account - %s - %s", short(key), why))
	return nil
}

const (
	// mostAsked bounds the deleted accounts that the nats-servers are asked for.
	mostAsked = 16
	askWithin = time.Second
)

// stillLoaded asks the nats-servers which of these accounts they run. Deleting takes an account from nobody who has it.
func (r *Registry) stillLoaded(ctx context.Context, keys []string) map[string][]string {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	loaded := make(map[string][]string)
	for _, key := range keys[:min(len(keys), mostAsked)] {
		asking.Go(func() {
			for _, s := range r.announcer.Report(ctx, key, true).Servers {
				if s.Runs != nil && s.Runs.State == Loaded {
					mu.Lock()
					loaded[key] = append(loaded[key], s.Name)
					mu.Unlock()
				}
			}
		})
	}
	asking.Wait()
	return loaded
}

// String is the line that the client reads.
func (d Deletion) String() string {
	text := fmt.Sprintf("deleted %d accounts", d.Deleted)
	if len(d.Failed) > 0 {
		text += fmt.Sprintf(", failed for %d - %s", len(d.Failed), strings.Join(d.Failed[:min(len(d.Failed), 8)], ", "))
	}
	for _, key := range sortedKeys(d.Loaded) {
		text += fmt.Sprintf("; %s is still loaded by %s", short(key), strings.Join(d.Loaded[key], ", "))
	}
	if len(d.Loaded) > 0 {
		text += ": they keep its clients until a newer JWT of it with the limit conn: 0 is pushed"
	}
	return text
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
