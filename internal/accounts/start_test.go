package accounts_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// work is what a start has done.
type work struct{ read, verified int }

// startIn opens the store in a directory, as the next start does, looks at all of its files, and returns
// what that took.
func startIn(t *testing.T, e *testEnv, dir string) (w work, digest accounts.Digest) {
	t.Helper()
	d, err := jwtstore.OpenDir(context.Background(), jwtstore.Options{Dir: dir, Shard: true, Warn: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	store := &countingStore{Store: d}
	registry := accounts.New(e.options(t, func(o *accounts.Options) { o.Store, o.Committer = store, d }))
	rescan(t, registry)
	return work{int(store.read.Load()), int(registry.Verified())}, registry.Digest()
}

// awaitCold has starts look at a directory until no file in it was written just now.
func awaitCold(t *testing.T, e *testEnv, dir string) accounts.Digest {
	t.Helper()
	for {
		if w, digest := startIn(t, e, dir); w == (work{}) {
			return digest
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAStartReadsWhatTheIndexDoesNotKnow, and verifies only what it has never seen.
func TestAStartReadsWhatTheIndexDoesNotKnow(t *testing.T) {
	const many = 20
	e, dir := newEnv(t), t.TempDir()
	var files []string
	for range many {
		a := jwttest.NewAccount(t)
		path := filepath.Join(dir, jwtstorePath(a.ID))
		_ = os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, e.signed(t, a, 0), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	begin := func(name string, want work) (digest accounts.Digest) {
		t.Helper()
		got, digest := startIn(t, e, dir)
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		return digest
	}
	want := begin("a first start", work{many, many})
	awaitCold(t, e, dir)
	if got := begin("a second start", work{}); got != want {
		t.Errorf("the digest is %x, want %x", got, want)
	}
	again, _ := os.ReadFile(files[0])
	if err := os.WriteFile(files[0], again, 0o600); err != nil {
		t.Fatal(err)
	}
	begin("a file that was written anew, and is the same", work{1, 0})
	awaitCold(t, e, dir)
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	dir = copied
	if got := begin("a copy", work{many, 0}); got != want {
		t.Errorf("the digest of a copy is %x, want %x", got, want)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".journal")); err != nil {
		t.Fatal(err)
	}
	if got := begin("without the index", work{many, many}); got != want {
		t.Errorf("the digest without the index is %x, want %x", got, want)
	}
}

// jwtstorePath is where the JWT of an account is in a sharded store.
func jwtstorePath(key string) string { return filepath.Join(key[54:], key+".jwt") }

// TestATrustChangeJudgesByIssuer: it reads no JWT but those that may have become good.
func TestATrustChangeJudgesByIssuer(t *testing.T) {
	store := &countingStore{}
	e := newEnv(t, func(o *accounts.Options) { store.Store, o.Store = o.Store, store })
	other, _ := nkeys.CreateOperator()
	id, _ := other.PublicKey()
	trustOther := func(is bool) {
		e.op.Claims.SigningKeys.Remove(id)
		if is {
			e.op.Claims.SigningKeys.Add(id)
		}
		e.registry.SetTrust(e.trust(t, e.op))
		store.read.Store(0)
	}
	var ours, theirs, foreign []string
	for range 10 {
		a, b, c := jwttest.NewAccount(t), jwttest.NewAccount(t), jwttest.NewAccount(t)
		e.plant(t, a.ID, e.signed(t, a, 0))
		e.plant(t, b.ID, jwttest.Sign(t, other, b, e.now))
		e.plant(t, c.ID, jwttest.NewOperator(t).Account(t, c))
		ours, theirs, foreign = append(ours, a.ID), append(theirs, b.ID), append(foreign, c.ID)
	}
	rescan(t, e.registry)
	check := func(name string, good, reads, verified int) {
		t.Helper()
		before := e.registry.Verified()
		rescan(t, e.registry)
		if got := int(store.read.Load()); got != reads {
			t.Errorf("%s: %d JWTs are read, want %d", name, got, reads)
		}
		if got := int(e.registry.Verified() - before); got != verified {
			t.Errorf("%s: %d JWTs are verified, want %d", name, got, verified)
		}
		if got := len(e.registry.Keys()); got != good {
			t.Errorf("%s: %d JWTs are good, want %d", name, got, good)
		}
	}
	trustOther(true)
	check("a key more", 20, 10, 10)
	trustOther(false)
	check("a key less", 10, 0, 0)
	if _, err := e.registry.GetLocal(t.Context(), theirs[0]); err == nil {
		t.Error("an account that the removed key has signed is served")
	}
	if _, err := e.registry.GetLocal(t.Context(), ours[0]); err != nil {
		t.Error(err)
	}
	trustOther(true)
	check("the key again", 20, 10, 10)
	e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t)))
	store.read.Store(0)
	check("another operator", 0, 0, 0)
	if _, err := e.registry.GetLocal(t.Context(), foreign[0]); err == nil {
		t.Error("an account of a foreign operator is served")
	}
}

// TestWhatIsServedAfterATrustChange is what is trusted now, also before the index is judged anew. What the
// index knows to be signed as it says is not verified for that.
func TestWhatIsServedAfterATrustChange(t *testing.T) {
	e := newEnv(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	e.mustPush(t, b.ID, jwttest.Sign(t, e.op.Key, b, e.now))
	both := e.trust(t, e.op)
	e.op.Claims.StrictSigningKeyUsage = true
	e.registry.SetTrust(e.trust(t, e.op))
	before := e.registry.Verified()
	if _, err := e.registry.GetLocal(t.Context(), a.ID); err != nil || e.registry.Verified() != before {
		t.Errorf("%v, %d JWTs were verified", err, e.registry.Verified()-before)
	}
	if _, err := e.registry.GetLocal(t.Context(), b.ID); err == nil {
		t.Error("what the identity key has signed is served by an operator that requires signing keys")
	}
	e.registry.SetTrust(both)
	if _, err := e.registry.GetLocal(t.Context(), b.ID); err != nil {
		t.Error(err)
	}
	if signers := both.Operators.Signers(); len(signers) != 2 || len((trust.Operators{}).Signers()) != 0 {
		t.Errorf("the signers are %q", signers)
	}
}

// TestASweepFindsEdits soon after the start, and then every hour.
func TestASweepFindsEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		ctx, cancel := context.WithCancel(t.Context())
		var sweep sync.WaitGroup
		sweep.Go(func() { e.registry.Sweep(ctx) })
		for _, wait := range []time.Duration{time.Minute, time.Hour} {
			a := jwttest.NewAccount(t)
			e.plant(t, a.ID, e.signed(t, a, 0))
			time.Sleep(wait)
			if synctest.Wait(); !e.store.Index().Get(a.ID).Servable {
				t.Errorf("after %s it is not known", wait)
			}
		}
		cancel()
		sweep.Wait()
	})
}

// endingStore ends a Rescan with its first look at a file.
type endingStore struct {
	accounts.Store
	end func()
}

func (s endingStore) Load(key string, known jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	s.end()
	return s.Store.Load(key, known)
}

// TestAFirstStartThatIsStoppedGoesOn with the next one: what that one finds has not come by hand.
func TestAFirstStartThatIsStoppedGoesOn(t *testing.T) {
	e, dir := newEnv(t), t.TempDir()
	plant := func() (key string) {
		a := jwttest.NewAccount(t)
		_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, jwtstorePath(a.ID))), 0o700)
		jwttest.File(t, dir, jwtstorePath(a.ID), e.signed(t, a, 0))
		return a.ID
	}
	for range 100 {
		plant()
	}
	start := func(stop bool, then func(*accounts.Registry)) {
		d, err := jwtstore.OpenDir(t.Context(), jwtstore.Options{Dir: dir, Shard: true, Warn: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		registry := accounts.New(e.options(t, func(o *accounts.Options) {
			o.Store, o.Committer = d, d
			if stop {
				o.Store = endingStore{d, cancel}
			}
		}))
		if err := registry.Rescan(ctx); stop != (err != nil) {
			t.Fatalf("the Rescan ends with %v", err)
		}
		then(registry)
	}
	start(true, func(r *accounts.Registry) {
		if n := len(r.Keys()); n == 0 || n == 100 {
			t.Fatalf("the start that was stopped has seen %d of 100", n)
		}
	})
	const byHand = "changed by hand"
	start(false, func(r *accounts.Registry) {
		if n := strings.Count(e.log.String(), byHand); n > 0 || len(r.Keys()) != 100 {
			t.Errorf("%d of 100 count as put there by hand, and %d are known", n, len(r.Keys()))
		}
	})
	start(false, func(r *accounts.Registry) {
		key := plant()
		rescan(t, r)
		if want := logging.ShortKey(key) + " - the stored JWT was " + byHand; strings.Count(
			e.log.String(), byHand) != 1 || !strings.Contains(e.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, e.log)
		}
	})
}
