package trust_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func TestAnOrderToDeleteIsTheOperators(t *testing.T) {
	o := jwttest.NewOperator(t)
	op := trust.Operators{parse(t, o)}
	a, b := jwttest.NewAccount(t).ID, jwttest.NewAccount(t).ID
	order := func(signer nkeys.KeyPair, accounts any, edits ...func(*jwt.GenericClaims)) []byte {
		t.Helper()
		key, err := signer.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		c := jwt.NewGenericClaims(key)
		c.Data["accounts"] = accounts
		for _, edit := range edits {
			edit(c)
		}
		token, err := c.Encode(signer)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(token)
	}
	// The library writes into the data of version 1, which need not be there.
	version1 := func(claims string) []byte {
		return jwttest.EncodeRaw(t, o.Key, `{"typ":"jwt","alg":"ed25519"}`, []byte(claims), false)
	}
	for _, c := range []struct {
		name  string
		token []byte
		want  []string
		err   string // "": accepted
	}{
		{"by a signing key", order(o.Signing, []string{a, b}), []string{a, b}, ""},
		{"by the operator's key", order(o.Key, []string{a}), []string{a}, ""},
		{"by another operator", order(jwttest.NewOperator(t).Key, []string{a}), nil, "not trusted"},
		{"in another name", order(o.Key, []string{a}, func(c *jwt.GenericClaims) { c.Subject = a }),
			nil, "not self signed"},
		{"expired", order(o.Key, []string{a}, func(c *jwt.GenericClaims) {
			c.Expires = 1
		}), nil, "expired"},
		{"of no account", order(o.Key, []string{}), nil, ""},
		{"without accounts", order(o.Key, nil), nil, "malformed request"},
		{"with a text for a list", order(o.Key, a), nil, "malformed request"},
		{"with a key that is none", order(o.Key, []string{a, "x"}), nil, `malformed request: "x"`},
		{"with a number for a key", order(o.Key, []int{7}), nil, `malformed request: "7"`},
		{"damaged", jwttest.Flip(order(o.Key, []string{a})), nil, "signature"},
		{"nothing", nil, nil, "3 chunks"},
		{"without data", version1(`{"iss":"` + o.ID + `","sub":"` + o.ID + `","type":"x"}`), nil,
			"malformed request"},
		{"with data that is null", version1(`{"iss":"` + o.ID + `","type":"x","Nats":null}`), nil,
			"malformed request"},
		{"with a line break", bytes.Replace(version1(`{"iss":"`+o.ID+`","tags":["x"]}`), []byte("."),
			[]byte("\n."), 1), nil, "line break"},
	} {
		d, err := op.CheckDeletion(c.token)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		case c.err == "" && (err != nil || !slices.Equal(d.Accounts, c.want)):
			t.Errorf("%s: %v, %v", c.name, d.Accounts, err)
		case c.err == "" && (d.Hash != sha256.Sum256(c.token) || !op.Trusts(d.Issuer) ||
			time.Now().Unix()-d.IssuedAt > 60):
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}
