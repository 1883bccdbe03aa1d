package accounts_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/trust"
)

// announcer records what it is told and answers with a fixed delivery.
type announcer struct {
	report     accounts.Report
	mu         sync.Mutex
	told       []string // what is to be announced
	heard      []string // what came by a broadcast
	maxPayload int
	delivery   accounts.Delivery
}

func (a *announcer) Announce(key string, _ uint64, _ time.Time) accounts.Receipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, key)
	return a
}
func (a *announcer) Heard(key string, _ uint64, _ time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, key)
}
func (a *announcer) Delivery(string) accounts.Delivery      { return a.delivery }
func (a *announcer) Wait(context.Context) accounts.Delivery { return a.delivery }
func (a *announcer) MaxPayload() int                        { return a.maxPayload }

func (a *announcer) Report(context.Context, string, bool) accounts.Report { return a.report }
func (a *announcer) count() int                                           { a.mu.Lock(); defer a.mu.Unlock(); return len(a.told) }

// bench is a gate with everything that a test may want to turn.
type bench struct {
	op        *jwttest.Operator
	store     *jwtstore.Memory
	announcer *announcer
	gate      *accounts.Registry
	log       *bytes.Buffer
	now       time.Time
}

func newBench(t *testing.T, edits ...func(*accounts.Options)) *bench {
	t.Helper()
	b := &bench{
		op:        jwttest.NewOperator(t),
		store:     jwtstore.NewMemory(true),
		announcer: &announcer{delivery: accounts.Delivery{State: accounts.Sent, Acked: 1, Servers: 1}},
		log:       &bytes.Buffer{},
		now:       time.Now(),
	}
	o := accounts.Options{
		Store:     b.store,
		Committer: b.store,
		Announcer: b.announcer,
		Trust:     b.trust(t, b.op),
		Log:       slog.New(logging.New(b.log, logging.Format{})),
		Now:       func() time.Time { return b.now },
	}
	for _, edit := range edits {
		edit(&o)
	}
	b.gate = accounts.New(o)
	return b
}

func (b *bench) trust(t *testing.T, o *jwttest.Operator) accounts.Trust {
	t.Helper()
	op, err := trust.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Trust{Operator: op}
}

func (b *bench) submit(key string, token []byte) (accounts.Result, error) {
	return b.gate.Put(context.Background(), key, token, accounts.Origin{Kind: accounts.KindHTTP})
}

// plant puts bytes into the store past the gate, as a hand in the directory does.
func (b *bench) plant(t *testing.T, key string, token []byte) {
	t.Helper()
	if token != nil {
		plant(t, b.store, key, token)
	}
}

func plant(t *testing.T, store accounts.Committer, key string, token []byte) {
	t.Helper()
	if _, err := store.Put(context.Background(), key, "hand", token, func(_, _ []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) stored(t *testing.T, key string) []byte {
	t.Helper()
	token, _, err := b.store.Load(key, jwtstore.Stamp{})
	if err != nil {
		return nil
	}
	return token
}

// TestTheGate is every rule of admission, one row each. A row offers one JWT to a store that holds
// another.
func TestTheGate(t *testing.T) {
	b := newBench(t)
	a, other := jwttest.NewAccount(t), jwttest.NewAccount(t)
	stranger := jwttest.NewOperator(t)
	_, user := a.User(t)
	hour := func(h int) time.Time { return b.now.Add(time.Duration(h) * time.Hour) }
	sign := func(at time.Time, edits ...func(*jwt.AccountClaims)) []byte {
		return jwttest.Sign(t, b.op.Signing, a, at, edits...)
	}
	named := func(n string) func(*jwt.AccountClaims) { return func(c *jwt.AccountClaims) { c.Name = n } }
	revoked := func(c *jwt.AccountClaims) { c.RevokeAt(user, b.now) }
	expired := func(c *jwt.AccountClaims) { c.Expires = b.now.Add(-time.Minute).Unix() }
	now := sign(b.now)
	v1 := func(header string) []byte {
		return jwttest.EncodeRaw(t, b.op.Key, header,
			[]byte(`{"jti":"x","iat":1600000000,"iss":"`+b.op.ID+
				`","name":"old","sub":"`+a.ID+`","type":"account","nats":{"limits":{"subs":-1,"conn":-1,"leaf":-1,"imports":-1,"exports":-1,"data":-1,"payload":-1,"wildcards":true}}}`), false)
	}
	plainV1 := v1(`{"typ":"jwt","alg":"ed25519"}`)
	asOther := jwttest.Sign(t, b.op.Signing, other, b.now)
	asUser := jwttest.Sign(t, b.op.Signing, &jwttest.Account{ID: user}, b.now)
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
		{name: "signed by the operator's own key", offer: jwttest.Sign(t, b.op.Key, a, b.now)},
		{name: "a version 1 JWT", offer: plainV1},
		{name: "white space around it is trimmed", offer: append(append([]byte(" \n"), now...),
			"\r\n"...)},
		{name: "two edits in one second, the second one a revocation: the later arrival stands",
			stored: sign(b.now, named("first")), offer: sign(b.now, revoked)},
		{name: "B5: an older JWT is refused", stored: now, offer: sign(hour(-1)), want: older,
			kept: true},
		{name: "B5: the JWT from before a revocation is refused", stored: sign(b.now, revoked),
			offer: sign(b.now.Add(-time.Second)), want: older, kept: true},
		{name: "the very same bytes again", stored: now, offer: now, want: unchanged, kept: true},
		{name: "the same payload in other bytes does not replace it", stored: plainV1,
			offer: v1(`{"alg":"ed25519","typ":"jwt"}`), want: unchanged, kept: true},
		{name: "the same payload with a damaged signature", stored: now, offer: jwttest.Flip(now),
			want: accounts.ErrBadJWT, kept: true},
		{name: "a damaged stored JWT is replaced, also by an older one", stored: []byte("torn"),
			offer: sign(hour(-1))},
		{name: "a stored JWT of a foreign operator does not count as newer", stored: jwttest.Sign(t,
			stranger.Signing, a, b.now), offer: sign(hour(-1))},
		{name: "a stored JWT from the far future does not count as newer", stored: sign(hour(1)),
			offer: now},
		{name: "the same bytes, stored by hand and not ours", stored: jwttest.Flip(now),
			offer: jwttest.Flip(now), want: accounts.ErrBadJWT, kept: true},
		{name: "six minutes ahead of our clock", offer: sign(b.now.Add(6 * time.Minute)),
			want: &accounts.FutureError{}},
		{name: "four minutes ahead of our clock", offer: sign(b.now.Add(4 * time.Minute))},
		{name: "garbage", offer: []byte("hello"), want: accounts.ErrBadJWT},
		{name: "nothing", offer: nil, want: accounts.ErrBadJWT},
		{name: "another account's JWT", stored: now, offer: asOther, want: accounts.ErrMismatch,
			kept: true},
		{name: "a user's key", offer: asUser, key: user, want: accounts.ErrBadSubject},
		{name: "self-signed", offer: jwttest.Sign(t, a.Key, a, b.now), want: accounts.ErrSelfSigned},
		{name: "signed by another account", offer: jwttest.Sign(t, other.Key, a, b.now),
			want: accounts.ErrBadIssuer},
		{name: "a foreign operator's", stored: now, offer: jwttest.Sign(t, stranger.Signing, a,
			hour(0)), want: accounts.ErrUntrusted, kept: true},
		{name: "the operator's name with a stranger's signature", offer: forged(t, b.op.ID,
			stranger, a), want: accounts.ErrBadJWT},
		{name: "B6: a line break inside the signature",
			offer: append(append(bytes.Clone(now[:len(now)-3]), '\n'), now[len(now)-3:]...),
			want:  accounts.ErrBadJWT},
		{name: "the operator's JWT", offer: []byte(b.op.Token(t)), want: accounts.ErrBadJWT},
		{name: "expired", offer: sign(b.now, expired), want: &accounts.BlockedError{}},
		{name: "expired, and the very same is stored", stored: sign(b.now, expired),
			offer: sign(b.now, expired), want: &accounts.BlockedError{}, kept: true},
		{name: "not yet valid",
			offer: sign(b.now, func(c *jwt.AccountClaims) { c.NotBefore = hour(1).Unix() }),
			want:  &accounts.BlockedError{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.store = jwtstore.NewMemory(true)
			b.gate = accounts.New(accounts.Options{Store: b.store, Committer: b.store,
				Announcer: b.announcer,
				Trust:     b.trust(t, b.op), Now: func() time.Time { return b.now }})
			key := c.key
			if key == "" {
				key = a.ID
			}
			b.plant(t, key, c.stored)
			told := b.announcer.count()
			result, err := b.submit(key, c.offer)
			wantError(t, err, c.want)
			got := b.stored(t, key)
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
			announced := b.announcer.count() - told
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

func wantError(t *testing.T, err error, want any) {
	t.Helper()
	ok := false
	switch w := want.(type) {
	case nil:
		ok = err == nil
	case *accounts.OlderError:
		ok = errors.As(err, &w)
	case *accounts.FutureError:
		ok = errors.As(err, &w)
	case *accounts.BlockedError:
		ok = errors.As(err, &w) && len(w.Issues) > 0
	case *accounts.TooLargeError:
		ok = errors.As(err, &w)
	case error:
		ok = errors.Is(err, w)
	}
	if !ok {
		t.Fatalf("error %v, want %T %v", err, want, want)
	}
}

func TestWithoutAnOperatorEveryWritingDoorIsClosed(t *testing.T) {
	b := newBench(t, func(o *accounts.Options) { o.Trust = accounts.Trust{} })
	a := jwttest.NewAccount(t)
	_, err := b.submit(a.ID, b.op.Account(t, a))
	wantError(t, err, accounts.ErrUntrusted)
	_, err = b.submit(a.ID, jwttest.Sign(t, a.Key, a, b.now))
	wantError(t, err, accounts.ErrSelfSigned)
	b.plant(t, a.ID, b.op.Account(t, a))
	if _, err := b.gate.GetLocal(context.Background(), a.ID); err != nil {
		t.Errorf("reading does not work: %v", err)
	}
}

func TestAnOperatorThatDemandsSigningKeysRefusesItsOwnSignature(t *testing.T) {
	b := newBench(t)
	b.op = jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = true })
	b.gate.SetTrust(b.trust(t, b.op))
	a := jwttest.NewAccount(t)
	_, err := b.submit(a.ID, jwttest.Sign(t, b.op.Key, a, b.now))
	wantError(t, err, accounts.ErrUntrusted)
	_, err = b.submit(a.ID, b.op.Account(t, a))
	wantError(t, err, nil)
}

func TestAllowOlderIsForRestores(t *testing.T) {
	b := newBench(t, func(o *accounts.Options) { o.AllowOlder = true })
	a := jwttest.NewAccount(t)
	b.plant(t, a.ID, b.op.Account(t, a))
	_, err := b.submit(a.ID, jwttest.Sign(t, b.op.Signing, a, b.now.Add(-time.Hour)))
	wantError(t, err, nil)
}

func TestAJWTLargerThanMaxPayloadIsRefusedBeforeItIsSaved(t *testing.T) {
	b := newBench(t)
	b.announcer.maxPayload = 300
	a := jwttest.NewAccount(t)
	_, err := b.submit(a.ID, b.op.Account(t, a))
	wantError(t, err, &accounts.TooLargeError{})
}

func TestAnUnchangedPushIsAnnouncedOncePerFiveSeconds(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	token := b.op.Account(t, a)
	push := func() { _, err := b.submit(a.ID, token); wantError(t, err, nil) }
	push() // the change itself
	for range 3 {
		push()
	}
	if n := b.announcer.count(); n != 2 {
		t.Fatalf("announced %d times, want the change and one repetition", n)
	}
	b.now = b.now.Add(5 * time.Second)
	push()
	if n := b.announcer.count(); n != 3 {
		t.Errorf("announced %d times after five seconds, want 3", n)
	}
}

func TestARaceOfAnOlderAndANewerJWTEndsWithTheNewer(t *testing.T) {
	b := newBench(t)
	for range 50 {
		a := jwttest.NewAccount(t)
		newer := b.op.Account(t, a)
		older := jwttest.Sign(t, b.op.Signing, a, b.now.Add(-time.Minute))
		var race sync.WaitGroup
		for _, token := range [][]byte{older, newer} {
			race.Go(func() { _, _ = b.submit(a.ID, token) })
		}
		race.Wait()
		if !bytes.Equal(b.stored(t, a.ID), newer) {
			t.Fatal("the older JWT stands")
		}
	}
}

func TestAPlantedFileIsServedOnlyIfTheOperatorSignedIt(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	b.plant(t, a.ID, b.op.Account(t, a))
	got, err := b.gate.GetLocal(context.Background(), a.ID)
	wantError(t, err, nil)
	if !strings.HasPrefix(got.ETag, `"`+got.ID+"-") || len(got.ETag) != len(got.ID)+11 {
		t.Errorf("ETag %s", got.ETag)
	}
	b.plant(t, a.ID, jwttest.NewOperator(t).Account(t, a))
	for range 3 {
		_, err = b.gate.GetLocal(context.Background(), a.ID)
		wantError(t, err, accounts.ErrDamaged)
	}
	if n := strings.Count(b.log.String(), "not served"); n != 1 {
		t.Errorf("%d log lines, want 1:\n%s", n, b.log)
	}
	if raw, err := b.gate.GetRaw(context.Background(), a.ID); err != nil || len(raw) == 0 {
		t.Errorf("people can't look at it: %v", err)
	}
}

func TestAChangeOfTrustIsSeenAtOnce(t *testing.T) {
	b := newBench(t)
	a := jwttest.NewAccount(t)
	b.plant(t, a.ID, b.op.Account(t, a))
	_, err := b.gate.GetLocal(context.Background(), a.ID)
	wantError(t, err, nil)
	b.gate.SetTrust(b.trust(t, jwttest.NewOperator(t)))
	_, err = b.gate.GetLocal(context.Background(), a.ID)
	wantError(t, err, accounts.ErrDamaged)
}

func TestTheConfiguredSystemAccountIsServedWhenTheStoreLacksIt(t *testing.T) {
	b := newBench(t)
	token := b.op.SystemAccount(t)
	head, err := trust.Peek(token)
	wantError(t, err, nil)
	trust := b.trust(t, b.op)
	trust.System = accounts.NewAccount(token, head)
	b.gate.SetTrust(trust)
	got, err := b.gate.GetLocal(context.Background(), b.op.System.ID)
	wantError(t, err, nil)
	if !bytes.Equal(got.JWT, token) {
		t.Error("another JWT is served")
	}
	_, err = b.submit(b.op.System.ID, jwttest.Sign(t, b.op.Signing, b.op.System, b.now.Add(-time.Hour)))
	wantError(t, err, &accounts.OlderError{})
	newer := jwttest.Sign(t, b.op.Signing, b.op.System, b.now.Add(time.Second))
	_, err = b.submit(b.op.System.ID, newer)
	wantError(t, err, nil)
	if got, _ := b.gate.GetLocal(context.Background(), b.op.System.ID); !bytes.Equal(got.JWT, newer) {
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

func FuzzSubmit(f *testing.F) {
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
		gate := accounts.New(accounts.Options{Store: store, Committer: store,
			Announcer: &announcer{}, Trust: accounts.Trust{Operator: trusted}})
		_, err := gate.Put(context.Background(), a.ID, body, accounts.Origin{Kind: accounts.KindHTTP})
		token, _, loadErr := store.Load(a.ID, jwtstore.Stamp{})
		if (err == nil) != (loadErr == nil) || err == nil && !bytes.Equal(token, good) {
			t.Fatalf("let in: %q", token)
		}
	})
}
