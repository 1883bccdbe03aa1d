package trust_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func TestCheckKnowsWhoseJWTItIs(t *testing.T) {
	o, other := jwttest.NewOperator(t), jwttest.NewOperator(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	op := parse(t, o)
	good := o.Account(t, a)
	user, _ := jwttest.NewUser(t)
	expired := jwttest.Sign(t, o.Signing, a, time.Now(), func(c *jwt.AccountClaims) {
		c.Expires = 1
	})
	header := `{"typ":"jwt","alg":"ed25519"}`
	v1 := []byte(`{"jti":"x","iat":1600000000,"iss":"` + o.ID + `","name":"old","sub":"` + a.ID +
		`","type":"account","nats":{"limits":{}}}`)
	end := len(good) - 4
	brokenLine := append(bytes.Clone(good[:end]), append([]byte("\n"), good[end:]...)...)
	for _, c := range []struct {
		name  string
		token []byte
		err   string // "" = accepted
	}{
		{"signed with the signing key", good, ""},
		{"signed with the operator's key", jwttest.Sign(t, o.Key, a, time.Now()), ""},
		{"expired: that is for others to judge", expired, ""},
		{"version 1", jwttest.EncodeRaw(t, o.Key, header, v1, false), ""},
		{"another operator's", other.Account(t, a), "did not sign it"},
		{"another account's", o.Account(t, b), "another subject"},
		{"a damaged signature", jwttest.Flip(good), "signature"},
		{"self-signed", jwttest.Sign(t, a.Key, a, time.Now()), "did not sign it"},
		{"issued by a user", jwttest.Sign(t, user, a, time.Now()), "prefixes"},
		{"the operator's own JWT", []byte(o.Token(t)), "not account claim"},
		{"two parts", good[:bytes.LastIndexByte(good, '.')], "3 chunks"},
		{"a line break inside the signature", brokenLine, "line break"},
		{"not JSON", jwttest.EncodeRaw(t, o.Key, header, []byte("{"), false), "unexpected end"},
		{"nothing", nil, "3 chunks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := trust.Operators{op}.Check(a.ID, c.token)
			accepted := c.err == "" && err == nil
			refused := c.err != "" && err != nil && strings.Contains(err.Error(), c.err)
			if !accepted && !refused {
				t.Fatalf("error %v, want %q", err, c.err)
			}
		})
	}
	if _, err := trust.Operators(nil).Check(a.ID, other.Account(t, a)); err != nil {
		t.Errorf("without an operator a consistent JWT is refused: %v", err)
	}
}

func TestOneJWTHasOneSpelling(t *testing.T) {
	o := jwttest.NewOperator(t)
	token := o.Account(t, jwttest.NewAccount(t))
	if _, err := trust.Peek(token); err != nil {
		t.Fatal(err)
	}
	// A 64 byte signature takes 86 characters, the last of which carries only two bits: 16
	// spellings decode to the same bytes.
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	accepted := 0
	for _, last := range []byte(alphabet) {
		other := append(bytes.Clone(token[:len(token)-1]), last)
		if _, err := trust.Peek(other); err == nil {
			accepted++
		}
	}
	if accepted != 4 {
		t.Errorf("%d spellings of the last character are accepted, want the 4 canonical ones",
			accepted)
	}
}

func FuzzCheck(f *testing.F) {
	o := jwttest.NewOperator(f)
	op, err := trust.Parse([]byte(o.Token(f)))
	if err != nil {
		f.Fatal(err)
	}
	trusted, a := trust.Operators{op}, jwttest.NewAccount(f)
	good := o.Account(f, a)
	f.Add(good)
	f.Add([]byte("e30.e30.e30"))
	selfSigned := []byte(`{"type":"account","iss":"` + o.ID + `","sub":"` + a.ID + `"}`)
	f.Add(jwttest.EncodeRaw(f, a.Key, `{"alg":"ed25519"}`, selfSigned, false))
	f.Fuzz(func(t *testing.T, token []byte) {
		if _, err := trusted.Check(a.ID, token); err == nil && !bytes.Equal(token, good) {
			t.Fatalf("accepted: %q", token)
		}
	})
}

func TestAccountFilesAreBareOrDecorated(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	good := string(o.Account(t, a))
	decorated := "-----BEGIN NATS ACCOUNT JWT-----\n" + good +
		"\n------END NATS ACCOUNT JWT------\n"
	for _, c := range []struct{ name, file, served, err string }{
		{"bare with a line end is served verbatim", good + "\n", good + "\n", ""},
		{"decorated is served bare", decorated, good, ""},
		{"empty", "", "", "empty"},
		{"garbage", "hello", "", "expected 3 chunks"},
		{"an operator's JWT", o.Token(t), "", "not account claim"},
	} {
		token, claims, err := trust.ParseAccount([]byte(c.file))
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		case c.err == "" && (err != nil || string(token) != c.served || claims.Subject != a.ID):
			t.Errorf("%s: %q, %v, %v", c.name, token, claims, err)
		}
	}
}

func TestWhatIsTamperedWithIsNotVerified(t *testing.T) {
	o, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	token := o.Account(t, a)
	head, err := trust.Peek(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Verify(token, head); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*trust.Head){
		"subject": func(h *trust.Head) { h.Subject = o.ID },
		"issuer":  func(h *trust.Head) { h.Issuer = o.ID },
		"iat":     func(h *trust.Head) { h.IssuedAt++ },
	} {
		other := head
		edit(&other)
		if _, err := trust.Verify(token, other); err == nil {
			t.Errorf("a head with another %s is not noticed", name)
		}
	}
	if _, err := trust.Verify([]byte(o.Token(t)), head); err == nil {
		t.Error("an operator's JWT is an account's")
	}
}
