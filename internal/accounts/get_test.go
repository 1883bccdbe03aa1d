package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
)

// following is an environment with a primary, with peers, or with both.
func following(t *testing.T, primary, peers *source) *testEnv {
	t.Helper()
	e := newEnv(t, func(o *accounts.Options) {
		if peers != nil {
			o.Peers = peers
		}
	})
	if primary != nil {
		e.registry.SetPrimary(primary)
	}
	return e
}

// TestWhatIsNotStoredIsAskedFor: what the primary says counts more than what peers say.
func TestWhatIsNotStoredIsAskedFor(t *testing.T) {
	away, silent := errors.New("it does not answer"), errors.New("no server answers")
	const none, good, other, broken = "none", "good", "another's", "broken"
	for _, c := range []struct {
		name           string
		primary, peers string // what they answer; "" if there is no such source
		primaryErr     error  // if it answers nothing; without a primary that of peers
		want           any
		stored         bool
	}{
		{"no source", "", "", nil, accounts.ErrNotFound, false},
		{"peers have it", "", good, nil, nil, false},
		{"peers lack it", "", none, nil, accounts.ErrNotFound, false},
		{"peers have another account's", "", other, nil, accounts.ErrNotFound, false},
		{"peers have a broken one", "", broken, nil, accounts.ErrNotFound, false},
		{"peers can't tell", "", none, silent, accounts.ErrPeers, false},
		{"the primary has it", good, "", nil, nil, true},
		{"the primary has it, peers lack it", good, none, nil, nil, true},
		{"the primary lacks it", none, "", nil, accounts.ErrNotFound, false},
		{"the primary lacks it, peers have it", none, good, nil, nil, false},
		{"the primary is away", none, "", away, accounts.ErrPrimary, false},
		{"the primary is away, peers lack it", none, none, away, accounts.ErrUnreadable, false},
		{"the primary is away, peers have it", none, good, away, nil, false},
		{"the primary has another account's", other, "", nil, accounts.ErrUnreadable, false},
		{"the primary has a broken one, peers a good one", broken, good, nil, nil, false},
		{"the primary asks this server", none, none, accounts.ErrCircle, accounts.ErrCircle, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := jwttest.NewAccount(t)
			play := func(answer string, err error) *source {
				if answer == "" {
					return nil
				}
				return &source{err: err}
			}
			primary, peers := play(c.primary, c.primaryErr), play(c.peers, nil)
			if primary == nil && peers != nil {
				peers.err = c.primaryErr
			}
			e := following(t, primary, peers)
			token := e.signed(t, a, 0)
			answers := map[string][]byte{
				good:   token,
				other:  e.op.Account(t, jwttest.NewAccount(t)),
				broken: jwttest.Flip(token),
			}
			if answers[c.primary] != nil {
				primary.has(a.ID, answers[c.primary])
			}
			if answers[c.peers] != nil {
				peers.has(a.ID, answers[c.peers])
			}
			got, err := e.registry.Get(t.Context(), a.ID)
			wantError(t, err, c.want)
			if err == nil && !bytes.Equal(got.JWT, token) {
				t.Errorf("got %s", got.JWT)
			}
			if (e.stored(t, a.ID) != nil) != c.stored {
				t.Errorf("stored is %q", e.stored(t, a.ID))
			}
			if _, err := e.registry.GetLocal(t.Context(), a.ID); (err == nil) != c.stored {
				t.Errorf("this server alone has it: %v", err)
			}
		})
	}
}

// TestPeersAreOnlyAskedForWhatCanBeVerified: for account keys, and with an operator.
func TestPeersAreOnlyAskedForWhatCanBeVerified(t *testing.T) {
	peers := &source{}
	e := following(t, nil, peers)
	_, err := e.registry.Get(t.Context(), "*")
	wantError(t, err, accounts.ErrNotFound)
	if !e.registry.HasOperator() {
		t.Error("it has no operator")
	}
	e.registry.SetTrust(accounts.Trust{})
	_, err = e.registry.Get(t.Context(), jwttest.NewAccount(t).ID)
	wantError(t, err, accounts.ErrNotFound)
	if n := peers.count(); n != 0 || e.registry.HasOperator() {
		t.Errorf("asked %d times", n)
	}
}

// TestAnAnswerOfThePrimaryThatCantBeStored is served all the same if it is verified.
func TestAnAnswerOfThePrimaryThatCantBeStored(t *testing.T) {
	primary := &source{}
	e := following(t, primary, nil)
	a := jwttest.NewAccount(t)
	expired := e.signed(t, a, -time.Hour, func(c *jwt.AccountClaims) {
		c.Expires = e.now.Add(-time.Minute).Unix()
	})
	primary.has(a.ID, expired)
	get := func(want []byte, wanted any) {
		t.Helper()
		got, err := e.registry.Get(t.Context(), a.ID)
		wantError(t, err, wanted)
		if err == nil && !bytes.Equal(got.JWT, want) {
			t.Errorf("got %s", got.JWT)
		}
	}
	get(expired, nil)
	e.committer.putErr = errFull
	good := e.signed(t, a, 0)
	primary.has(a.ID, good)
	get(good, nil)
	if e.stored(t, a.ID) != nil {
		t.Error("it is stored")
	}
	e.committer.putErr = nil
	get(good, nil)
	if _, err := e.registry.Delete(t.Context(), e.order(t, time.Second, a.ID), onDeletion); err != nil {
		t.Fatal(err)
	}
	get(nil, accounts.ErrNotFound) // the primary has not heard of the deletion
}

// TestRefresh asks for what is stored: a newer JWT takes its place, an older one does not.
func TestRefresh(t *testing.T) {
	primary := &source{}
	e := following(t, primary, nil)
	a := jwttest.NewAccount(t)
	old, stored, newer := e.signed(t, a, -time.Hour), e.signed(t, a, 0), e.signed(t, a, time.Minute)
	e.mustPush(t, a.ID, stored)
	for _, c := range []struct {
		name   string
		answer []byte
		served []byte
		want   any
	}{
		{"the same", stored, stored, nil},
		{"an older one", old, stored, nil},
		{"no JWT", []byte("<html>"), stored, accounts.ErrBadJWT},
		{"none", nil, nil, accounts.ErrNotFound},
		{"a newer one", newer, newer, nil},
	} {
		primary.has(a.ID)
		if c.answer != nil {
			primary.has(a.ID, c.answer)
		}
		got, err := e.registry.Refresh(t.Context(), a.ID, primary)
		wantError(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the reason is there twice: %q", c.name, err)
		}
		if c.served != nil && !bytes.Equal(got.JWT, c.served) {
			t.Errorf("%s: got %s", c.name, got.JWT)
		}
	}
	if _, err := e.registry.Get(t.Context(), a.ID); err != nil || len(primary.served) != 1 {
		t.Errorf("%v; the primary is told %q", err, primary.served)
	}
}

// TestADamagedJWTIsMendedByThePrimary, and shown as it is as long as that does not have it.
func TestADamagedJWTIsMendedByThePrimary(t *testing.T) {
	primary, peers := &source{}, &source{}
	e := following(t, primary, peers)
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	peers.has(a.ID, token) // peers are not asked for what is damaged
	e.plant(t, a.ID, []byte("torn"))
	_, err := e.registry.Get(t.Context(), a.ID)
	wantError(t, err, accounts.ErrDamaged)
	line := "[ERR] " + logging.ShortKey(a.ID) + " - error loading JWT - expected 3 chunks"
	if !strings.Contains(e.log.String(), line) {
		t.Errorf("the log is %s", e.log)
	}
	raw, err := e.registry.GetRaw(t.Context(), a.ID)
	if err != nil || string(raw) != "torn" {
		t.Errorf("as text %q, %v", raw, err)
	}
	primary.has(a.ID, token)
	raw, err = e.registry.GetRaw(t.Context(), a.ID)
	if err != nil || !bytes.Equal(raw, token) {
		t.Errorf("as text %q, %v", raw, err)
	}
}

// TestManyGetsOfOneAccountAreOneQuestion, unless they have come through different servers.
func TestManyGetsOfOneAccountAreOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		primary := &source{delay: 100 * time.Millisecond}
		e := following(t, primary, nil)
		a := jwttest.NewAccount(t)
		token := e.signed(t, a, 0)
		primary.has(a.ID, token)
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				ctx := t.Context()
				if i == 0 {
					ctx = accounts.WithVia(ctx, "1.1 nas-ABCDEFGHIJKLMNOP")
				}
				got, err := e.registry.Get(ctx, a.ID)
				if err != nil || !bytes.Equal(got.JWT, token) {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		all.Wait()
		if n := primary.count(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestAMissTakesASecondAtMost, also if many wait; what can't be known then is said.
func TestAMissTakesASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &source{delay: time.Hour}
		withPrimary, withPeers := following(t, slow, nil), following(t, nil, slow)
		var all sync.WaitGroup
		began := time.Now()
		for range 100 { // more than the primary is asked at a time
			key := jwttest.NewAccount(t).ID
			all.Go(func() {
				_, err := withPrimary.registry.Get(context.Background(), key)
				if !errors.Is(err, accounts.ErrUnreadable) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if slow.maxBusy != 64 {
			t.Errorf("%d lookups at a time", slow.maxBusy)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_, err := withPeers.registry.Get(ctx, jwttest.NewAccount(t).ID)
		wantError(t, err, accounts.ErrPeers)
		_, err = withPrimary.registry.Get(ctx, jwttest.NewAccount(t).ID)
		wantError(t, err, accounts.ErrUnreadable)
		if took := time.Since(began); took > 1200*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		time.Sleep(time.Hour)
	})
}

// TestWhatIsUnsavedIsServedFirst, if it is verified and newer than what is stored.
func TestWhatIsUnsavedIsServedFirst(t *testing.T) {
	unsaved := &source{}
	e := newEnv(t, func(o *accounts.Options) { o.Unsaved = unsaved })
	a := jwttest.NewAccount(t)
	stored, newer := e.signed(t, a, 0), e.signed(t, a, time.Second)
	older := e.signed(t, a, -time.Second)
	e.mustPush(t, a.ID, stored)
	for _, c := range []struct{ unsaved, want []byte }{
		{nil, stored}, {newer, newer}, {jwttest.Flip(newer), stored}, {older, stored},
	} {
		unsaved.has(a.ID)
		if c.unsaved != nil {
			unsaved.has(a.ID, c.unsaved)
		}
		for _, get := range []func(context.Context, string) (*accounts.Account, error){
			e.registry.Get, e.registry.GetLocal, // for HTTP, and for a lookup over NATS
		} {
			got, err := get(t.Context(), a.ID)
			if err != nil || !bytes.Equal(got.JWT, c.want) {
				t.Errorf("got %v, %v", got, err)
			}
		}
	}
}

// TestAStoreThatCantBeRead is not one without the account, whatever others have.
func TestAStoreThatCantBeRead(t *testing.T) {
	peers := &source{}
	e := newEnv(t, func(o *accounts.Options) { o.Store, o.Peers = unreadable{o.Store}, peers })
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	peers.has(a.ID, token)
	_, err := e.registry.Get(t.Context(), a.ID)
	wantError(t, err, accounts.ErrUnreadable)
	_, err = e.registry.GetRaw(t.Context(), a.ID)
	wantError(t, err, accounts.ErrUnreadable)
	if _, err := e.registry.Verify(a.ID, token); err == nil {
		t.Error("it is verified without its tombstone")
	}
}

// TestAFileThatIsGoneIsNotServed from memory.
func TestAFileThatIsGoneIsNotServed(t *testing.T) {
	primary := &source{}
	e := following(t, primary, nil)
	a := jwttest.NewAccount(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	remove := func(jwtstore.Stored) ([]byte, error) { return []byte("x"), nil }
	if _, err := e.store.Delete(t.Context(), a.ID, "hand", remove); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := e.registry.Get(t.Context(), a.ID)
		wantError(t, err, accounts.ErrNotFound)
	}
}

// TestVia passes on which account servers a request has come through, and nothing else.
func TestVia(t *testing.T) {
	const id, other = "nas-ABCDEFGHIJKLMNOP", "nas-QRSTUVWXYZ234567"
	many := ""
	for range 17 {
		many += "1.1 " + other + ", "
	}
	for _, c := range []struct {
		in, out string
		want    any
	}{
		{"", "1.1 " + id, nil},
		{"1.1 proxy", "1.1 " + id, nil},
		{"1.0 proxy, 1.1 " + other, "1.1 " + other + ", 1.1 " + id, nil},
		{"1.1 " + other + ", 1.1 " + id, "", accounts.ErrCircle},
		{many, "", accounts.ErrCircle},
	} {
		got, err := accounts.ExtendVia(accounts.WithVia(t.Context(), c.in), id)
		wantError(t, err, c.want)
		if got != c.out {
			t.Errorf("%q becomes %q", c.in, got)
		}
	}
	if via := accounts.Via(t.Context()); via != "" {
		t.Errorf("via %q", via)
	}
}

// counting is a Store that counts how often it is read.
type counting struct {
	accounts.Store
	loads int
}

func (c *counting) Load(key string, known jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	c.loads++
	return c.Store.Load(key, known)
}

// TestTheStoreIsReadOnce for a miss, and not at all for what has just been put.
func TestTheStoreIsReadOnce(t *testing.T) {
	primary, peers, store := &source{}, &source{}, &counting{}
	e := newEnv(t, func(o *accounts.Options) {
		store.Store, o.Store, o.Peers = o.Store, store, peers
	})
	e.registry.SetPrimary(primary)
	a, unknown := jwttest.NewAccount(t), jwttest.NewAccount(t)
	primary.has(a.ID, e.signed(t, a, 0))
	for _, c := range []struct {
		name string
		do   func() error
		want int
	}{
		{"a miss that the primary answers", func() error {
			_, err := e.registry.Get(t.Context(), a.ID)
			return err
		}, 1},
		{"a miss that no server answers", func() error {
			_, err := e.registry.Get(t.Context(), unknown.ID)
			if errors.Is(err, accounts.ErrNotFound) {
				return nil
			}
			return err
		}, 1},
		{"a push", func() error {
			_, err := e.push(a.ID, e.signed(t, a, time.Second))
			return err
		}, 0},
		{"the same again",
			func() error { _, err := e.push(a.ID, e.signed(t, a, time.Second)); return err }, 0},
	} {
		store.loads = 0
		if err := c.do(); err != nil || store.loads != c.want {
			t.Errorf("%s: the store is read %d times, %v", c.name, store.loads, err)
		}
	}
}

func TestAPlantedFileIsServedOnlyIfTheOperatorSignedIt(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.op.Account(t, a))
	got, err := e.registry.GetLocal(context.Background(), a.ID)
	wantError(t, err, nil)
	if !strings.HasPrefix(got.ETag, `"`+got.ID+"-") || len(got.ETag) != len(got.ID)+11 {
		t.Errorf("ETag %s", got.ETag)
	}
	e.plant(t, a.ID, jwttest.NewOperator(t).Account(t, a))
	for range 3 {
		_, err = e.registry.GetLocal(context.Background(), a.ID)
		wantError(t, err, accounts.ErrDamaged)
	}
	if n := strings.Count(e.log.String(), "[ERR] "+a.ID[:12]+" - error loading JWT - the "+
		"operator"); n != 1 {
		t.Errorf("%d log lines, want 1:\n%s", n, e.log)
	}
	if raw, err := e.registry.GetRaw(context.Background(), a.ID); err != nil || len(raw) == 0 {
		t.Errorf("people can't look at it: %v", err)
	}
}

func TestAChangeOfTrustIsSeenAtOnce(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.op.Account(t, a))
	_, err := e.registry.GetLocal(context.Background(), a.ID)
	wantError(t, err, nil)
	e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t)))
	_, err = e.registry.GetLocal(context.Background(), a.ID)
	wantError(t, err, accounts.ErrDamaged)
}

func TestTheConfiguredSystemAccountIsServedWhenTheStoreLacksIt(t *testing.T) {
	e := newEnv(t)
	system, token := e.withSystem(t)
	e.registry.SetTrust(system)
	got, err := e.registry.GetLocal(context.Background(), e.op.System.ID)
	wantError(t, err, nil)
	if !bytes.Equal(got.JWT, token) {
		t.Error("another JWT is served")
	}
	_, err = e.push(e.op.System.ID,
		jwttest.Sign(t, e.op.Signing, e.op.System, e.now.Add(-time.Hour)))
	wantError(t, err, &accounts.OlderError{})
	newer := jwttest.Sign(t, e.op.Signing, e.op.System, e.now.Add(time.Second))
	_, err = e.push(e.op.System.ID, newer)
	wantError(t, err, nil)
	if got, _ := e.registry.GetLocal(context.Background(), e.op.System.ID); !bytes.Equal(got.JWT,
		newer) {
		t.Error("the stored one does not come first")
	}
}

// TestWhatTheIndexKnowsIsNotVerifiedAgain makes the index say that a damaged JWT is good: only then
// is it served, and only under the trust under which it was judged.
func TestWhatTheIndexKnowsIsNotVerifiedAgain(t *testing.T) {
	e := newEnv(t)
	good, a := jwttest.NewAccount(t), jwttest.NewAccount(t)
	goodToken, token := e.signed(t, good, 0), e.signed(t, a, 0)
	e.mustPush(t, good.ID, goodToken)
	signature := goodToken[bytes.LastIndexByte(goodToken, '.'):]
	token = append(token[:len(token)-len(signature)], signature...)
	e.plant(t, a.ID, token)
	if _, err := e.registry.GetLocal(t.Context(), a.ID); !errors.Is(err, accounts.ErrDamaged) {
		t.Errorf("it is served: %v", err)
	}
	index := e.store.Index()
	known := index.Get(a.ID)
	known.Servable, known.Mark, known.Hash = true, index.Get(good.ID).Mark, sha256.Sum256(token)
	index.Swap(a.ID, index.Get(a.ID), known)
	registry := accounts.New(e.options(t)) // as after a start
	if found, err := registry.GetLocal(t.Context(), a.ID); err != nil || found.Key != a.ID {
		t.Errorf("the index knows it: %v, %v", found, err)
	}
	e.op = jwttest.NewOperator(t)
	registry.SetTrust(e.trust(t, e.op))
	if _, err := registry.GetLocal(t.Context(), a.ID); !errors.Is(err, accounts.ErrDamaged) {
		t.Errorf("under another operator: %v", err)
	}
}

// waiting is a source that ends when it may.
type waiting struct {
	token []byte
	may   chan struct{}
}

func (w *waiting) Find(_ context.Context, _ string, take func(token []byte) error) error {
	err := take(w.token)
	<-w.may
	return err
}

// TestAnAnswerUnderAnotherTrustIsNotShared: what a client gets that asks after a reload was judged
// after it, although an earlier client has asked for the same.
func TestAnAnswerUnderAnotherTrustIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := &waiting{may: make(chan struct{})}
		e := newEnv(t, func(o *accounts.Options) { o.Peers = peers })
		a := jwttest.NewAccount(t)
		peers.token = e.signed(t, a, 0)
		e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t)))
		var before, after error
		var asking sync.WaitGroup
		asking.Go(func() { _, before = e.registry.Get(t.Context(), a.ID) })
		synctest.Wait()
		e.registry.SetTrust(e.trust(t, e.op))
		asking.Go(func() { _, after = e.registry.Get(t.Context(), a.ID) })
		synctest.Wait()
		close(peers.may)
		asking.Wait()
		if after != nil {
			t.Errorf("%v, and after the reload %v", before, after)
		}
	})
}

// TestOfSeveralPeersTheNewestAnswerCounts, whichever comes first.
func TestOfSeveralPeersTheNewestAnswerCounts(t *testing.T) {
	peers := several{}
	e := newEnv(t, func(o *accounts.Options) { o.Peers = &peers })
	a := jwttest.NewAccount(t)
	lesser, greater := byHash(e.signed(t, a, 0), e.signed(t, a, 0, func(c *jwt.AccountClaims) {
		c.Name = "other"
	}))
	for _, peers = range []several{{lesser, greater}, {greater, lesser},
		{e.signed(t, a, -time.Second), greater}} {
		got, err := e.registry.Get(t.Context(), a.ID)
		if err != nil || !bytes.Equal(got.JWT, greater) {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// several is a Source that has the answers of several servers.
type several [][]byte

func (s *several) Find(_ context.Context, _ string, take func(token []byte) error) error {
	for _, token := range *s {
		if err := take(token); err != nil {
			return err
		}
	}
	return nil
}

// TestWhatIsUnsavedAndBad is not one without the account.
func TestWhatIsUnsavedAndBad(t *testing.T) {
	unsaved := &source{}
	e := newEnv(t, func(o *accounts.Options) { o.Unsaved = unsaved })
	a, absent := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	for _, why := range []error{accounts.ErrDamaged, accounts.ErrUnreadable} {
		unsaved.err = why
		_, err := e.registry.GetLocal(t.Context(), absent.ID)
		wantError(t, err, why)
		_, err = e.registry.GetLocal(t.Context(), a.ID) // that is stored
		wantError(t, err, nil)
	}
}

// TestAStoreThatCantBeReadVerifiesNothing: it is not known what was accepted or deleted before.
func TestAStoreThatCantBeReadVerifiesNothing(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	r := accounts.New(e.options(t, func(o *accounts.Options) { o.Store = unreadable{e.store} }))
	if got, err := r.Verify(a.ID, e.signed(t, a, 0)); got != nil || err == nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := e.registry.Verify("x", e.signed(t, a, 0)); got != nil || err == nil {
		t.Errorf("no key: %v, %v", got, err)
	}
}
