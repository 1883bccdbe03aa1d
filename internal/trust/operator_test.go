package trust_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

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
	trusted, other := trust.Operators{op}, jwttest.NewOperator(t)
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
		if got := trusted.Trusts(c.key); got != c.want {
			t.Errorf("%s: trusted = %v, want %v", c.name, got, c.want)
		}
	}
	if op.SystemAccount != o.System.ID || op.Name != "OP" || op.Key != o.ID {
		t.Errorf("got %+v", op)
	}
	var none trust.Operators
	if none.Trusts(o.ID) || none.RequireSigningKey(o.ID) {
		t.Error("a key is trusted without an operator")
	}
}

func TestAnOperatorThatDemandsSigningKeysIsNotTrustedItself(t *testing.T) {
	o := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = true })
	op := trust.Operators{parse(t, o)}
	if op.Trusts(o.ID) || !op.Trusts(o.Claims.SigningKeys[0]) {
		t.Error("strict signing key usage is not honoured")
	}
	bare := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) {
		c.StrictSigningKeyUsage, c.SigningKeys = true, nil
	})
	// Its last signing key was removed. If that were an error, the removed key would stay trusted.
	if op := parse(t, bare); !op.SignsNothing() || (trust.Operators{op}).Trusts(bare.ID) {
		t.Error("an operator without any signing key signs accounts")
	}
}

func TestOperatorFilesAreBareOrDecorated(t *testing.T) {
	o := jwttest.NewOperator(t)
	token := o.Token(t)
	decorated := "-----BEGIN NATS OPERATOR JWT-----\n" + token +
		"\n------END NATS OPERATOR JWT------\n"
	for _, c := range []struct{ name, file, served, err string }{
		{"bare", token, token, ""},
		{"bare with line ends is served verbatim", token + "\r\n", token + "\r\n", ""},
		{"decorated is served bare", decorated, token, ""},
		{"empty", "", "", "empty"},
		{"a BEGIN line without a JWT", "-----BEGIN NATS OPERATOR JWT-----\n", "",
			"expected 3 chunks"},
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

func TestAnOperatorMayExpire(t *testing.T) {
	if op := parse(t, jwttest.NewOperator(t)); !op.Expires.IsZero() {
		t.Errorf("it expires at %s", op.Expires)
	}
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	o := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.Expires = at.Unix() })
	if op := parse(t, o); !op.Expires.Equal(at) {
		t.Errorf("it expires at %s, want %s", op.Expires, at)
	}
}
