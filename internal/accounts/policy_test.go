package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
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
	named := func(n string) func(*jwt.AccountClaims) {
		return func(c *jwt.AccountClaims) { c.Name = n }
	}
	revoked := func(c *jwt.AccountClaims) { c.RevokeAt(user, e.now) }
	expired := func(c *jwt.AccountClaims) { c.Expires = e.now.Add(-time.Minute).Unix() }
	now := sign(e.now)
	v1 := func(header string) []byte {
		return jwttest.EncodeRaw(t, e.op.Key, header,
			[]byte(`{"jti":"x","iat":1600000000,"iss":"`+e.op.ID+
				`","name":"old","sub":"`+a.ID+
				`","type":"account","nats":{"limits":{"subs":-1,"conn":-1,`+
				`"leaf":-1,"imports":-1,"exports":-1,"data":-1,"payload":-1,"wildcards":true}}}`),
			false)
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
		{name: "a stored JWT counts as newer, also if no operator of ours signed it",
			stored: jwttest.Sign(t,
				stranger.Signing, a, e.now), offer: sign(hour(-1)), want: older, kept: true},
		{name: "a stored JWT with a damaged signature does not count as newer",
			stored: jwttest.Flip(now), offer: sign(hour(-1))},
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
		{name: "self-signed", offer: jwttest.Sign(t, a.Key, a, e.now),
			want: accounts.ErrSelfSigned},
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
			func(e *testEnv) []byte { return e.signed(t, a, 0, expired) }, nil,
			&accounts.BlockedError{}},
		{"by another operator", func(*accounts.Options) {},
			func(*testEnv) []byte { return jwttest.NewOperator(t).Account(t, a) },
			accounts.ErrUntrusted,
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

func TestWithoutAnOperatorNothingIsTaken(t *testing.T) {
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

// TestAFileIsComparedWithWhatWasDeleted, not with the moment at which it was.
func TestAFileIsComparedWithWhatWasDeleted(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	order := fmt.Sprintf("\n{\"deleted\":%d}\n", e.now.Add(time.Hour).Unix())
	tombstone := append(e.signed(t, a, 0), order...)
	for after, newer := range map[time.Duration]bool{-time.Second: false, 0: false,
		time.Second: true} {
		if accounts.Newer(a.ID, e.signed(t, a, after), tombstone) != newer {
			t.Errorf("issued %s after what was deleted: want %v", after, newer)
		}
	}
	if accounts.Newer(a.ID, []byte("no JWT"), tombstone) {
		t.Error("what is no JWT is newer")
	}
}

func TestAnOperatorThatDemandsSigningKeysRefusesItsOwnSignature(t *testing.T) {
	e := newEnv(t)
	e.op = jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = true })
	e.registry.SetTrust(e.trust(t, e.op))
	a := jwttest.NewAccount(t)
	_, err := e.push(a.ID, jwttest.Sign(t, e.op.Key, a, e.now))
	wantError(t, err, accounts.ErrIdentityKey)
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
	if err := merge(jwttest.Sign(t, e.op.Signing, a, e.now.Add(-time.Second))); !errors.As(err,
		&older) {
		t.Errorf("a peer may not go back, whatever is configured: %v", err)
	}
}

// TestTheLesserOfOneSecond does not depend on the space around a JWT.
func TestTheLesserOfOneSecond(t *testing.T) {
	isLesser := func(offered, stored string) bool {
		floor := jwtstore.Floor{}.After(0, accounts.NewAccount([]byte(stored), trust.Head{}).Hash)
		a := accounts.NewAccount([]byte(offered), trust.Head{})
		return errors.Is(accounts.CheckFloor(a, floor, fromPeer, true), accounts.ErrLesser)
	}
	if isLesser("x", "y") == isLesser("y", "x") || isLesser("x", " x\n") || isLesser(" x\n", "x") {
		t.Error("there is no order")
	}
}
