package trust_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func parse(t *testing.T, o *jwttest.Operator) *trust.Operator {
	t.Helper()
	op, err := trust.Parse([]byte(o.Token(t)))
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func TestTheOperatorAndItsSigningKeysAreTrusted(t *testing.T) {
	o := jwttest.NewOperator(t)
	op := parse(t, o)
	other := jwttest.NewOperator(t)
	for _, c := range []struct {
		name string
		key  string
		want bool
	}{
		{"the operator's own key", o.ID, true},
		{"its signing key", o.Claims.SigningKeys[0], true},
		{"another operator's key", other.ID, false},
		{"another operator's signing key", other.Claims.SigningKeys[0], false},
		{"an account key", o.System.ID, false},
		{"nothing", "", false},
	} {
		if got := op.Trusts(c.key); got != c.want {
			t.Errorf("%s: trusted = %v, want %v", c.name, got, c.want)
		}
	}
	if op.SystemAccount != o.System.ID || op.Name != "OP" || op.Key != o.ID {
		t.Errorf("got %+v", op)
	}
	var none *trust.Operator
	if none.Trusts(o.ID) {
		t.Error("no operator trusts somebody")
	}
}

func TestAnOperatorThatDemandsSigningKeysIsNotTrustedItself(t *testing.T) {
	o := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = true })
	op := parse(t, o)
	if op.Trusts(o.ID) || !op.Trusts(o.Claims.SigningKeys[0]) {
		t.Error("strict signing key usage is not honoured")
	}
	bare := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) {
		c.StrictSigningKeyUsage, c.SigningKeys = true, nil
	})
	if _, err := trust.Parse([]byte(bare.Token(t))); err == nil {
		t.Error("an operator nobody can sign for is accepted")
	}
}

func TestOperatorFilesAreBareOrDecorated(t *testing.T) {
	o := jwttest.NewOperator(t)
	token := o.Token(t)
	decorated := "-----BEGIN NATS OPERATOR JWT-----\n" + token + "\n------END NATS OPERATOR JWT------\n"
	for _, c := range []struct{ name, file, served, err string }{
		{"bare", token, token, ""},
		{"bare with line ends is served verbatim", token + "\r\n", token + "\r\n", ""},
		{"decorated is served bare", decorated, token, ""},
		{"empty", "", "", "empty"},
		{"garbage", "hello", "", "expected 3 chunks"},
		{"an account's JWT", string(o.SystemAccount(t)), "", "not operator claim"},
		{"a damaged signature", string(jwttest.Flip([]byte(token))), "", "signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			op, err := trust.Parse([]byte(c.file))
			switch {
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want %q", err, c.err)
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err == "" && string(op.Token()) != c.served:
				t.Fatalf("serves %q", op.Token())
			}
		})
	}
}

func TestCheckKnowsWhoseJWTItIs(t *testing.T) {
	o, other := jwttest.NewOperator(t), jwttest.NewOperator(t)
	a, b := jwttest.NewAccount(t), jwttest.NewAccount(t)
	op := parse(t, o)
	good := o.Account(t, a)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	expired := jwttest.Sign(t, o.Signing, a, time.Now(), func(c *jwt.AccountClaims) { c.Expires = 1 })
	v1 := []byte(`{"jti":"x","iat":1600000000,"iss":"` + o.ID + `","name":"old","sub":"` + a.ID + `","type":"account","nats":{"limits":{}}}`)
	for _, c := range []struct {
		name  string
		token []byte
		err   string // "" = accepted
	}{
		{"signed with the signing key", good, ""},
		{"signed with the operator's key", jwttest.Sign(t, o.Key, a, time.Now()), ""},
		{"expired: that is for others to judge", expired, ""},
		{"version 1", jwttest.EncodeRaw(t, o.Key, `{"typ":"jwt","alg":"ed25519"}`, v1, false), ""},
		{"another operator's", other.Account(t, a), "did not sign it"},
		{"another account's", o.Account(t, b), "another subject"},
		{"a damaged signature", jwttest.Flip(good), "signature"},
		{"self-signed", jwttest.Sign(t, a.Key, a, time.Now()), "did not sign it"},
		{"issued by a user", jwttest.Sign(t, user, a, time.Now()), "prefixes"},
		{"the operator's own JWT", []byte(o.Token(t)), "not account claim"},
		{"two parts", good[:bytes.LastIndexByte(good, '.')], "3 chunks"},
		{"a line break inside the signature (B6)", append(bytes.Clone(good[:len(good)-4]), append([]byte("\n"), good[len(good)-4:]...)...), "line break"},
		{"nothing", nil, "3 chunks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := op.Check(a.ID, c.token)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
		})
	}
	if _, err := (*trust.Operator)(nil).Check(a.ID, other.Account(t, a)); err != nil {
		t.Errorf("without an operator a consistent JWT is refused: %v", err)
	}
}

func TestOneJWTHasOneSpelling(t *testing.T) {
	o := jwttest.NewOperator(t)
	token := o.Account(t, jwttest.NewAccount(t))
	if _, err := trust.Peek(token); err != nil {
		t.Fatal(err)
	}
	// A 64 byte signature takes 86 characters, the last of which carries only two bits: 16 spellings decode to
	// the same bytes.
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	accepted := 0
	for _, last := range []byte(alphabet) {
		other := append(bytes.Clone(token[:len(token)-1]), last)
		if _, err := trust.Peek(other); err == nil {
			accepted++
		}
	}
	if accepted != 4 {
		t.Errorf("%d spellings of the last character are accepted, want the 4 canonical ones", accepted)
	}
}

func FuzzCheck(f *testing.F) {
	o := jwttest.NewOperator(f)
	op, err := trust.Parse([]byte(o.Token(f)))
	if err != nil {
		f.Fatal(err)
	}
	a := jwttest.NewAccount(f)
	good := o.Account(f, a)
	f.Add(good)
	f.Add([]byte("e30.e30.e30"))
	f.Add(jwttest.EncodeRaw(f, a.Key, `{"alg":"ed25519"}`, []byte(`{"type":"account","iss":"`+o.ID+`","sub":"`+a.ID+`"}`), false))
	f.Fuzz(func(t *testing.T, token []byte) {
		if _, err := op.Check(a.ID, token); err == nil && !bytes.Equal(token, good) {
			t.Fatalf("let in: %q", token)
		}
	})
}
