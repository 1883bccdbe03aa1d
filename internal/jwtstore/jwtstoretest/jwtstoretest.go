// Package jwtstoretest is the contract that every store of jwtstore passes.
package jwtstoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
)

// Store is what every store does.
type Store interface {
	Load(key string, known jwtstore.Stamp) (jwt []byte, now jwtstore.Stamp, err error)
	Put(
		ctx context.Context, key, kind string, jwt []byte,
		allow func(jwtstore.Stored) (jwtstore.Version, error),
	) (seq uint64, err error)
	Delete(
		ctx context.Context, key, kind string,
		allow func(jwtstore.Stored) (newTombstone []byte, err error),
	) (seq uint64, err error)
	Tombstone(key string) ([]byte, error)
	Touch(ctx context.Context, key, kind string, elsewhere bool) (seq uint64, err error)
	Scan(ctx context.Context, s jwtstore.Scan) error
	Outbox() *jwtstore.Outbox
	Index() *jwtstore.Index
	Close() error
}

// Opener opens a new, empty store that announces. reopen closes the store and opens what it left
// behind; it is nil if the store leaves nothing behind.
type Opener func(t *testing.T) (store Store, reopen func() Store)

// Run runs the contract on stores that open makes, each case beside the others on a store of its
// own. Each store is closed at the end of its test.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, e *env)
	}{
		{"an unknown account does not exist", unknown},
		{"what is put is loaded", putLoad},
		{"the same stamp spares the bytes", stamps},
		{"what allow refuses is not stored", refused},
		{"allow sees what is stored", allowed},
		{"only account keys are stored", keys},
		{"neither an empty nor a huge JWT is stored", sizes},
		{"the store keeps its own bytes", ownBytes},
		{"an ended context stores nothing", ended},
		{"compare and commit are one step", atomically},
		{"torn or refused bytes are never seen", whole},
		{"every account is listed once", listed},
		{"an activation token is stored and not announced", token},
		{"a deleted account does not exist", deleted},
		{"what may not be deleted stays", undeleted},
		{"a tombstone stays when a JWT is put", tombstones},
		{"nothing of a deleted account is pending", pendingOfDeleted},
		{"a delete and a put are one step each", deletedAtomically},
		{"a touch is a change of what is there", touch},
		{"every change is pending until every server has it", outbox},
		{"only the latest change of an account is pending", superseded},
		{"what is pending is pending for a new server", newServer},
		{"nothing is pending for a forgotten server", forgotten},
		{"acknowledgements come in any order", anyOrder},
		{"nothing is pending without NATS", unannounced},
		{"a closed store takes nothing", closed},
		{"the index has what was committed", indexed},
		{"what was stored and pending outlives the process", durable},
		{"what was deleted stays so", deletedForGood},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := &env{T: t}
			e.Store, e.reopen = open(t)
			defer func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			c.test(t, e)
		})
	}
}

// env is the environment of one test: a store, with shorthands.
type env struct {
	*testing.T
	Store
	reopen func() Store
}

// Key returns a new public account key. The keys of a run are always the same.
func Key(t testing.TB) string {
	t.Helper()
	return jwttest.AccountKey(t)
}

// Hash returns a new hash of an activation token.
func Hash(t testing.TB) string {
	t.Helper()
	sum := sha256.Sum256([]byte(Key(t)))
	return base32.StdEncoding.EncodeToString(sum[:])
}

// Always is an allow function of a Put that allows everything.
func Always(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }

// IssuedAt returns an allow function of a Put that allows everything, and indexes a servable JWT.
func IssuedAt(jwt string, at int64) func(jwtstore.Stored) (jwtstore.Version, error) {
	return func(now jwtstore.Stored) (jwtstore.Version, error) {
		hash := sha256.Sum256([]byte(jwt))
		v := jwtstore.Version{Hash: hash, IssuedAt: at, Servable: true}
		v.Floor = now.Floor.After(at, hash)
		return v, nil
	}
}

// AllowIf returns an allow function of a Put that gives the index nothing.
func AllowIf(
	allow func(stored, tombstone []byte) error,
) func(jwtstore.Stored) (jwtstore.Version, error) {
	return func(now jwtstore.Stored) (jwtstore.Version, error) {
		return jwtstore.Version{}, allow(now.JWT, now.Tombstone)
	}
}

// TombstoneIf returns an allow function of a Delete.
func TombstoneIf(
	allow func(stored, tombstone []byte) ([]byte, error),
) func(jwtstore.Stored) ([]byte, error) {
	return func(now jwtstore.Stored) ([]byte, error) { return allow(now.JWT, now.Tombstone) }
}

// WithTombstone returns an allow function of a Delete that leaves this tombstone.
func WithTombstone(tombstone string) func(jwtstore.Stored) ([]byte, error) {
	return func(jwtstore.Stored) ([]byte, error) { return []byte(tombstone), nil }
}

func (e *env) put(key, jwt string) uint64 {
	e.Helper()
	seq, err := e.Put(context.Background(), key, "test", []byte(jwt), Always)
	if err != nil {
		e.Fatalf("Put: %v", err)
	}
	return seq
}

func (e *env) load(key string) string {
	e.Helper()
	jwt, _, err := e.Load(key, jwtstore.Stamp{})
	if err != nil {
		e.Fatalf("Load: %v", err)
	}
	return string(jwt)
}

// pending wants exactly these changes, in this order.
func (e *env) pending(want ...uint64) {
	e.Helper()
	got := []uint64{}
	for _, c := range e.Outbox().Pending() {
		got = append(got, c.Seq)
		if c.At.IsZero() || c.Key == "" {
			e.Errorf("change %+v says too little", c)
		}
	}
	if !slices.Equal(got, want) {
		e.Fatalf("pending are %v, want %v", got, want)
	}
}

func unknown(t *testing.T, e *env) {
	for _, key := range []string{Key(t), "", "A", "../../etc/passwd", strings.Repeat("A", 56)} {
		if jwt, _, err := e.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load(%q) = %q, %v", key, jwt, err)
		}
	}
}

func putLoad(t *testing.T, e *env) {
	one, two := Key(t), Key(t)
	first, second := e.put(one, "jwt one"), e.put(two, "jwt two")
	if first == 0 || second <= first {
		t.Errorf("sequence numbers %d, %d", first, second)
	}
	if e.load(one) != "jwt one" || e.load(two) != "jwt two" {
		t.Errorf("loaded %q and %q", e.load(one), e.load(two))
	}
	e.put(one, "jwt one, edited")
	if got := e.load(one); got != "jwt one, edited" {
		t.Errorf("loaded %q", got)
	}
}

func stamps(t *testing.T, e *env) {
	key := Key(t)
	e.put(key, "one")
	_, stamp, _ := e.Load(key, jwtstore.Stamp{})
	if stamp == (jwtstore.Stamp{}) {
		t.Error("the zero stamp is a version")
	}
	Eventually(t, "the stamp spares the bytes", func() bool {
		jwt, now, err := e.Load(key, stamp)
		if err != nil {
			t.Fatal(err)
		}
		same := now == stamp
		if same != (jwt == nil) {
			t.Fatalf("jwt %q, though the stamps are the same: %v", jwt, same)
		}
		stamp = now
		return same
	})
	e.put(key, "two")
	if jwt, now, err := e.Load(key, stamp); err != nil || string(jwt) != "two" || now == stamp {
		t.Errorf("after a change: %q, same stamp: %v, %v", jwt, now == stamp, err)
	}
}

func refused(t *testing.T, e *env) {
	key := Key(t)
	no := errors.New("no")
	for range 2 {
		_, err := e.Put(context.Background(), key, "test", []byte("new"),
			func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, no })
		if err != no {
			t.Errorf("Put returns %v", err)
		}
	}
	if _, _, err := e.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %v", err)
	}
	e.pending()
}

func allowed(t *testing.T, e *env) {
	key := Key(t)
	for i, want := range []string{"", "jwt 0", "jwt 1"} {
		_, err := e.Put(context.Background(), key, "test", fmt.Appendf(nil, "jwt %d", i),
			AllowIf(func(stored, _ []byte) error {
				if string(stored) != want || (stored == nil) != (want == "") {
					t.Errorf("stored is %q, want %q", stored, want)
				}
				return nil
			}))
		if err != nil {
			t.Fatal(err)
		}
	}
}

func keys(t *testing.T, e *env) {
	good := Key(t)
	user, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	userKey, _ := user.PublicKey()
	for _, key := range []string{
		"", "x", "../" + good, good + ".jwt", good[:55], strings.ToLower(good), good[:30] + "\n" +
			good[30:],
		"A/" + good[2:], "\x00" + good[1:], userKey, "A" + userKey[1:], strings.Repeat("A", 56),
	} {
		if _, err := e.Put(context.Background(), key, "test", []byte("jwt"), Always); err == nil {
			t.Errorf("%q was stored", key)
		}
		if _, err := e.Touch(context.Background(), key, "test", false); err == nil {
			t.Errorf("%q was touched", key)
		}
		if _, err := e.Delete(context.Background(), key, "test", WithTombstone("gone")); err == nil {
			t.Errorf("%q was deleted", key)
		}
		if kept, err := e.Tombstone(key); kept != nil || err != nil {
			t.Errorf("the tombstone of %q is %q, %v", key, kept, err)
		}
	}
	e.pending()
}

func token(t *testing.T, e *env) {
	hash := Hash(t)
	e.put(hash, "token")
	e.put(hash, "another token")
	check := func() {
		t.Helper()
		if got := e.load(hash); got != "another token" {
			t.Errorf("loaded is %q", got)
		}
		e.lists()
		e.pending()
	}
	check()
	if e.reopen != nil {
		e.Store = e.reopen()
		check()
	}
}

func sizes(t *testing.T, e *env) {
	key := Key(t)
	for _, n := range []int{0, 4<<20 + 1} {
		if _, err := e.Put(context.Background(), key, "test", make([]byte, n), Always); err == nil {
			t.Errorf("%d bytes were stored", n)
		}
	}
	large := strings.Repeat("x", 4<<20)
	e.put(key, large)
	if e.load(key) != large {
		t.Error("a JWT of 4 MiB came back changed")
	}
}

func ownBytes(t *testing.T, e *env) {
	key, jwt := Key(t), []byte("mine")
	if _, err := e.Put(context.Background(), key, "test", jwt, Always); err != nil {
		t.Fatal(err)
	}
	copy(jwt, "XXXX")
	if got := e.load(key); got != "mine" {
		t.Errorf("loaded %q", got)
	}
}

func ended(t *testing.T, e *env) {
	key := Key(t)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	refuse := func() {
		t.Helper()
		if _, err := e.Put(over, key, "test", []byte("two"), Always); !errors.Is(err,
			context.Canceled) {
			t.Errorf("Put: %v", err)
		}
	}
	refuse()
	_, err := e.Put(context.Background(), key, "test", []byte("one"),
		AllowIf(func(_, _ []byte) error {
			refuse() // and does not wait for the Put that it is in
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	refuse()
	if got := e.load(key); got != "one" {
		t.Errorf("loaded %q", got)
	}
}

// atomically lets 16 writers for each of three accounts count up what they find. No step is lost.
func atomically(t *testing.T, e *env) {
	const writers, steps = 16, 8
	accounts := []string{Key(t), Key(t), Key(t)}
	var all sync.WaitGroup
	for _, key := range accounts {
		for range writers {
			all.Go(func() {
				for range steps {
					countUp(e, key)
				}
			})
		}
	}
	all.Wait()
	for _, key := range accounts {
		if n := len(e.load(key)); n != writers*steps {
			t.Errorf("%d steps of %d are there", n, writers*steps)
		}
	}
}

var errRace = errors.New("another Put was faster")

// countUp adds an x to the JWT that it has loaded, unless it is not stored any more: then it begins
// again.
func countUp(e *env, key string) {
	for {
		seen, _, _ := e.Load(key, jwtstore.Stamp{})
		_, err := e.Put(context.Background(), key, "test", append(slices.Clone(seen), 'x'),
			AllowIf(func(stored, _ []byte) error {
				if !bytes.Equal(stored, seen) {
					return errRace
				}
				return nil
			}))
		if err == nil {
			return
		}
		if err != errRace {
			e.Errorf("Put: %v", err)
			return
		}
	}
}

// whole reads while versions of different sizes are written and others are refused.
func whole(t *testing.T, e *env) {
	key := Key(t)
	version := func(n int) string {
		return fmt.Sprintf("%d:%s", n, strings.Repeat(fmt.Sprint(n%10),
			n*37%9000))
	}
	e.put(key, version(0))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				jwt, _, err := e.Load(key, jwtstore.Stamp{})
				n := -1
				_, _ = fmt.Sscanf(string(jwt), "%d:", &n)
				if err != nil || string(jwt) != version(n) || n < last {
					t.Errorf("after version %d: %.20q, %v", last, jwt, err)
					return
				}
				last = n
			}
		})
	}
	for n := 1; n < 100; n++ {
		_, _ = e.Put(context.Background(), key, "test", []byte("refused"),
			func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, errRace })
		e.put(key, version(n))
	}
	close(done)
	readers.Wait()
}

// listed wants each account once, as soon as it is stored, and lets others write and stop listening
// meanwhile.
func listed(t *testing.T, e *env) {
	e.lists()
	accounts := []string{Key(t), Key(t), Key(t)}
	for n, key := range accounts {
		e.put(key, "jwt")
		e.put(key, "jwt, edited")
		e.lists(accounts[:n+1]...)
	}
	err := e.Scan(e.Context(), jwtstore.Scan{Every: true, Look: func(key string, err error) bool {
		if err != nil || !slices.Contains(accounts, key) {
			t.Errorf("listed %q, %v", key, err)
		}
		e.put(key, "put while it is listed")
		return true
	}})
	if err != nil {
		t.Error(err)
	}
	if e.reopen != nil {
		e.Store = e.reopen()
		e.lists(accounts...)
	}
}

// lists wants exactly these accounts.
func (e *env) lists(want ...string) {
	e.Helper()
	got, errs := Stored(e, e.Store)
	if len(errs) > 0 {
		e.Fatalf("Scan: %v", errs)
	}
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		e.Fatalf("listed are %q, want %q", got, want)
	}
}

// Scanned is what Stored needs of a store.
type Scanned interface {
	Load(key string, known jwtstore.Stamp) (jwt []byte, now jwtstore.Stamp, err error)
	Scan(ctx context.Context, s jwtstore.Scan) error
	Index() *jwtstore.Index
}

// Stored returns the accounts that a store has, in order: those of its index, and those that a Scan finds
// besides. What is put in the meantime is one of them. errs are what the Scan can't read.
func Stored(t testing.TB, s Scanned) (keys []string, errs []error) {
	t.Helper()
	var mu sync.Mutex
	look := func(key string, err error) bool {
		mu.Lock()
		defer mu.Unlock()
		if keys = append(keys, key); err != nil {
			errs = append(errs, err)
		}
		return true
	}
	if err := s.Scan(t.Context(), jwtstore.Scan{Every: true, Look: look}); err != nil {
		t.Error(err)
	}
	for key := range s.Index().All() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return slices.DeleteFunc(slices.Compact(keys), func(key string) bool {
		_, _, err := s.Load(key, jwtstore.Stamp{})
		return key == "" || errors.Is(err, fs.ErrNotExist)
	}), errs
}

func (e *env) delete(key, tombstone string) uint64 {
	e.Helper()
	seq, err := e.Delete(context.Background(), key, "test", WithTombstone(tombstone))
	if err != nil {
		e.Fatalf("Delete: %v", err)
	}
	return seq
}

// gone wants no JWT, and this tombstone.
func (e *env) gone(key, tombstone string) {
	e.Helper()
	if jwt, _, err := e.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
		e.Fatalf("a deleted JWT is loaded: %q, %v", jwt, err)
	}
	e.kept(key, tombstone)
}

// kept wants this tombstone, "" for none.
func (e *env) kept(key, tombstone string) {
	e.Helper()
	kept, err := e.Tombstone(key)
	if err != nil || string(kept) != tombstone || (kept == nil) != (tombstone == "") {
		e.Fatalf("the tombstone is %q, %v, want %q", kept, err, tombstone)
	}
}

func deleted(t *testing.T, e *env) {
	key, other := Key(t), Key(t)
	first := e.put(key, "jwt")
	e.put(other, "other")
	_, stamp, _ := e.Load(key, jwtstore.Stamp{})
	e.kept(key, "")
	if seq := e.delete(key, "gone"); seq <= first {
		t.Errorf("sequence numbers %d, %d", first, seq)
	}
	e.gone(key, "gone")
	if _, _, err := e.Load(key, stamp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load with the stamp of the deleted JWT: %v", err)
	}
	if _, err := e.Touch(context.Background(), key, "test", false); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("Touch: %v", err)
	}
	e.lists(other)
	if e.load(other) != "other" {
		t.Error("another account has changed")
	}
	e.kept(other, "")
}

func undeleted(t *testing.T, e *env) {
	key, no := Key(t), errors.New("no")
	unasked := func(jwtstore.Stored) ([]byte, error) {
		t.Error("allow is asked")
		return []byte("gone"), nil
	}
	if _, err := e.Delete(context.Background(), key, "test", unasked); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("Delete of what is not there: %v", err)
	}
	e.kept(key, "")
	seq := e.put(key, "jwt")
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Delete(over, key, "test", unasked); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete with an ended context: %v", err)
	}
	refuse := func(jwtstore.Stored) ([]byte, error) { return []byte("x"), no }
	if _, err := e.Delete(context.Background(), key, "test", refuse); err != no {
		t.Errorf("Delete returns %v", err)
	}
	for _, n := range []int{0, 4<<20 + 1} {
		allow := WithTombstone(strings.Repeat("x", n))
		if _, err := e.Delete(context.Background(), key, "test", allow); err == nil {
			t.Errorf("a tombstone of %d bytes is stored", n)
		}
	}
	if e.load(key) != "jwt" {
		t.Errorf("loaded %q", e.load(key))
	}
	e.kept(key, "")
	e.pending(seq)
	e.lists(key)
}

func tombstones(t *testing.T, e *env) {
	key, before := Key(t), ""
	for n := range 3 {
		jwt, tombstone := fmt.Sprint("jwt ", n), fmt.Sprint("tombstone ", n)
		see := func(what string, stored, kept []byte, want string) {
			if string(stored) != want || (stored == nil) != (want == "") ||
				string(kept) != before || (kept == nil) != (before == "") {
				t.Errorf("%s sees %q and the tombstone %q, want %q and %q", what, stored, kept,
					want, before)
			}
		}
		_, err := e.Put(context.Background(), key, "test", []byte(jwt), AllowIf(
			func(stored, kept []byte) error {
				see("Put", stored, kept, "")
				return nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		if e.load(key) != jwt {
			t.Errorf("loaded %q", e.load(key))
		}
		e.kept(key, before)
		e.put(key, jwt)
		e.kept(key, before)
		own := []byte(tombstone)
		_, err = e.Delete(context.Background(), key, "test", TombstoneIf(
			func(stored, kept []byte) ([]byte, error) {
				see("Delete", stored, kept, jwt)
				return own, nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		copy(own, "XXXXX")
		e.gone(key, tombstone)
		before = tombstone
	}
	large := strings.Repeat("x", 4<<20)
	e.put(key, "jwt")
	e.delete(key, large)
	e.gone(key, large)
}

func pendingOfDeleted(t *testing.T, e *env) {
	a, c := Key(t), Key(t)
	e.Outbox().Register("s1", time.Now())
	gone, other := e.put(a, "1"), e.put(c, "1")
	e.delete(a, "gone")
	e.pending(other)
	if e.Outbox().IsPending("s1", gone) || e.Outbox().PendingFor(a) != (jwtstore.Change{}) {
		t.Error("the change of a deleted account is pending")
	}
	e.Outbox().Acknowledge("s1", gone) // too late
	again := e.put(a, "2")
	e.pending(other, again)
	if !e.Outbox().IsPending("s1", again) {
		t.Error("what is put after a delete is not pending")
	}
}

// deletedAtomically lets writers and deleters take turns with an account: the length of what is
// there, JWT or tombstone, grows by one with every step.
func deletedAtomically(t *testing.T, e *env) {
	const workers, steps = 8, 8
	key := Key(t)
	longer := func(stored, tombstone []byte) []byte {
		return bytes.Repeat([]byte("x"), max(len(stored), len(tombstone))+1)
	}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for done := 0; done < steps; {
				_, err := e.Delete(context.Background(), key, "test",
					TombstoneIf(func(stored, tombstone []byte) ([]byte, error) {
						return longer(stored, tombstone), nil
					}))
				if errors.Is(err, fs.ErrNotExist) {
					kept, _ := e.Tombstone(key)
					_, err = e.Put(context.Background(), key, "test", longer(nil, kept),
						AllowIf(func(stored, tombstone []byte) error {
							if stored != nil || !bytes.Equal(tombstone, kept) {
								return errRace
							}
							return nil
						}))
				}
				switch err {
				case nil:
					done++
				case errRace:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	e.gone(key, strings.Repeat("x", workers*steps))
}

func touch(t *testing.T, e *env) {
	key := Key(t)
	if _, err := e.Touch(context.Background(), key, "test", false); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("Touch of what is not there: %v", err)
	}
	first := e.put(key, "jwt")
	seq, err := e.Touch(context.Background(), key, "test", false)
	if err != nil || seq <= first {
		t.Errorf("Touch = %d, %v after %d", seq, err, first)
	}
	e.pending(seq)
	if got := e.load(key); got != "jwt" {
		t.Errorf("loaded %q", got)
	}
}

func outbox(t *testing.T, e *env) {
	one := e.put(Key(t), "1")
	e.pending(one) // no server is known yet
	e.Outbox().Register("s1", time.Now())
	e.Outbox().Register("s2", time.Now())
	e.Outbox().Register("s2", time.Now())
	two := e.put(Key(t), "2")
	e.pending(one, two)
	if got := e.Outbox().Servers(); len(got) != 2 || !slices.Contains(got, "s1") ||
		!slices.Contains(got, "s2") {
		t.Errorf("servers %q", got)
	}
	e.Outbox().Acknowledge("s1", one)
	e.Outbox().Acknowledge("s1", one)
	e.Outbox().Acknowledge("unknown", two)
	e.Outbox().Acknowledge("s1", 999)
	if e.Outbox().IsPending("s1", one) || !e.Outbox().IsPending("s2", one) ||
		!e.Outbox().IsPending("s1", two) || !e.Outbox().IsPending("s2", two) {
		t.Error("what is pending for which server is wrong")
	}
	e.pending(one, two)
	e.Outbox().Acknowledge("s2", one)
	e.pending(two)
	e.Outbox().Acknowledge("s2", two)
	e.Outbox().Acknowledge("s1", two)
	e.pending()
	if e.Outbox().IsPending("s1", two) || e.Outbox().IsPending("new", two) {
		t.Error("a change that every server has is pending")
	}
}

func superseded(t *testing.T, e *env) {
	a, c := Key(t), Key(t)
	e.Outbox().Register("s1", time.Now())
	e.Outbox().Register("s2", time.Now())
	first := e.put(a, "1")
	other := e.put(c, "1")
	e.Outbox().Acknowledge("s1", first)
	second := e.put(a, "2")
	e.pending(other, second)
	if e.Outbox().PendingFor(a).Seq != second || e.Outbox().PendingFor(c).Seq != other ||
		e.Outbox().PendingFor(Key(t)) != (jwtstore.Change{}) {
		t.Error("an account's latest change is another")
	}
	if e.Outbox().IsPending("s2", first) {
		t.Error("a superseded change is pending")
	}
	e.Outbox().Acknowledge("s2", first) // too late, and not the latest
	if !e.Outbox().IsPending("s1", second) || !e.Outbox().IsPending("s2", second) {
		t.Error("an acknowledgement of the older change counts for the newer")
	}
	e.Outbox().Acknowledge("s1", second)
	e.Outbox().Acknowledge("s2", second)
	e.pending(other)
}

func newServer(t *testing.T, e *env) {
	met := time.Now()
	e.Outbox().Register("s1", met.Add(-time.Minute))
	e.Outbox().Register("s1", met)
	if !e.Outbox().LastSeen("s1").Equal(met) || !e.Outbox().LastSeen("s2").IsZero() {
		t.Error("when the servers were last seen is wrong")
	}
	gone := e.put(Key(t), "1")
	e.Outbox().Acknowledge("s1", gone)
	kept := e.put(Key(t), "2")
	e.Outbox().Register("s2", time.Now())
	e.Outbox().Acknowledge("s1", kept)
	e.pending(kept)
	if !e.Outbox().IsPending("s2", kept) || e.Outbox().IsPending("s2", gone) {
		t.Error("the wrong changes are pending for a new server")
	}
	e.Outbox().Acknowledge("s2", kept)
	e.pending()
}

func forgotten(t *testing.T, e *env) {
	e.Outbox().Register("s1", time.Now())
	e.Outbox().Register("s2", time.Now())
	both, one := e.put(Key(t), "1"), e.put(Key(t), "2")
	e.Outbox().Acknowledge("s1", one)
	e.Outbox().Forget("unknown")
	e.Outbox().Forget("s2")
	e.pending(both)
	e.Outbox().Register("s2", time.Now())
	e.Outbox().Acknowledge("s2", both)
	e.Outbox().Forget("s2")
	e.Outbox().Register("s2", time.Now())
	if !e.Outbox().IsPending("s2", both) {
		t.Error("a server that was forgotten is still known to have a change")
	}
	e.Outbox().Forget("s2")
	e.Outbox().Forget("s1")
	e.pending(both) // no server is known: one may come
	if got := e.Outbox().Servers(); len(got) != 0 {
		t.Errorf("servers %q", got)
	}
	e.Outbox().Register("s3", time.Now())
	if !e.Outbox().IsPending("s3", both) {
		t.Error("a new server has what a forgotten one had acknowledged")
	}
	e.Outbox().Acknowledge("s3", both)
	e.pending()
}

func anyOrder(t *testing.T, e *env) {
	const n = 500
	e.Outbox().SetAnnounce(true)
	e.Outbox().Register("s1", time.Now())
	e.Outbox().Register("s2", time.Now())
	seqs := make([]uint64, n)
	var all sync.WaitGroup
	for w := range 50 {
		own := make([]string, n/50)
		for i := range own {
			own[i] = Key(t)
		}
		all.Go(func() {
			for i, key := range own {
				seqs[w*len(own)+i], _ = e.Put(context.Background(), key, "test",
					[]byte("jwt"), Always)
			}
		})
	}
	all.Wait()
	for i := range seqs {
		e.Outbox().Acknowledge("s1", seqs[i])
		e.Outbox().Acknowledge("s2", seqs[n-1-i])
	}
	e.pending()
}

func unannounced(t *testing.T, e *env) {
	a, c := Key(t), Key(t)
	first := e.put(a, "1")
	e.Outbox().SetAnnounce(false)
	e.put(a, "2")
	e.put(c, "1")
	e.pending(first)
	e.Outbox().SetAnnounce(true)
	e.pending(first, e.put(c, "2"))
}

func closed(t *testing.T, e *env) {
	key := Key(t)
	e.put(key, "jwt")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := e.Put(context.Background(), key, "test", []byte("new"), Always)
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Put: %v", err)
	}
	if _, err := e.Touch(context.Background(), key, "test", false); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Touch: %v", err)
	}
	_, err = e.Delete(context.Background(), key, "test", WithTombstone("gone"))
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Delete: %v", err)
	}
}

func durable(t *testing.T, e *env) {
	if e.reopen == nil {
		return // this store leaves nothing behind
	}
	e.Outbox().Register("s1", time.Now())
	e.Outbox().Register("s2", time.Now())
	accounts := make([]string, 20)
	seqs := make([]uint64, len(accounts))
	for i := range accounts {
		accounts[i] = Key(t)
		seqs[i] = e.put(accounts[i], fmt.Sprintf("jwt %d", i))
		e.Outbox().Acknowledge("s1", seqs[i])
	}
	e.Outbox().Acknowledge("s2", seqs[0])
	e.Outbox().Forget("s3")
	e.Store = e.reopen()
	for i, key := range accounts {
		if got := e.load(key); got != fmt.Sprintf("jwt %d", i) {
			t.Errorf("loaded %q", got)
		}
	}
	e.pending(seqs[1:]...)
	if e.Outbox().IsPending("s1", seqs[1]) || !e.Outbox().IsPending("s2", seqs[1]) {
		t.Error("what is pending for which server is wrong")
	}
	if seq := e.put(accounts[0], "new"); seq <= seqs[len(seqs)-1] {
		t.Errorf("sequence number %d after %d", seq, seqs[len(seqs)-1])
	}
	for _, c := range e.Outbox().Pending() {
		e.Outbox().Acknowledge("s1", c.Seq)
		e.Outbox().Acknowledge("s2", c.Seq)
	}
	e.Store = e.reopen()
	e.pending()
	if got := e.load(accounts[0]); got != "new" {
		t.Errorf("loaded %q", got)
	}
}

func deletedForGood(t *testing.T, e *env) {
	if e.reopen == nil {
		return // this store leaves nothing behind
	}
	e.Outbox().Register("s1", time.Now())
	gone, back, again := Key(t), Key(t), Key(t)
	for _, key := range []string{gone, back, again} {
		e.put(key, "one")
		e.delete(key, "gone")
	}
	seq := e.put(back, "two")
	e.put(again, "two")
	last := e.delete(again, "gone again")
	for range 2 {
		e.Store = e.reopen()
		e.gone(gone, "gone")
		e.gone(again, "gone again")
		e.kept(back, "gone")
		if e.load(back) != "two" {
			t.Errorf("loaded %q", e.load(back))
		}
		e.lists(back)
		e.pending(seq)
	}
	if seq := e.put(gone, "new"); seq <= last {
		t.Errorf("sequence number %d after %d", seq, last)
	}
	e.Store = e.reopen()
	e.kept(gone, "gone")
	if e.load(gone) != "new" {
		t.Errorf("loaded %q", e.load(gone))
	}
}

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// indexed has the index before and after restarts. What was deleted, or replaced within a second,
// is remembered.
func indexed(t *testing.T, e *env) {
	kept, gone := Key(t), Key(t)
	put := func(key, jwt string, at int64) {
		t.Helper()
		if _, err := e.Put(context.Background(), key, "test", []byte(jwt), IssuedAt(jwt, at)); err != nil {
			t.Fatal(err)
		}
	}
	put(kept, "one", 1)
	put(kept, "two", 7)
	put(kept, "three", 7)
	put(gone, "four", 9)
	e.delete(gone, "gone")
	two, three := sha256.Sum256([]byte("two")), sha256.Sum256([]byte("three"))
	for range 3 {
		v, deleted := e.Index().Get(kept), e.Index().Get(gone)
		_, stamp, err := e.Load(kept, v.Stamp)
		switch {
		case v.Hash != three || v.IssuedAt != 7 || v.Floor.Hash != three || v.Floor.IssuedAt != 7:
			t.Errorf("the index has %+v", v)
		case !v.Floor.HasReplaced(two) || v.Floor.HasReplaced(three):
			t.Error("what was replaced within the second is not remembered")
		case deleted.Stored() || deleted.Floor.IssuedAt != 9:
			t.Errorf("of what was deleted the index has %+v", deleted)
		case err != nil || stamp != v.Stamp && !stamp.IsHot():
			t.Errorf("it was loaded under the stamp %v, %v, and the index has %v",
				stamp, err, v.Stamp)
		case e.Index().Digest(time.Now()) != three:
			t.Error("the digest is another one")
		}
		if e.reopen == nil {
			return // this store leaves nothing behind
		}
		e.Store = e.reopen()
	}
}
