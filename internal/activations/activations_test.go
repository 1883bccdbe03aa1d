package activations_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/accounts/accountstest"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

var (
	pushed   = accounts.Origin{}
	fromPeer = accounts.Origin{Peer: true}
	fromFile = accounts.Origin{File: true}
)

// wantError fails unless err is or wraps want: an error, or a pointer to the type of one. nil wants
// none.
func wantError(t *testing.T, name string, err error, want any) {
	t.Helper()
	if !accountstest.IsError(err, want) {
		t.Errorf("%s: error %v, want %T %v", name, err, want, want)
	}
}

func TestWhichOfTwoTokensWinsDependsOnTheirOrigin(t *testing.T) {
	e, exporter, _ := newExporter(t)
	importer := jwttest.NewAccount(t)
	at := func(ago time.Duration, name string) []byte {
		token, _ := jwttest.Activation(t, exporter, importer, e.now.Add(-ago),
			func(c *jwt.ActivationClaims) { c.Name = name })
		return token
	}
	old, lesser, greater, newest := at(time.Hour, ""), at(time.Minute, "a"),
		at(time.Minute, "b"), at(0, "")
	if x, y := sha256.Sum256(lesser), sha256.Sum256(greater); bytes.Compare(x[:], y[:]) > 0 {
		lesser, greater = greater, lesser
	}
	withLineEnd := append(bytes.Clone(greater), '\n')
	for _, c := range []struct {
		name    string
		token   []byte
		from    accounts.Origin
		changed bool
		err     any
		result  string // in the event
		reason  string
	}{
		{"the first", greater, pushed, true, nil, accounts.Accepted, ""},
		{"the same", greater, pushed, false, nil, accounts.Unchanged, ""},
		{"the same with a line end", withLineEnd, pushed, false, nil, accounts.Unchanged, ""},
		{"an older one", old, pushed, false, &accounts.OlderError{}, accounts.Refused, "older"},
		{"of one second the lesser, from a peer", lesser, fromPeer, false,
			accounts.ErrLesser, accounts.Refused, "older"},
		{"of one second the lesser, pushed", lesser, pushed, true, nil, accounts.Accepted, ""},
		{"of one second the greater, from a peer", greater, fromPeer, true, nil,
			accounts.Accepted, ""},
		{"a newer one", newest, fromPeer, true, nil, accounts.Accepted, ""},
	} {
		e.events = nil
		changed, err := e.put(t, c.token, c.from)
		if changed != c.changed {
			t.Errorf("%s: changed is %t", c.name, changed)
		}
		wantError(t, c.name, err, c.err)
		if len(e.events) != 1 || e.events[0].Result != c.result || e.events[0].Reason != c.reason ||
			e.events[0].Issuer != exporter.ID || e.events[0].New == nil {
			t.Errorf("%s: observed are %+v", c.name, e.events)
		}
	}
}

// What is not signed of a token of version 1 does not make another token of it.
func TestOneTokenHasOneSpelling(t *testing.T) {
	e, exporter, _ := newExporter(t)
	payload := []byte(`{"jti":"X","iat":1600000000,"iss":"` + exporter.ID +
		`","name":"act","sub":"` +
		jwttest.NewAccount(t).ID +
		`","type":"activation","nats":{"subject":"foo","type":"stream"}}`)
	token := jwttest.EncodeRaw(t, exporter.Key, `{"typ":"jwt","alg":"ed25519"}`, payload, false)
	withMore := `{"typ":"jwt","alg":"ed25519","x":"<script>"}`
	other := jwttest.EncodeRaw(t, exporter.Key, withMore, payload, false)
	_, err := e.put(t, other, pushed)
	wantError(t, "another header", err, activations.ErrBadJWT)
	if changed, err := e.put(t, token, pushed); err != nil || !changed {
		t.Errorf("%t, %v", changed, err)
	}
	if changed, err := e.put(t, other, pushed); err != nil || changed {
		t.Errorf("with another header: %t, %v", changed, err)
	}
	end := len(token) - 1
	for name, spoilt := range map[string][]byte{
		"a line end in the signature": append(token[:end-8:end-8],
			append([]byte("\n"), token[end-8:]...)...),
		"stray bits at the end": append(token[:end:end], token[end]+1),
		"padding":               append(bytes.Clone(token), '='),
	} {
		_, err := e.put(t, spoilt, pushed)
		wantError(t, name, err, activations.ErrBadJWT)
	}
}

func TestWhatIsNoTokenOfAStoredAccountIsRefused(t *testing.T) {
	e, exporter, signing := newExporter(t)
	importer, stranger := jwttest.NewAccount(t), jwttest.NewAccount(t)
	by := func(signer *jwttest.Account, edits ...func(*jwt.ActivationClaims)) []byte {
		token, _ := jwttest.Activation(t, signer, importer, e.now, edits...)
		return token
	}
	inItsName := func(c *jwt.ActivationClaims) { c.IssuerAccount = exporter.ID }
	raw := func(signer *jwttest.Account, issuer string) []byte {
		payload := []byte(`{"iat":1600000000,"iss":"` + issuer + `","sub":"` + importer.ID +
			`","type":"activation","nats":{"type":"stream"}}`)
		return jwttest.EncodeRaw(t, signer.Key, `{"typ":"jwt","alg":"ed25519"}`, payload, false)
	}
	fromFuture, _ := jwttest.Activation(t, exporter, importer, e.now.Add(time.Hour))
	bySigningKey, _ := jwttest.ActivationBy(t, signing, importer, e.now, inItsName)
	byOperator, _ := jwttest.ActivationBy(t, e.op.Key, importer, e.now)
	for _, c := range []struct {
		name   string
		token  []byte
		err    any
		reason string
	}{
		{"nothing", nil, activations.ErrBadJWT, "bad-jwt"},
		{"a broken signature", jwttest.Flip(by(exporter)), activations.ErrBadJWT, "bad-jwt"},
		{"an account's JWT", e.op.Account(t, importer), activations.ErrHash, "bad-jwt"},
		{"without a subject to import", raw(exporter, exporter.ID), activations.ErrHash, "bad-jwt"},
		{"in the name of an operator", raw(exporter, e.op.ID), activations.ErrBadJWT, "bad-jwt"},
		{"for an operator", by(exporter, func(c *jwt.ActivationClaims) { c.Subject = e.op.ID }),
			activations.ErrSubject, "bad-subject"},
		{"of the operator", byOperator, activations.ErrIssuer, "bad-issuer"},
		{"of an account that is not stored", by(stranger), activations.ErrIssuer, "bad-issuer"},
		{"of another key in its name", by(stranger, inItsName),
			activations.ErrIssuer, "bad-issuer"},
		{"from the future", fromFuture, &accounts.FutureError{}, "future"},
		{"of a signing key", bySigningKey, nil, ""},
	} {
		e.events = nil
		_, err := e.put(t, c.token, pushed)
		wantError(t, c.name, err, c.err)
		if len(e.events) != 1 || e.events[0].Reason != c.reason {
			t.Errorf("%s: observed are %+v", c.name, e.events)
		}
	}
}

// Without an operator no token is taken, and no token that is too large; except for files.
func TestAFileMayHoldWhatMayNotBePushed(t *testing.T) {
	importer := jwttest.NewAccount(t)
	e, exporter, _ := newExporter(t)
	token := func(edits ...func(*jwt.ActivationClaims)) []byte {
		token, _ := jwttest.Activation(t, exporter, importer, e.now, edits...)
		return token
	}
	large := token(func(c *jwt.ActivationClaims) { c.Name = strings.Repeat("n", 16<<10) })
	expired := token(func(c *jwt.ActivationClaims) { c.Expires = e.now.Unix() - 60 })
	put := func(name string, token []byte, from accounts.Origin, want any) {
		t.Helper()
		_, err := e.put(t, token, from)
		wantError(t, name, err, want)
	}
	put("a large one", large, pushed, activations.ErrTooLarge)
	put("an expired one", expired, pushed, &accounts.BlockedError{})
	put("a large one in a file", large, fromFile, nil)
	put("an expired one in a file", expired, fromFile, nil)
	e.conn.maxPayload = 500
	put("one that no message holds", token(), pushed, &accounts.TooLargeError{})
	e.conn.maxPayload = 0
	put("one of a peer", token(func(c *jwt.ActivationClaims) {
		c.ImportSubject = "peer"
	}), fromPeer, nil)
	e.accounts.SetTrust(accounts.Trust{})
	bar := token(func(c *jwt.ActivationClaims) { c.ImportSubject = "bar" })
	put("one without an operator", bar, pushed, activations.ErrIssuer)
	put("one in a file without an operator", bar, fromFile, nil)

	e, exporter, _ = newExporter(t, func(o *activations.Options) { o.AllowOlder = true })
	older, _ := jwttest.Activation(t, exporter, importer, e.now.Add(-time.Hour))
	put("a new one", token(), pushed, nil)
	put("an older one, which is allowed", older, pushed, nil)

	e, exporter, _ = newExporter(t, func(o *activations.Options) { o.ReadOnly = true })
	put("one of a peer on a read-only server", token(), fromPeer, accounts.ErrReadOnly)
	put("one in a file of a read-only server", token(), fromFile, nil)
}

func TestATokenIsServedAsLongAsItsAccountHasTheSigningKey(t *testing.T) {
	e, exporter, signing := newExporter(t)
	token, hash := jwttest.ActivationBy(t, signing, jwttest.NewAccount(t), e.now,
		func(c *jwt.ActivationClaims) { c.IssuerAccount = exporter.ID })
	serves := func(want error) {
		t.Helper()
		for range 2 {
			got, err := e.tokens.Get(t.Context(), hash)
			if !errors.Is(err, want) || want == nil && !bytes.Equal(got.JWT, token) {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		}
	}
	serves(activations.ErrNotFound)
	if _, err := e.put(t, token, pushed); err != nil {
		t.Fatal(err)
	}
	serves(nil)
	e.storeAccount(t, exporter) // without the signing key
	serves(activations.ErrNotFound)
	e.storeAccount(t, exporter, signing)
	serves(nil)
	if err := e.accounts.Remove(t.Context(), exporter.ID, fromFile); err != nil {
		t.Fatal(err)
	}
	serves(activations.ErrNotFound)
	if raw, err := e.tokens.GetRaw(t.Context(), hash); err != nil || !bytes.Equal(raw, token) {
		t.Errorf("as text: %q, %v", raw, err)
	}
}

func TestADamagedTokenIsLoggedOnceAndReplaced(t *testing.T) {
	e, exporter, _ := newExporter(t)
	importer := jwttest.NewAccount(t)
	token, hash := jwttest.Activation(t, exporter, importer, e.now)
	other, _ := jwttest.Activation(t, exporter, importer, e.now.Add(time.Minute),
		func(c *jwt.ActivationClaims) { c.ImportSubject = "bar" })
	ahead, _ := jwttest.Activation(t, exporter, importer, e.now.Add(1000*time.Hour))
	for _, c := range []struct {
		name    string
		stored  []byte
		damaged bool
	}{
		{"junk", []byte("junk"), true},
		{"a newer one of another hash", other, true},
		{"one from the future", ahead, false},
	} {
		e.plant(t, hash, c.stored)
		e.log.Reset()
		for range 2 {
			if _, err := e.tokens.Get(t.Context(), hash); errors.Is(err,
				accounts.ErrDamaged) != c.damaged {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		line := "[ERR] " + hash[:12] + " - error loading JWT - "
		if lines := strings.Count(e.log.String(), line); lines != 1 && c.damaged {
			t.Errorf("%s: logged %d times\n%s", c.name, lines, e.log)
		}
		if _, err := e.put(t, token, pushed); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got, err := e.tokens.Get(t.Context(), hash); err != nil || !bytes.Equal(got.JWT, token) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

// primary plays the account server that this one follows.
type primary struct {
	answers map[string][]byte // by account and by hash
	err     error             // for what is not in answers
	asked   int               // for tokens
	served  int
}

func (p *primary) Find(_ context.Context, key string, take func(token []byte) error) error {
	if trust.IsActivationHash(key) {
		p.asked++
	}
	if token, found := p.answers[key]; found {
		return take(token)
	}
	return p.err
}

func (p *primary) Served(string) { p.served++ }

func TestThePrimaryIsAskedForWhatIsNotStored(t *testing.T) {
	damaged, notFound, unreadable := accounts.ErrDamaged, activations.ErrNotFound,
		accounts.ErrUnreadable
	junk := []byte("junk")
	e := newEnv(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	exporter := e.op.Account(t, a)
	token, hash := jwttest.Activation(t, a, b, e.now)
	expired, _ := jwttest.Activation(t, a, b, e.now,
		func(c *jwt.ActivationClaims) { c.Expires = e.now.Unix() - 60 })
	older, _ := jwttest.Activation(t, a, b, e.now.Add(-time.Hour))
	_, otherHash := jwttest.Activation(t, b, a, e.now)
	has := func(exporter, token []byte) primary {
		return primary{answers: map[string][]byte{a.ID: exporter, hash: token},
			err: accounts.ErrNotFound}
	}
	for _, c := range []struct {
		name    string
		hash    string
		stored  []byte // nil: nothing is stored
		primary primary
		want    []byte // nil: err
		err     error
		raw     error
		asked   int // by Get and by GetRaw
	}{
		{"it has none", hash, nil, primary{err: accounts.ErrNotFound}, nil, notFound, notFound, 2},
		{"it can't tell", hash, nil, primary{err: errDisk}, nil, unreadable, unreadable, 2},
		{"the request has come through here", hash, nil, primary{err: accounts.ErrCircle}, nil,
			accounts.ErrCircle, unreadable, 2},
		{"it has another one", otherHash, nil,
			primary{answers: map[string][]byte{otherHash: token}}, nil, unreadable, unreadable, 2},
		{"it has no such account", hash, nil,
			primary{answers: map[string][]byte{hash: token}, err: accounts.ErrNotFound}, nil,
			notFound, notFound, 2},
		{"it can't tell of the account", hash, nil,
			primary{answers: map[string][]byte{hash: token}, err: errDisk}, nil,
			unreadable, unreadable, 2},
		{"it has one that has expired", hash, nil, has(exporter, expired), expired, nil, nil, 2},
		{"no hash", a.ID, nil, has(exporter, token), nil, notFound, notFound, 0},
		{"it has none for a damaged one", hash, junk, primary{err: accounts.ErrNotFound}, nil,
			damaged, nil, 2},
		{"it has the token", hash, nil, has(exporter, token), token, nil, nil, 1},
		{"it is not asked for a stored one", hash, token, has(exporter, junk), token, nil, nil, 0},
		{"it has one for a damaged one", hash, junk, has(exporter, token), token, nil, nil, 1},
	} {
		if c.stored != nil {
			e.plant(t, hash, c.stored)
		}
		e.tokens.SetPrimary(&c.primary)
		got, err := e.tokens.Get(t.Context(), c.hash)
		if !errors.Is(err, c.err) || err == nil && !bytes.Equal(got.JWT, c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		raw, err := e.tokens.GetRaw(t.Context(), c.hash)
		if !errors.Is(err, c.raw) || err == nil && !bytes.Equal(raw, c.want) &&
			!bytes.Equal(raw, c.stored) {
			t.Errorf("%s: as text %q, %v", c.name, raw, err)
		}
		if c.primary.asked != c.asked {
			t.Errorf("%s: asked %d times", c.name, c.primary.asked)
		}
		if served := c.primary.served; err == nil && served != 2-c.asked && served != 0 {
			t.Errorf("%s: %d times served", c.name, served)
		}
	}
	behind := has(exporter, older)
	if got, err := e.tokens.Refresh(t.Context(), hash, &behind); err != nil ||
		!bytes.Equal(got.JWT, token) {
		t.Errorf("of an older one: %v, %v", got, err)
	}
	e.tokens.SetPrimary(nil)
	if _, err := e.tokens.Get(t.Context(), hash); err != nil {
		t.Error(err)
	}
}

func TestAnUnchangedTokenIsAnnouncedEveryFiveSeconds(t *testing.T) {
	e, exporter, _ := newExporter(t)
	token, hash := jwttest.Activation(t, exporter, jwttest.NewAccount(t), e.now)
	got, _, err := e.tokens.Put(t.Context(), token, pushed)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after   time.Duration
		changed bool
		total   int
	}{
		{0, false, 1},
		{4 * time.Second, false, 1},
		{0, true, 2},
		{0, true, 3},
		{time.Second, false, 4},
		{0, false, 4},
	} {
		e.now = e.now.Add(step.after)
		e.tokens.Announce(got, step.changed)
		if len(e.conn.published) != step.total {
			t.Errorf("%+v: published %d times", step, len(e.conn.published))
		}
	}
	e.conn.connected = false
	for _, state := range []accounts.DeliveryState{accounts.NotConnected, accounts.NotConfigured} {
		e.conn.state = state
		e.tokens.Announce(got, true)
	}
	for _, why := range []string{"NATS is not connected", "no NATS configured"} {
		line := "skipping activation notification for " + hash[:12] + ", " + why
		if !strings.Contains(e.log.String(), line) {
			t.Errorf("the log lacks %q:\n%s", line, e.log)
		}
	}
}

// failing is a Store that can't be read or written.
type failing struct{ activations.Store }

var errDisk = errors.New("the disk fails")

func (failing) Load(string, jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	return nil, jwtstore.Stamp{}, errDisk
}
func (failing) Put(_ context.Context, _, _ string, _ []byte,
	allow func(jwtstore.Stored) (jwtstore.Version, error)) (uint64, error) {
	_, err := allow(jwtstore.Stored{})
	return 0, errors.Join(err, errDisk)
}

func TestAFailingStoreIsReported(t *testing.T) {
	e, exporter, _ := newExporter(t, func(o *activations.Options) { o.Store = failing{o.Store} })
	token, hash := jwttest.Activation(t, exporter, jwttest.NewAccount(t), e.now)
	_, err := e.put(t, token, pushed)
	wantError(t, "Put", err, activations.ErrSave)
	wantError(t, "Put", err, errDisk)
	if last := e.events[len(e.events)-1]; last.Reason != "save-failed" {
		t.Errorf("observed is %+v", last)
	}
	_, err = e.tokens.Get(t.Context(), hash)
	wantError(t, "Get", err, accounts.ErrUnreadable)
	_, err = e.tokens.GetRaw(t.Context(), hash)
	wantError(t, "GetRaw", err, errDisk)
}

// noAccounts is a store that can't be read.
type noAccounts struct{ accounts.Store }

func (noAccounts) Load(string, jwtstore.Stamp) ([]byte, jwtstore.Stamp, error) {
	return nil, jwtstore.Stamp{}, errDisk
}

func TestWhileNoAccountCanBeReadNoIssuerIsBad(t *testing.T) {
	e, exporter, _ := newExporter(t)
	e.tokens.Accounts = accounts.New(accounts.Options{Store: noAccounts{e.store},
		Trust: e.trust(t)})
	token, hash := jwttest.Activation(t, exporter, jwttest.NewAccount(t), e.now)
	_, err := e.put(t, token, pushed)
	wantError(t, "Put", err, accounts.ErrUnreadable)
	e.plant(t, hash, token)
	_, err = e.tokens.GetLocal(t.Context(), hash)
	wantError(t, "GetLocal", err, accounts.ErrUnreadable)
	ofOperator, _ := jwttest.ActivationBy(t, e.op.Key, jwttest.NewAccount(t), e.now)
	for name, offered := range map[string][]byte{"that can't be read": token,
		"of text that is no token": []byte("junk"), "that is no account": ofOperator} {
		if e.tokens.Offer(offered, pushed).LacksIssuer(t.Context()) {
			t.Errorf("an issuer %s is waited for", name)
		}
	}
}

// TestPutAsTakesATokenUnderItsHashOnly. What has another hash is damaged, and no decision of the
// policy.
func TestPutAsTakesATokenUnderItsHashOnly(t *testing.T) {
	e, exporter, _ := newExporter(t)
	token, hash := jwttest.Activation(t, exporter, jwttest.NewAccount(t), e.now)
	_, other := jwttest.Activation(t, jwttest.NewAccount(t), exporter, e.now)
	file := accounts.Origin{Kind: accounts.KindFile, File: true}
	for _, c := range []struct {
		name  string
		hash  string
		token []byte
		want  error
	}{
		{"of another hash", other, token, accounts.ErrDamaged},
		{"junk", hash, []byte("junk"), accounts.ErrDamaged},
		{"nothing", hash, nil, accounts.ErrDamaged},
		{"its own, with a line break", hash, append(bytes.Clone(token), '\n'), nil},
	} {
		e.events = nil
		_, changed, err := e.tokens.PutAs(t.Context(), c.hash, c.token, file)
		wantError(t, c.name, err, c.want)
		if isTaken := c.want == nil; changed != isTaken || (len(e.events) == 1) != isTaken {
			t.Errorf("%s: changed: %v, in the audit: %d", c.name, changed, len(e.events))
		}
	}
	if got, err := e.tokens.GetLocal(t.Context(), hash); err != nil || !bytes.Equal(got.JWT, token) {
		t.Errorf("stored is %v, %v", got, err)
	}
}

func TestCheckWantsTheTokenOfAHash(t *testing.T) {
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	token, hash := jwttest.Activation(t, a, b, time.Now())
	_, other := jwttest.Activation(t, b, a, time.Now())
	wantError(t, "its own hash", activations.Check(hash, append(token, '\n')), nil)
	wantError(t, "another hash", activations.Check(other, token), accounts.ErrDamaged)
	wantError(t, "nothing", activations.Check(hash, nil), accounts.ErrDamaged)
}
