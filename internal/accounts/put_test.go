package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

// TestWhatIsTaken is every rule for a posted JWT, one row each. A row puts one JWT to a store that
// holds another.
func TestWhatIsTaken(t *testing.T) {
	e := newEnv(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	stranger := jwttest.NewOperator(t)
	_, user := a.User(t)
	hour := func(h int) time.Time { return e.now.Add(time.Duration(h) * time.Hour) }
	sign := func(at time.Time, edits ...func(*jwt.AccountClaims)) []byte {
		return jwttest.Sign(t, e.op.Signing, a, at, edits...)
	}
	named := func(n string) func(*jwt.AccountClaims) { return func(c *jwt.AccountClaims) { c.Name = n } }
	revoked := func(c *jwt.AccountClaims) { c.RevokeAt(user, e.now) }
	expired := func(c *jwt.AccountClaims) { c.Expires = e.now.Add(-time.Minute).Unix() }
	now := sign(e.now)
	v1 := func(header string) []byte {
		return jwttest.EncodeRaw(t, e.op.Key, header,
			[]byte(`{"jti":"x","iat":1600000000,"iss":"`+e.op.ID+
				`","name":"old","sub":"`+a.ID+`","type":"account","nats":{"limits":{"subs":-1,"conn":-1,`+
				`"leaf":-1,"imports":-1,"exports":-1,"data":-1,"payload":-1,"wildcards":true}}}`), false)
	}
	plainV1 := v1(`{"typ":"jwt","alg":"ed25519"}`)
	asOther := jwttest.Sign(t, e.op.Signing, other, e.now)
	asUser := jwttest.Sign(t, e.op.Signing, &jwttest.Account{ID: user}, e.now)
	older, unchanged := &accounts.OlderError{}, error(nil)

	for _, c := range []struct {
		name   string
		stored []byte
		offer  []byte
		key    string // "" = a's
		want   any    // nil = accepted, a sentinel, or a *pointer to an error type
		kept   bool   // what was stored must still be there
	}{
		{name: "a new account is taken", offer: now},
		{name: "a newer JWT replaces an older one", stored: sign(hour(-1)), offer: now},
		{name: "signed by the operator's own key", offer: jwttest.Sign(t, e.op.Key, a, e.now)},
		{name: "a version 1 JWT", offer: plainV1},
		{name: "white space around it is trimmed", offer: append(append([]byte(" \n"), now...),
			"\r\n"...)},
		{name: "two edits in one second, the second one a revocation: the later arrival stands",
			stored: sign(e.now, named("first")), offer: sign(e.now, revoked)},
		{name: "B5: an older JWT is refused", stored: now, offer: sign(hour(-1)), want: older,
			kept: true},
		{name: "B5: the JWT from before a revocation is refused", stored: sign(e.now, revoked),
			offer: sign(e.now.Add(-time.Second)), want: older, kept: true},
		{name: "the very same bytes again", stored: now, offer: now, want: unchanged, kept: true},
		{name: "the same payload in other bytes does not replace it", stored: plainV1,
			offer: v1(`{"alg":"ed25519","typ":"jwt"}`), want: unchanged, kept: true},
		{name: "the same payload with a damaged signature", stored: now, offer: jwttest.Flip(now),
			want: accounts.ErrBadJWT, kept: true},
		{name: "a damaged stored JWT is replaced, also by an older one", stored: []byte("torn"),
			offer: sign(hour(-1))},
		{name: "a stored JWT of a foreign operator does not count as newer", stored: jwttest.Sign(t,
			stranger.Signing, a, e.now), offer: sign(hour(-1))},
		{name: "a stored JWT from the far future does not count as newer", stored: sign(hour(1)),
			offer: now},
		{name: "the same bytes, stored by hand and not ours", stored: jwttest.Flip(now),
			offer: jwttest.Flip(now), want: accounts.ErrBadJWT, kept: true},
		{name: "six minutes ahead of our clock", offer: sign(e.now.Add(6 * time.Minute)),
			want: &accounts.FutureError{}},
		{name: "four minutes ahead of our clock", offer: sign(e.now.Add(4 * time.Minute))},
		{name: "garbage", offer: []byte("hello"), want: accounts.ErrBadJWT},
		{name: "nothing", offer: nil, want: accounts.ErrBadJWT},
		{name: "another account's JWT", stored: now, offer: asOther, want: accounts.ErrMismatch,
			kept: true},
		{name: "a user's key", offer: asUser, key: user, want: accounts.ErrBadSubject},
		{name: "self-signed", offer: jwttest.Sign(t, a.Key, a, e.now), want: accounts.ErrSelfSigned},
		{name: "signed by another account", offer: jwttest.Sign(t, other.Key, a, e.now),
			want: accounts.ErrBadIssuer},
		{name: "a foreign operator's", stored: now, offer: jwttest.Sign(t, stranger.Signing, a,
			hour(0)), want: accounts.ErrUntrusted, kept: true},
		{name: "the operator's name with a stranger's signature", offer: forged(t, e.op.ID,
			stranger, a), want: accounts.ErrBadJWT},
		{name: "B6: a line break inside the signature",
			offer: append(append(bytes.Clone(now[:len(now)-3]), '\n'), now[len(now)-3:]...),
			want:  accounts.ErrBadJWT},
		{name: "the operator's JWT", offer: []byte(e.op.Token(t)), want: accounts.ErrBadJWT},
		{name: "expired", offer: sign(e.now, expired), want: &accounts.BlockedError{}},
		{name: "expired, and the very same is stored", stored: sign(e.now, expired),
			offer: sign(e.now, expired), want: &accounts.BlockedError{}, kept: true},
		{name: "not yet valid",
			offer: sign(e.now, func(c *jwt.AccountClaims) { c.NotBefore = hour(1).Unix() }),
			want:  &accounts.BlockedError{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e.store = jwtstore.NewMemory(true)
			e.registry = accounts.New(accounts.Options{Store: e.store, Committer: e.store,
				Announcer: e.announcer,
				Trust:     e.trust(t, e.op), Now: func() time.Time { return e.now }})
			key := c.key
			if key == "" {
				key = a.ID
			}
			e.plant(t, key, c.stored)
			told := e.announcer.count()
			result, err := e.push(key, c.offer)
			wantError(t, err, c.want)
			got := e.stored(t, key)
			switch {
			case c.kept && !bytes.Equal(got, c.stored):
				t.Errorf("what was stored is gone; now %q", got)
			case err != nil && !c.kept && got != nil:
				t.Errorf("refused, but %q is stored", got)
			case err == nil && !c.kept && (!bytes.Equal(got, bytes.TrimSpace(c.offer)) ||
				!result.Changed):
				t.Errorf("accepted (changed %v), but %q is stored", result.Changed, got)
			case err == nil && c.kept && result.Changed:
				t.Error("says that something changed")
			}
			announced := e.announcer.count() - told
			if want := map[bool]int{true: 1, false: 0}[err == nil]; announced != want {
				t.Errorf("announced %d times, want %d", announced, want)
			}
		})
	}
}

// forged is a JWT that names the operator as its issuer but carries another key's signature.
func forged(t *testing.T, issuer string, by *jwttest.Operator, a *jwttest.Account) []byte {
	c := jwt.NewAccountClaims(a.ID)
	c.Issuer, c.IssuedAt, c.Type, c.Version = issuer, time.Now().Unix(), jwt.AccountClaim, 2
	return jwttest.Encode(t, by.Key, c)
}

func TestWithoutAnOperatorEveryWritingDoorIsClosed(t *testing.T) {
	e := newEnv(t, func(o *accounts.Options) { o.Trust = accounts.Trust{} })
	a := jwttest.NewAccount(t)
	_, err := e.push(a.ID, e.op.Account(t, a))
	wantError(t, err, accounts.ErrUntrusted)
	_, err = e.push(a.ID, jwttest.Sign(t, a.Key, a, e.now))
	wantError(t, err, accounts.ErrSelfSigned)
	e.plant(t, a.ID, e.op.Account(t, a))
	if _, err := e.registry.GetLocal(context.Background(), a.ID); err != nil {
		t.Errorf("reading does not work: %v", err)
	}
}

func TestAnOperatorThatDemandsSigningKeysRefusesItsOwnSignature(t *testing.T) {
	e := newEnv(t)
	e.op = jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = true })
	e.registry.SetTrust(e.trust(t, e.op))
	a := jwttest.NewAccount(t)
	_, err := e.push(a.ID, jwttest.Sign(t, e.op.Key, a, e.now))
	wantError(t, err, accounts.ErrUntrusted)
	_, err = e.push(a.ID, e.op.Account(t, a))
	wantError(t, err, nil)
}

func TestAllowOlderIsForRestores(t *testing.T) {
	e := newEnv(t, func(o *accounts.Options) { o.AllowOlder = true })
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.op.Account(t, a))
	_, err := e.push(a.ID, jwttest.Sign(t, e.op.Signing, a, e.now.Add(-time.Hour)))
	wantError(t, err, nil)
}

func TestAJWTLargerThanMaxPayloadIsRefusedBeforeItIsSaved(t *testing.T) {
	e := newEnv(t)
	e.announcer.maxPayload = 300
	a := jwttest.NewAccount(t)
	_, err := e.push(a.ID, e.op.Account(t, a))
	wantError(t, err, &accounts.TooLargeError{})
}

func TestAnUnchangedPushIsAnnouncedOncePerFiveSeconds(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.op.Account(t, a)
	push := func() { _, err := e.push(a.ID, token); wantError(t, err, nil) }
	push() // the change itself
	for range 3 {
		push()
	}
	if n := e.announcer.count(); n != 2 {
		t.Fatalf("announced %d times, want the change and one repetition", n)
	}
	e.now = e.now.Add(5 * time.Second)
	push()
	if n := e.announcer.count(); n != 3 {
		t.Errorf("announced %d times after five seconds, want 3", n)
	}
}

func TestARaceOfAnOlderAndANewerJWTEndsWithTheNewer(t *testing.T) {
	e := newEnv(t)
	for range 50 {
		a := jwttest.NewAccount(t)
		newer := e.op.Account(t, a)
		older := jwttest.Sign(t, e.op.Signing, a, e.now.Add(-time.Minute))
		var race sync.WaitGroup
		for _, token := range [][]byte{older, newer} {
			race.Go(func() { _, _ = e.push(a.ID, token) })
		}
		race.Wait()
		if !bytes.Equal(e.stored(t, a.ID), newer) {
			t.Fatal("the older JWT stands")
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
	if n := strings.Count(e.log.String(), "not served"); n != 1 {
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
	token := e.op.SystemAccount(t)
	head, err := trust.Peek(token)
	wantError(t, err, nil)
	trust := e.trust(t, e.op)
	trust.System = accounts.NewAccount(token, head)
	e.registry.SetTrust(trust)
	got, err := e.registry.GetLocal(context.Background(), e.op.System.ID)
	wantError(t, err, nil)
	if !bytes.Equal(got.JWT, token) {
		t.Error("another JWT is served")
	}
	_, err = e.push(e.op.System.ID, jwttest.Sign(t, e.op.Signing, e.op.System, e.now.Add(-time.Hour)))
	wantError(t, err, &accounts.OlderError{})
	newer := jwttest.Sign(t, e.op.Signing, e.op.System, e.now.Add(time.Second))
	_, err = e.push(e.op.System.ID, newer)
	wantError(t, err, nil)
	if got, _ := e.registry.GetLocal(context.Background(), e.op.System.ID); !bytes.Equal(got.JWT, newer) {
		t.Error("the stored one does not come first")
	}
}

func TestWhatIsSaidAboutDelivery(t *testing.T) {
	for want, d := range map[string]accounts.Delivery{
		"NATS is not configured":                         {State: accounts.NotConfigured},
		"NATS is not connected: will be sent when it is": {State: accounts.NotConnected},
		"acknowledged by 3 of 3 nats-servers":            {State: accounts.Sent, Acked: 3, Servers: 3},
		"1 of 3 nats-servers outstanding":                {State: accounts.Sent, Acked: 2, Servers: 3},
	} {
		if got := d.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestFiles are taken where nothing else is: into a read-only server, without an operator, expired.
func TestFiles(t *testing.T) {
	a := jwttest.NewAccount(t)
	expired := func(c *jwt.AccountClaims) { c.Expires = time.Now().Add(-time.Minute).Unix() }
	for _, c := range []struct {
		name       string
		edit       func(*accounts.Options)
		token      func(e *testEnv) []byte
		file, push any // how Put takes it by these ways
	}{
		{"on a read-only server", func(o *accounts.Options) { o.ReadOnly = true },
			func(e *testEnv) []byte { return e.signed(t, a, 0) }, nil, accounts.ErrReadOnly},
		{"without an operator", func(o *accounts.Options) { o.Trust = accounts.Trust{} },
			func(e *testEnv) []byte { return e.signed(t, a, 0) }, nil, accounts.ErrUntrusted},
		{"without an operator and with a broken signature",
			func(o *accounts.Options) { o.Trust = accounts.Trust{} },
			func(e *testEnv) []byte { return jwttest.Flip(e.signed(t, a, 0)) }, accounts.ErrBadJWT,
			accounts.ErrUntrusted},
		{"expired", func(*accounts.Options) {},
			func(e *testEnv) []byte { return e.signed(t, a, 0, expired) }, nil, &accounts.BlockedError{}},
		{"by another operator", func(*accounts.Options) {},
			func(*testEnv) []byte { return jwttest.NewOperator(t).Account(t, a) }, accounts.ErrUntrusted,
			accounts.ErrUntrusted},
	} {
		e := newEnv(t, c.edit)
		token := c.token(e)
		_, err := e.push(a.ID, token)
		wantError(t, err, c.push)
		for range 2 { // the second time it is stored already
			_, err = e.registry.Put(t.Context(), a.ID, token, fromFile)
			wantError(t, err, c.file)
		}
	}
}

// TestTrustIsLookedAtAgainAtTheCommit: a reload may have replaced the operator since the JWT came.
func TestTrustIsLookedAtAgainAtTheCommit(t *testing.T) {
	var e *testEnv
	reload := &reloading{}
	e = newEnv(t, func(o *accounts.Options) {
		reload.Committer = o.Committer
		o.Committer = reload
	})
	reload.before = func() { e.registry.SetTrust(e.trust(t, jwttest.NewOperator(t))) }
	a := jwttest.NewAccount(t)
	_, err := e.push(a.ID, e.signed(t, a, 0))
	wantError(t, err, accounts.ErrUntrusted)
	if e.stored(t, a.ID) != nil {
		t.Error("it is stored")
	}
}

// reloading is a Committer before which something happens.
type reloading struct {
	accounts.Committer
	before func()
}

func (r *reloading) Put(
	ctx context.Context, key, kind string, token []byte, allow func(_, _ []byte) error,
) (uint64, error) {
	r.before()
	return r.Committer.Put(ctx, key, kind, token, allow)
}

// TestIsLesser does not depend on the space around a JWT.
func TestIsLesser(t *testing.T) {
	x, y := []byte("x"), []byte("y")
	if accounts.IsLesser(x, y) == accounts.IsLesser(y, x) || accounts.IsLesser(x, []byte(" x\n")) {
		t.Error("there is no order")
	}
}

// TestOfOneSecondTheGreaterHashWinsBetweenPeers, whichever comes first; over POST it is the later
// one.
func TestOfOneSecondTheGreaterHashWinsBetweenPeers(t *testing.T) {
	e := newEnv(t, func(o *accounts.Options) { o.AllowOlder = true })
	a := jwttest.NewAccount(t)
	tokens := [][]byte{
		jwttest.Sign(t, e.op.Signing, a, e.now),
		jwttest.Sign(t, e.op.Signing, a, e.now, func(c *jwt.AccountClaims) { c.Name = "other" }),
	}
	slices.SortFunc(tokens, func(x, y []byte) int {
		hx, hy := sha256.Sum256(x), sha256.Sum256(y)
		return bytes.Compare(hx[:], hy[:])
	})
	lesser, greater := tokens[0], tokens[1]
	merge := func(token []byte) error {
		_, err := e.registry.Put(context.Background(), a.ID, token, fromPeer)
		return err
	}
	if err := errors.Join(merge(lesser), merge(greater)); err != nil {
		t.Fatal(err)
	}
	if err := merge(lesser); !errors.Is(err, accounts.ErrLesser) ||
		!bytes.Equal(e.stored(t, a.ID), greater) {
		t.Errorf("a peer's lesser one: %v", err)
	}
	if _, err := e.push(a.ID, lesser); err != nil || !bytes.Equal(e.stored(t, a.ID), lesser) {
		t.Errorf("a POST: %v", err)
	}
	older := &accounts.OlderError{}
	if err := merge(jwttest.Sign(t, e.op.Signing, a, e.now.Add(-time.Second))); !errors.As(err, &older) {
		t.Errorf("a peer may not go back, whatever is configured: %v", err)
	}
}

// TestSameAndOlderLinesCostNothing: neither a look at the store nor a signature check.
func TestSameAndOlderLinesCostNothing(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token, older := jwttest.Sign(t, e.op.Key, a, e.now), jwttest.Sign(t, e.op.Key, a,
		e.now.Add(-time.Second))
	if _, err := e.push(a.ID, token); err != nil {
		t.Fatal(err)
	}
	per := testing.AllocsPerRun(100, func() {
		if result, err := e.registry.Put(context.Background(), a.ID, token, fromPeer); result.Changed ||
			err != nil {
			t.Error(result, err)
		}
	})
	if per > 2 {
		t.Errorf("the same line takes %.0f allocations", per)
	}
	_, err := e.registry.Put(context.Background(), a.ID, jwttest.Flip(older), fromPeer)
	if !errors.As(err, new(*accounts.OlderError)) {
		t.Errorf("an older line with a broken signature: %v", err)
	}
}

// TestWhatCameByABroadcastIsNotAnnounced, unless the account has just changed: it is not known then
// in the order.
func TestWhatCameByABroadcastIsNotAnnounced(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	offer := func(at time.Duration) {
		t.Helper()
		result, err := e.registry.Put(context.Background(), a.ID, jwttest.Sign(t, e.op.Key, a,
			e.now.Add(at)), byUpdate)
		if err != nil || !result.Changed {
			t.Fatal(result, err)
		}
	}
	offer(0)
	if len(e.announcer.heard) != 1 || e.announcer.count() != 0 {
		t.Errorf("heard %d, told %d", len(e.announcer.heard), e.announcer.count())
	}
	offer(time.Second)
	if len(e.announcer.heard) != 1 || e.announcer.count() != 1 {
		t.Errorf("right after another: heard %d, told %d", len(e.announcer.heard), e.announcer.count())
	}
	e.now = e.now.Add(time.Minute)
	offer(0)
	if len(e.announcer.heard) != 2 || e.announcer.count() != 1 {
		t.Errorf("later: heard %d, told %d", len(e.announcer.heard), e.announcer.count())
	}
}

// TestALineThatIsNoJWTOfTheAccount is no reason to compare.
func TestALineThatIsNoJWTOfTheAccount(t *testing.T) {
	e := newEnv(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	e.mustPush(t, a.ID, e.signed(t, a, 0))
	for token, want := range map[string]error{
		"x":                                    accounts.ErrBadJWT,
		string(e.signed(t, other, -time.Hour)): accounts.ErrMismatch,
	} {
		_, err := e.registry.Put(t.Context(), a.ID, []byte(token), fromPeer)
		wantError(t, err, want)
	}
}

func FuzzPut(f *testing.F) {
	op := jwttest.NewOperator(f)
	trusted, err := trust.Parse([]byte(op.Token(f)))
	if err != nil {
		f.Fatal(err)
	}
	a := jwttest.NewAccount(f)
	good := op.Account(f, a)
	f.Add(good)
	f.Add([]byte("a.b.c"))
	f.Add(jwttest.Sign(f, a.Key, a, time.Now()))
	f.Add(op.Account(f, jwttest.NewAccount(f)))
	f.Fuzz(func(t *testing.T, body []byte) {
		store := jwtstore.NewMemory(true)
		registry := accounts.New(accounts.Options{Store: store, Committer: store,
			Announcer: &announcer{}, Trust: accounts.Trust{Operator: trusted}})
		_, err := registry.Put(context.Background(), a.ID, body, byHTTP)
		token, _, loadErr := store.Load(a.ID, jwtstore.Stamp{})
		if (err == nil) != (loadErr == nil) || err == nil && !bytes.Equal(token, good) {
			t.Fatalf("let in: %q", token)
		}
	})
}
