package accounts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// exporting is a bench on which an account is stored, with a signing key.
func exporting(t *testing.T, edits ...func(*accounts.Options)) (b *bench, exporter *jwttest.Account, signing nkeys.KeyPair) {
	t.Helper()
	b, exporter = newBench(t, edits...), jwttest.NewAccount(t)
	signing, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	b.stock(t, exporter, signing)
	return b, exporter, signing
}

// stock pushes an account with these signing keys.
func (b *bench) stock(t *testing.T, a *jwttest.Account, signing ...nkeys.KeyPair) {
	t.Helper()
	b.now = b.now.Add(time.Second)
	token := jwttest.Sign(t, b.op.Signing, a, b.now, func(c *jwt.AccountClaims) {
		for _, key := range signing {
			id, _ := key.PublicKey()
			c.SigningKeys.Add(id)
		}
	})
	if _, err := b.submit(a.ID, token); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) activate(token []byte, src accounts.Origin) (changed bool, err error) {
	src.Kind = "test"
	_, changed, err = b.gate.Activate(context.Background(), token, src)
	return changed, err
}

// TestActivationsOfOneHash: which of two wins, by whom they were brought.
func TestActivationsOfOneHash(t *testing.T) {
	b, exporter, _ := exporting(t)
	importer := jwttest.NewAccount(t)
	at := func(ago time.Duration, name string) []byte {
		token, _ := jwttest.Activation(t, exporter, importer, b.now.Add(-ago), func(c *jwt.ActivationClaims) { c.Name = name })
		return token
	}
	old, lesser, greater, newest := at(time.Hour, ""), at(time.Minute, "a"), at(time.Minute, "b"), at(0, "")
	if x, y := sha256.Sum256(lesser), sha256.Sum256(greater); bytes.Compare(x[:], y[:]) > 0 {
		lesser, greater = greater, lesser
	}
	peer, pushed := accounts.Origin{Peer: true}, accounts.Origin{}
	for _, c := range []struct {
		name    string
		token   []byte
		src     accounts.Origin
		changed bool
		err     any
	}{
		{"the first", greater, pushed, true, nil},
		{"the same", greater, pushed, false, nil},
		{"the same with a line end", append(bytes.Clone(greater), '\n'), pushed, false, nil},
		{"an older one", old, pushed, false, &accounts.OlderError{}},
		{"of one second the lesser, from a peer", lesser, peer, false, accounts.ErrLesser},
		{"of one second the lesser, pushed", lesser, pushed, true, nil},
		{"of one second the greater, from a peer", greater, peer, true, nil},
		{"a newer one", newest, peer, true, nil},
	} {
		changed, err := b.activate(c.token, c.src)
		if c.err == nil && err != nil || c.err != nil && err == nil || changed != c.changed {
			t.Errorf("%s: %t, %v", c.name, changed, err)
		}
		if c.err != nil {
			wantError(t, err, c.err)
		}
	}
}

// TestOneActivationHasOneSpelling: what is not signed of a token of version 1 does not make another one of it.
func TestOneActivationHasOneSpelling(t *testing.T) {
	b, exporter, _ := exporting(t)
	payload := `{"jti":"X","iat":1600000000,"iss":"` + exporter.ID + `","name":"act","sub":"` + jwttest.NewAccount(t).ID +
		`","type":"activation","nats":{"subject":"foo","type":"stream"}}`
	token := jwttest.EncodeRaw(t, exporter.Key, `{"typ":"jwt","alg":"ed25519"}`, []byte(payload), false)
	other := jwttest.EncodeRaw(t, exporter.Key, `{"typ":"jwt","alg":"ed25519","x":"<script>"}`, []byte(payload), false)
	if changed, err := b.activate(token, accounts.Origin{}); err != nil || !changed {
		t.Errorf("%t, %v", changed, err)
	}
	if changed, err := b.activate(other, accounts.Origin{}); err != nil || changed {
		t.Errorf("with another header: %t, %v", changed, err)
	}
	for name, spoilt := range map[string][]byte{
		"a line end in the signature": append(token[:len(token)-9:len(token)-9], append([]byte("\n"), token[len(token)-9:]...)...),
		"stray bits at the end":       append(token[:len(token)-1:len(token)-1], token[len(token)-1]+1),
		"padding":                     append(bytes.Clone(token), '='),
	} {
		if changed, err := b.activate(spoilt, accounts.Origin{}); !errors.Is(err, accounts.ErrBadActivation) {
			t.Errorf("%s: %t, %v", name, changed, err)
		}
	}
}

// TestWhoMayActivate: nobody without an operator, and nothing that is too large, but whoever owns the files.
func TestWhoMayActivate(t *testing.T) {
	importer, file := jwttest.NewAccount(t), accounts.Origin{File: true}
	b, exporter, _ := exporting(t)
	token := func(edits ...func(*jwt.ActivationClaims)) []byte {
		token, _ := jwttest.Activation(t, exporter, importer, b.now, edits...)
		return token
	}
	large := token(func(c *jwt.ActivationClaims) { c.Name = strings.Repeat("n", 16<<10) })
	expired := token(func(c *jwt.ActivationClaims) { c.Expires = b.now.Unix() - 60 })
	refuses := func(token []byte, src accounts.Origin, want any) {
		t.Helper()
		_, err := b.activate(token, src)
		if err == nil {
			t.Error("it is taken")
			return
		}
		wantError(t, err, want)
	}
	takes := func(token []byte, src accounts.Origin) {
		t.Helper()
		if _, err := b.activate(token, src); err != nil {
			t.Error(err)
		}
	}
	refuses(large, accounts.Origin{}, accounts.ErrActivationSize)
	refuses(expired, accounts.Origin{}, &accounts.BlockedError{})
	takes(large, file)
	takes(expired, file)
	b.announcer.maxPayload = 500
	refuses(token(), accounts.Origin{}, &accounts.TooLargeError{})
	b.announcer.maxPayload = 0
	takes(token(func(c *jwt.ActivationClaims) { c.ImportSubject = "peer" }), accounts.Origin{Peer: true})
	b.gate.SetTrust(accounts.Trust{})
	refuses(token(func(c *jwt.ActivationClaims) { c.ImportSubject = "bar" }), accounts.Origin{}, accounts.ErrActivationIssuer)
	takes(token(func(c *jwt.ActivationClaims) { c.ImportSubject = "bar" }), file)

	b, exporter, _ = exporting(t, func(o *accounts.Options) { o.AllowOlder = true })
	older, _ := jwttest.Activation(t, exporter, importer, b.now.Add(-time.Hour))
	takes(token(), accounts.Origin{})
	takes(older, accounts.Origin{})

	b = newBench(t, func(o *accounts.Options) { o.ReadOnly = true })
	if _, err := b.gate.Put(context.Background(), exporter.ID, b.op.Account(t, exporter), file); err != nil {
		t.Fatal(err)
	}
	refuses(token(), accounts.Origin{Peer: true}, accounts.ErrReadOnly)
	takes(token(), file)
}

// TestAnActivationCountsAsLongAsItsAccountSaysSo.
func TestAnActivationCountsAsLongAsItsAccountSaysSo(t *testing.T) {
	b, exporter, signing := exporting(t)
	token, hash := jwttest.ActivationBy(t, signing, jwttest.NewAccount(t), b.now, func(c *jwt.ActivationClaims) { c.IssuerAccount = exporter.ID })
	serves := func(want error) {
		t.Helper()
		for range 2 {
			if a, err := b.gate.GetActivation(t.Context(), hash); !errors.Is(err, want) || want == nil && !bytes.Equal(a.JWT, token) {
				t.Errorf("%v, %v, want %v", a, err, want)
			}
		}
	}
	serves(accounts.ErrNoActivation)
	if _, err := b.activate(token, accounts.Origin{}); err != nil {
		t.Fatal(err)
	}
	serves(nil)
	b.stock(t, exporter) // without the signing key
	serves(accounts.ErrNoActivation)
	b.stock(t, exporter, signing)
	serves(nil)
	if err := b.gate.Remove(t.Context(), exporter.ID, accounts.Origin{Kind: accounts.KindFile, File: true}); err != nil {
		t.Fatal(err)
	}
	serves(accounts.ErrNoActivation)
	if raw, err := b.gate.GetRawActivation(t.Context(), hash); err != nil || !bytes.Equal(raw, token) {
		t.Errorf("as text: %q, %v", raw, err)
	}
}

// TestADamagedActivationIsSaidOnceAndMended, whatever it claims to be.
func TestADamagedActivationIsSaidOnceAndMended(t *testing.T) {
	b, exporter, _ := exporting(t)
	importer := jwttest.NewAccount(t)
	token, hash := jwttest.Activation(t, exporter, importer, b.now)
	other, _ := jwttest.Activation(t, exporter, importer, b.now.Add(time.Minute), func(c *jwt.ActivationClaims) { c.ImportSubject = "bar" })
	ahead, _ := jwttest.Activation(t, exporter, importer, b.now.Add(1000*time.Hour))
	for name, planted := range map[string][]byte{"junk": []byte("junk"), "a newer one of another hash": other, "one from the future": ahead} {
		b.plant(t, hash, planted)
		b.log.Reset()
		for range 2 {
			if _, err := b.gate.GetActivation(t.Context(), hash); !errors.Is(err, accounts.ErrDamaged) && name != "one from the future" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if said := strings.Count(b.log.String(), "is not served"); said != 1 && name != "one from the future" {
			t.Errorf("%s: said %d times\n%s", name, said, b.log)
		}
		if _, err := b.activate(token, accounts.Origin{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if a, err := b.gate.GetActivation(t.Context(), hash); err != nil || !bytes.Equal(a.JWT, token) {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}
