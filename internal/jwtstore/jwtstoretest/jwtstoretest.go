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
	"iter"
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
	Put(ctx context.Context, key, door string, jwt []byte, allow func(stored, tombstone []byte) error) (seq uint64, err error)
	Delete(ctx context.Context, key, door string, allow func(stored, tombstone []byte) (newTombstone []byte, err error)) (seq uint64, err error)
	Tombstone(key string) ([]byte, error)
	Touch(ctx context.Context, key, door string) (seq uint64, err error)
	Keys() iter.Seq2[string, error]
	Outbox() *jwtstore.Outbox
	Close() error
}

// Opener opens a new, empty store that announces. reopen closes the store and opens what it left behind; it is nil
// if the store leaves nothing behind.
type Opener func(t *testing.T) (store Store, reopen func() Store)

// Run runs the contract on stores that open makes. Each store is closed at the end of its test.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, b *bench)
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
		{"nobody sees torn or refused bytes", whole},
		{"every account is listed once", listed},
		{"an activation token is stored, and nobody is told", token},
		{"a deleted account does not exist", deleted},
		{"what may not be deleted stays", undeleted},
		{"a tombstone stays when a JWT is put", tombstones},
		{"nothing is owed of a deleted account", withdrawn},
		{"a delete and a put are one step each", deletedAtomically},
		{"a touch is a change of what is there", touch},
		{"every change is owed until every server has it", outbox},
		{"only the latest change of an account is owed", superseded},
		{"a new server lacks what is still owed", newcomer},
		{"a forgotten server is owed nothing", forgotten},
		{"answers come in any order", anyOrder},
		{"nothing is owed without NATS", quiet},
		{"a closed store takes nothing", closed},
		{"what was stored and owed outlives the process", durable},
		{"what was deleted stays so", deletedForGood},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{T: t}
			b.Store, b.reopen = open(t)
			defer func() {
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			c.test(t, b)
		})
	}
}

// bench is a store with the shorthands of a test.
type bench struct {
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

// Always is an allow function.
func Always(stored, tombstone []byte) error { return nil }

// Bury is an allow function of a Delete.
func Bury(tombstone string) func(stored, tombstone []byte) ([]byte, error) {
	return func(_, _ []byte) ([]byte, error) { return []byte(tombstone), nil }
}

func (b *bench) put(key, jwt string) uint64 {
	b.Helper()
	seq, err := b.Put(context.Background(), key, "test", []byte(jwt), Always)
	if err != nil {
		b.Fatalf("Put: %v", err)
	}
	return seq
}

func (b *bench) load(key string) string {
	b.Helper()
	jwt, _, err := b.Load(key, jwtstore.Stamp{})
	if err != nil {
		b.Fatalf("Load: %v", err)
	}
	return string(jwt)
}

// owed wants exactly these changes, in this order.
func (b *bench) owed(want ...uint64) {
	b.Helper()
	got := []uint64{}
	for _, c := range b.Outbox().Pending() {
		got = append(got, c.Seq)
		if c.At.IsZero() || c.Key == "" {
			b.Errorf("change %+v says too little", c)
		}
	}
	if !slices.Equal(got, want) {
		b.Fatalf("owed are %v, want %v", got, want)
	}
}

func unknown(t *testing.T, b *bench) {
	for _, key := range []string{Key(t), "", "A", "../../etc/passwd", strings.Repeat("A", 56)} {
		if jwt, _, err := b.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load(%q) = %q, %v", key, jwt, err)
		}
	}
}

func putLoad(t *testing.T, b *bench) {
	one, two := Key(t), Key(t)
	first, second := b.put(one, "jwt one"), b.put(two, "jwt two")
	if first == 0 || second <= first {
		t.Errorf("sequence numbers %d, %d", first, second)
	}
	if b.load(one) != "jwt one" || b.load(two) != "jwt two" {
		t.Errorf("loaded %q and %q", b.load(one), b.load(two))
	}
	b.put(one, "jwt one, edited")
	if got := b.load(one); got != "jwt one, edited" {
		t.Errorf("loaded %q", got)
	}
}

func stamps(t *testing.T, b *bench) {
	key := Key(t)
	b.put(key, "one")
	_, stamp, _ := b.Load(key, jwtstore.Stamp{})
	if stamp == (jwtstore.Stamp{}) {
		t.Error("the zero stamp is a version")
	}
	Eventually(t, "the stamp spares the bytes", func() bool {
		jwt, now, err := b.Load(key, stamp)
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
	b.put(key, "two")
	if jwt, now, err := b.Load(key, stamp); err != nil || string(jwt) != "two" || now == stamp {
		t.Errorf("after a change: %q, same stamp: %v, %v", jwt, now == stamp, err)
	}
}

func refused(t *testing.T, b *bench) {
	key := Key(t)
	no := errors.New("no")
	for range 2 {
		_, err := b.Put(context.Background(), key, "test", []byte("new"), func(_, _ []byte) error { return no })
		if err != no {
			t.Errorf("Put returns %v", err)
		}
	}
	if _, _, err := b.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %v", err)
	}
	b.owed()
}

func allowed(t *testing.T, b *bench) {
	key := Key(t)
	for i, want := range []string{"", "jwt 0", "jwt 1"} {
		_, err := b.Put(context.Background(), key, "test", fmt.Appendf(nil, "jwt %d", i), func(stored, _ []byte) error {
			if string(stored) != want || (stored == nil) != (want == "") {
				t.Errorf("stored is %q, want %q", stored, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func keys(t *testing.T, b *bench) {
	good := Key(t)
	user, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	userKey, _ := user.PublicKey()
	for _, key := range []string{
		"", "x", "../" + good, good + ".jwt", good[:55], strings.ToLower(good), good[:30] + "\n" + good[30:],
		"A/" + good[2:], "\x00" + good[1:], userKey, "A" + userKey[1:], strings.Repeat("A", 56),
	} {
		if _, err := b.Put(context.Background(), key, "test", []byte("jwt"), Always); err == nil {
			t.Errorf("%q was stored", key)
		}
		if _, err := b.Touch(context.Background(), key, "test"); err == nil {
			t.Errorf("%q was touched", key)
		}
		if _, err := b.Delete(context.Background(), key, "test", Bury("gone")); err == nil {
			t.Errorf("%q was deleted", key)
		}
		if kept, err := b.Tombstone(key); kept != nil || err != nil {
			t.Errorf("the tombstone of %q is %q, %v", key, kept, err)
		}
	}
	b.owed()
}

func token(t *testing.T, b *bench) {
	hash := Hash(t)
	b.put(hash, "token")
	b.put(hash, "another token")
	check := func() {
		t.Helper()
		if got := b.load(hash); got != "another token" {
			t.Errorf("loaded is %q", got)
		}
		b.lists()
		b.owed()
	}
	check()
	if b.reopen != nil {
		b.Store = b.reopen()
		check()
	}
}

func sizes(t *testing.T, b *bench) {
	key := Key(t)
	for _, n := range []int{0, 4<<20 + 1} {
		if _, err := b.Put(context.Background(), key, "test", make([]byte, n), Always); err == nil {
			t.Errorf("%d bytes were stored", n)
		}
	}
	large := strings.Repeat("x", 4<<20)
	b.put(key, large)
	if b.load(key) != large {
		t.Error("a JWT of 4 MiB came back changed")
	}
}

func ownBytes(t *testing.T, b *bench) {
	key, jwt := Key(t), []byte("mine")
	if _, err := b.Put(context.Background(), key, "test", jwt, Always); err != nil {
		t.Fatal(err)
	}
	copy(jwt, "XXXX")
	if got := b.load(key); got != "mine" {
		t.Errorf("loaded %q", got)
	}
}

func ended(t *testing.T, b *bench) {
	key := Key(t)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	refuse := func() {
		t.Helper()
		if _, err := b.Put(over, key, "test", []byte("two"), Always); !errors.Is(err, context.Canceled) {
			t.Errorf("Put: %v", err)
		}
	}
	refuse()
	_, err := b.Put(context.Background(), key, "test", []byte("one"), func(_, _ []byte) error {
		refuse() // and does not wait for the Put that it is in
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	refuse()
	if got := b.load(key); got != "one" {
		t.Errorf("loaded %q", got)
	}
}

// atomically lets 16 writers for each of three accounts count up what they find. No step is lost.
func atomically(t *testing.T, b *bench) {
	const writers, steps = 16, 8
	accounts := []string{Key(t), Key(t), Key(t)}
	var all sync.WaitGroup
	for _, key := range accounts {
		for range writers {
			all.Go(func() {
				for range steps {
					countUp(b, key)
				}
			})
		}
	}
	all.Wait()
	for _, key := range accounts {
		if n := len(b.load(key)); n != writers*steps {
			t.Errorf("%d steps of %d are there", n, writers*steps)
		}
	}
}

var errRace = errors.New("somebody was faster")

// countUp adds an x to the JWT that it has loaded, unless it is not stored any more: then it begins again.
func countUp(b *bench, key string) {
	for {
		seen, _, _ := b.Load(key, jwtstore.Stamp{})
		_, err := b.Put(context.Background(), key, "test", append(slices.Clone(seen), 'x'), func(stored, _ []byte) error {
			if !bytes.Equal(stored, seen) {
				return errRace
			}
			return nil
		})
		if err == nil {
			return
		}
		if err != errRace {
			b.Errorf("Put: %v", err)
			return
		}
	}
}

// whole reads while versions of different sizes are written and others are refused.
func whole(t *testing.T, b *bench) {
	key := Key(t)
	version := func(n int) string { return fmt.Sprintf("%d:%s", n, strings.Repeat(fmt.Sprint(n%10), n*37%9000)) }
	b.put(key, version(0))
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
				jwt, _, err := b.Load(key, jwtstore.Stamp{})
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
		_, _ = b.Put(context.Background(), key, "test", []byte("refused"), func(_, _ []byte) error { return errRace })
		b.put(key, version(n))
	}
	close(done)
	readers.Wait()
}

// listed wants each account once, as soon as it is stored, and lets others write and stop listening meanwhile.
func listed(t *testing.T, b *bench) {
	b.lists()
	accounts := []string{Key(t), Key(t), Key(t)}
	for n, key := range accounts {
		b.put(key, "jwt")
		b.put(key, "jwt, edited")
		b.lists(accounts[:n+1]...)
	}
	for key, err := range b.Keys() {
		if err != nil || !slices.Contains(accounts, key) {
			t.Errorf("listed %q, %v", key, err)
		}
		b.put(key, "put while it is listed")
		break
	}
	if b.reopen != nil {
		b.Store = b.reopen()
		b.lists(accounts...)
	}
}

// lists wants exactly these accounts.
func (b *bench) lists(want ...string) {
	b.Helper()
	got := []string{}
	for key, err := range b.Keys() {
		if err != nil {
			b.Fatalf("Keys: %v", err)
		}
		got = append(got, key)
	}
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		b.Fatalf("listed are %q, want %q", got, want)
	}
}

func (b *bench) delete(key, tombstone string) uint64 {
	b.Helper()
	seq, err := b.Delete(context.Background(), key, "test", Bury(tombstone))
	if err != nil {
		b.Fatalf("Delete: %v", err)
	}
	return seq
}

// gone wants no JWT, and this tombstone.
func (b *bench) gone(key, tombstone string) {
	b.Helper()
	if jwt, _, err := b.Load(key, jwtstore.Stamp{}); !errors.Is(err, fs.ErrNotExist) {
		b.Fatalf("a deleted JWT is loaded: %q, %v", jwt, err)
	}
	b.kept(key, tombstone)
}

// kept wants this tombstone, "" for none.
func (b *bench) kept(key, tombstone string) {
	b.Helper()
	kept, err := b.Tombstone(key)
	if err != nil || string(kept) != tombstone || (kept == nil) != (tombstone == "") {
		b.Fatalf("the tombstone is %q, %v, want %q", kept, err, tombstone)
	}
}

func deleted(t *testing.T, b *bench) {
	key, other := Key(t), Key(t)
	first := b.put(key, "jwt")
	b.put(other, "other")
	_, stamp, _ := b.Load(key, jwtstore.Stamp{})
	b.kept(key, "")
	if seq := b.delete(key, "gone"); seq <= first {
		t.Errorf("sequence numbers %d, %d", first, seq)
	}
	b.gone(key, "gone")
	if _, _, err := b.Load(key, stamp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load with the stamp of the deleted JWT: %v", err)
	}
	if _, err := b.Touch(context.Background(), key, "test"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Touch: %v", err)
	}
	b.lists(other)
	if b.load(other) != "other" {
		t.Error("another account has changed")
	}
	b.kept(other, "")
}

func undeleted(t *testing.T, b *bench) {
	key, no := Key(t), errors.New("no")
	unasked := func(_, _ []byte) ([]byte, error) { t.Error("allow is asked"); return []byte("gone"), nil }
	if _, err := b.Delete(context.Background(), key, "test", unasked); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Delete of what is not there: %v", err)
	}
	b.kept(key, "")
	seq := b.put(key, "jwt")
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Delete(over, key, "test", unasked); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete with an ended context: %v", err)
	}
	if _, err := b.Delete(context.Background(), key, "test", func(_, _ []byte) ([]byte, error) { return []byte("x"), no }); err != no {
		t.Errorf("Delete returns %v", err)
	}
	for _, n := range []int{0, 4<<20 + 1} {
		if _, err := b.Delete(context.Background(), key, "test", Bury(strings.Repeat("x", n))); err == nil {
			t.Errorf("a tombstone of %d bytes is stored", n)
		}
	}
	if b.load(key) != "jwt" {
		t.Errorf("loaded %q", b.load(key))
	}
	b.kept(key, "")
	b.owed(seq)
	b.lists(key)
}

func tombstones(t *testing.T, b *bench) {
	key, before := Key(t), ""
	for n := range 3 {
		jwt, tombstone := fmt.Sprint("jwt ", n), fmt.Sprint("tombstone ", n)
		see := func(what string, stored, kept []byte, want string) {
			if string(stored) != want || (stored == nil) != (want == "") || string(kept) != before || (kept == nil) != (before == "") {
				t.Errorf("%s sees %q and the tombstone %q, want %q and %q", what, stored, kept, want, before)
			}
		}
		_, err := b.Put(context.Background(), key, "test", []byte(jwt), func(stored, kept []byte) error {
			see("Put", stored, kept, "")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if b.load(key) != jwt {
			t.Errorf("loaded %q", b.load(key))
		}
		b.kept(key, before)
		b.put(key, jwt)
		b.kept(key, before)
		own := []byte(tombstone)
		_, err = b.Delete(context.Background(), key, "test", func(stored, kept []byte) ([]byte, error) {
			see("Delete", stored, kept, jwt)
			return own, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		copy(own, "XXXXX")
		b.gone(key, tombstone)
		before = tombstone
	}
	large := strings.Repeat("x", 4<<20)
	b.put(key, "jwt")
	b.delete(key, large)
	b.gone(key, large)
}

func withdrawn(t *testing.T, b *bench) {
	a, c := Key(t), Key(t)
	b.Outbox().Register("s1", time.Now())
	gone, other := b.put(a, "1"), b.put(c, "1")
	b.delete(a, "gone")
	b.owed(other)
	if b.Outbox().IsPending("s1", gone) || b.Outbox().PendingFor(a) != (jwtstore.Change{}) {
		t.Error("the change of a deleted account is lacked")
	}
	b.Outbox().Acknowledge("s1", gone) // too late
	again := b.put(a, "2")
	b.owed(other, again)
	if !b.Outbox().IsPending("s1", again) {
		t.Error("what is put after a delete is not lacked")
	}
}

// deletedAtomically lets writers and deleters take turns with an account: the length of what is there, JWT or
// tombstone, grows by one with every step.
func deletedAtomically(t *testing.T, b *bench) {
	const workers, steps = 8, 8
	key := Key(t)
	longer := func(stored, tombstone []byte) []byte {
		return bytes.Repeat([]byte("x"), max(len(stored), len(tombstone))+1)
	}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for done := 0; done < steps; {
				_, err := b.Delete(context.Background(), key, "test", func(stored, tombstone []byte) ([]byte, error) {
					return longer(stored, tombstone), nil
				})
				if errors.Is(err, fs.ErrNotExist) {
					kept, _ := b.Tombstone(key)
					_, err = b.Put(context.Background(), key, "test", longer(nil, kept), func(stored, tombstone []byte) error {
						if stored != nil || !bytes.Equal(tombstone, kept) {
							return errRace
						}
						return nil
					})
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
	b.gone(key, strings.Repeat("x", workers*steps))
}

func touch(t *testing.T, b *bench) {
	key := Key(t)
	if _, err := b.Touch(context.Background(), key, "test"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Touch of what is not there: %v", err)
	}
	first := b.put(key, "jwt")
	seq, err := b.Touch(context.Background(), key, "test")
	if err != nil || seq <= first {
		t.Errorf("Touch = %d, %v after %d", seq, err, first)
	}
	b.owed(seq)
	if got := b.load(key); got != "jwt" {
		t.Errorf("loaded %q", got)
	}
}

func outbox(t *testing.T, b *bench) {
	one := b.put(Key(t), "1")
	b.owed(one) // nobody is known yet
	b.Outbox().Register("s1", time.Now())
	b.Outbox().Register("s2", time.Now())
	b.Outbox().Register("s2", time.Now())
	two := b.put(Key(t), "2")
	b.owed(one, two)
	if got := b.Outbox().Servers(); len(got) != 2 || !slices.Contains(got, "s1") || !slices.Contains(got, "s2") {
		t.Errorf("servers %q", got)
	}
	b.Outbox().Acknowledge("s1", one)
	b.Outbox().Acknowledge("s1", one)
	b.Outbox().Acknowledge("nobody", two)
	b.Outbox().Acknowledge("s1", 999)
	if b.Outbox().IsPending("s1", one) || !b.Outbox().IsPending("s2", one) || !b.Outbox().IsPending("s1", two) || !b.Outbox().IsPending("s2", two) {
		t.Error("who lacks what is wrong")
	}
	b.owed(one, two)
	b.Outbox().Acknowledge("s2", one)
	b.owed(two)
	b.Outbox().Acknowledge("s2", two)
	b.Outbox().Acknowledge("s1", two)
	b.owed()
	if b.Outbox().IsPending("s1", two) || b.Outbox().IsPending("new", two) {
		t.Error("a change that everybody has is lacked")
	}
}

func superseded(t *testing.T, b *bench) {
	a, c := Key(t), Key(t)
	b.Outbox().Register("s1", time.Now())
	b.Outbox().Register("s2", time.Now())
	first := b.put(a, "1")
	other := b.put(c, "1")
	b.Outbox().Acknowledge("s1", first)
	second := b.put(a, "2")
	b.owed(other, second)
	if b.Outbox().PendingFor(a).Seq != second || b.Outbox().PendingFor(c).Seq != other || b.Outbox().PendingFor(Key(t)) != (jwtstore.Change{}) {
		t.Error("an account's latest change is another")
	}
	if b.Outbox().IsPending("s2", first) {
		t.Error("a superseded change is lacked")
	}
	b.Outbox().Acknowledge("s2", first) // too late, and not the latest
	if !b.Outbox().IsPending("s1", second) || !b.Outbox().IsPending("s2", second) {
		t.Error("an acknowledgement of the older change counts for the newer")
	}
	b.Outbox().Acknowledge("s1", second)
	b.Outbox().Acknowledge("s2", second)
	b.owed(other)
}

func newcomer(t *testing.T, b *bench) {
	met := time.Now()
	b.Outbox().Register("s1", met.Add(-time.Minute))
	b.Outbox().Register("s1", met)
	if !b.Outbox().LastSeen("s1").Equal(met) || !b.Outbox().LastSeen("s2").IsZero() {
		t.Error("when the servers were last seen is wrong")
	}
	gone := b.put(Key(t), "1")
	b.Outbox().Acknowledge("s1", gone)
	kept := b.put(Key(t), "2")
	b.Outbox().Register("s2", time.Now())
	b.Outbox().Acknowledge("s1", kept)
	b.owed(kept)
	if !b.Outbox().IsPending("s2", kept) || b.Outbox().IsPending("s2", gone) {
		t.Error("a new server lacks the wrong changes")
	}
	b.Outbox().Acknowledge("s2", kept)
	b.owed()
}

func forgotten(t *testing.T, b *bench) {
	b.Outbox().Register("s1", time.Now())
	b.Outbox().Register("s2", time.Now())
	both, one := b.put(Key(t), "1"), b.put(Key(t), "2")
	b.Outbox().Acknowledge("s1", one)
	b.Outbox().Forget("nobody")
	b.Outbox().Forget("s2")
	b.owed(both)
	b.Outbox().Register("s2", time.Now())
	b.Outbox().Acknowledge("s2", both)
	b.Outbox().Forget("s2")
	b.Outbox().Register("s2", time.Now())
	if !b.Outbox().IsPending("s2", both) {
		t.Error("a server that was forgotten is still known to have a change")
	}
	b.Outbox().Forget("s2")
	b.Outbox().Forget("s1")
	b.owed(both) // nobody is known: somebody may come
	if got := b.Outbox().Servers(); len(got) != 0 {
		t.Errorf("servers %q", got)
	}
	b.Outbox().Register("s3", time.Now())
	if !b.Outbox().IsPending("s3", both) {
		t.Error("a new server has what a forgotten one had acknowledged")
	}
	b.Outbox().Acknowledge("s3", both)
	b.owed()
}

func anyOrder(t *testing.T, b *bench) {
	const n = 500
	b.Outbox().SetAnnounce(true)
	b.Outbox().Register("s1", time.Now())
	b.Outbox().Register("s2", time.Now())
	seqs := make([]uint64, n)
	var all sync.WaitGroup
	for w := range 50 {
		own := make([]string, n/50)
		for i := range own {
			own[i] = Key(t)
		}
		all.Go(func() {
			for i, key := range own {
				seqs[w*len(own)+i], _ = b.Put(context.Background(), key, "test", []byte("jwt"), Always)
			}
		})
	}
	all.Wait()
	for i := range seqs {
		b.Outbox().Acknowledge("s1", seqs[i])
		b.Outbox().Acknowledge("s2", seqs[n-1-i])
	}
	b.owed()
}

func quiet(t *testing.T, b *bench) {
	a, c := Key(t), Key(t)
	owed := b.put(a, "1")
	b.Outbox().SetAnnounce(false)
	b.put(a, "2")
	b.put(c, "1")
	b.owed(owed)
	b.Outbox().SetAnnounce(true)
	b.owed(owed, b.put(c, "2"))
}

func closed(t *testing.T, b *bench) {
	key := Key(t)
	b.put(key, "jwt")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(context.Background(), key, "test", []byte("new"), Always); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Put: %v", err)
	}
	if _, err := b.Touch(context.Background(), key, "test"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Touch: %v", err)
	}
	if _, err := b.Delete(context.Background(), key, "test", Bury("gone")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Delete: %v", err)
	}
}

func durable(t *testing.T, b *bench) {
	if b.reopen == nil {
		return // this store leaves nothing behind
	}
	b.Outbox().Register("s1", time.Now())
	b.Outbox().Register("s2", time.Now())
	accounts := make([]string, 20)
	seqs := make([]uint64, len(accounts))
	for i := range accounts {
		accounts[i] = Key(t)
		seqs[i] = b.put(accounts[i], fmt.Sprintf("jwt %d", i))
		b.Outbox().Acknowledge("s1", seqs[i])
	}
	b.Outbox().Acknowledge("s2", seqs[0])
	b.Outbox().Forget("s3")
	b.Store = b.reopen()
	for i, key := range accounts {
		if got := b.load(key); got != fmt.Sprintf("jwt %d", i) {
			t.Errorf("loaded %q", got)
		}
	}
	b.owed(seqs[1:]...)
	if b.Outbox().IsPending("s1", seqs[1]) || !b.Outbox().IsPending("s2", seqs[1]) {
		t.Error("who lacks what is wrong")
	}
	if seq := b.put(accounts[0], "new"); seq <= seqs[len(seqs)-1] {
		t.Errorf("sequence number %d after %d", seq, seqs[len(seqs)-1])
	}
	for _, c := range b.Outbox().Pending() {
		b.Outbox().Acknowledge("s1", c.Seq)
		b.Outbox().Acknowledge("s2", c.Seq)
	}
	b.Store = b.reopen()
	b.owed()
	if got := b.load(accounts[0]); got != "new" {
		t.Errorf("loaded %q", got)
	}
}

func deletedForGood(t *testing.T, b *bench) {
	if b.reopen == nil {
		return // this store leaves nothing behind
	}
	b.Outbox().Register("s1", time.Now())
	gone, back, again := Key(t), Key(t), Key(t)
	for _, key := range []string{gone, back, again} {
		b.put(key, "one")
		b.delete(key, "gone")
	}
	owed := b.put(back, "two")
	b.put(again, "two")
	last := b.delete(again, "gone again")
	for range 2 {
		b.Store = b.reopen()
		b.gone(gone, "gone")
		b.gone(again, "gone again")
		b.kept(back, "gone")
		if b.load(back) != "two" {
			t.Errorf("loaded %q", b.load(back))
		}
		b.lists(back)
		b.owed(owed)
	}
	if seq := b.put(gone, "new"); seq <= last {
		t.Errorf("sequence number %d after %d", seq, last)
	}
	b.Store = b.reopen()
	b.kept(gone, "gone")
	if b.load(gone) != "new" {
		t.Errorf("loaded %q", b.load(gone))
	}
}

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
