package trust_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func strict(c *jwt.OperatorClaims) { c.StrictSigningKeyUsage = true }

// Of two operators one requires signing keys. Neither has the rules of the other one.
func TestEachOperatorHasItsOwnRules(t *testing.T) {
	loose, strictly := jwttest.NewOperator(t), jwttest.NewOperator(t, strict)
	stranger, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	both := trust.Operators{parse(t, loose), parse(t, strictly)}
	for _, c := range []struct {
		name      string
		operators trust.Operators
		signer    nkeys.KeyPair
		err       string // "": accepted
	}{
		{"the first one's identity key", both, loose.Key, ""},
		{"the first one's signing key", both, loose.Signing, ""},
		{"the second one's signing key", both, strictly.Signing, ""},
		{"the second one's identity key", both, strictly.Key,
			"the operator's identity key " + strictly.ID +
				" signed it, and this operator requires a "},
		{"the only one's identity key", both[1:], strictly.Key,
			"this operator requires a signing key"},
		{"another operator", both, stranger.Signing,
			"none of the operators " + loose.ID + ", " + strictly.ID + " signed it"},
		{"another operator's identity key", both, stranger.Key, "none of the operators"},
		{"an operator that is gone", both[1:], loose.Key,
			"the operator " + strictly.ID + " did not sign it"},
	} {
		_, err := c.operators.Check(a.ID, jwttest.Sign(t, c.signer, a, time.Now()))
		if c.err == "" && err != nil || c.err != "" &&
			(err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
	if !both.NameSystemAccount(loose.System.ID) || !both.NameSystemAccount(strictly.System.ID) ||
		both.NameSystemAccount(a.ID) {
		t.Error("the system accounts are not those of the two operators")
	}
}

// As with nats-server, the keys of two JWTs of one operator are all trusted.
func TestOneOperatorGivenTwiceHasTheKeysOfBothJWTs(t *testing.T) {
	o := jwttest.NewOperator(t)
	old, removed := parse(t, o), o.Signing
	next := jwttest.NewOperator(t).Signing
	key, err := next.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	o.Claims.SigningKeys = nil
	o.Claims.SigningKeys.Add(key)
	strict(o.Claims)
	a := jwttest.NewAccount(t)
	for _, c := range []struct {
		name string
		by   trust.Operators
		want [3]bool // of the identity key, the removed key and the new key
	}{
		{"both", trust.Operators{old, parse(t, o)}, [3]bool{true, true, true}},
		{"the new one", trust.Operators{parse(t, o)}, [3]bool{false, false, true}},
		{"the old one", trust.Operators{old}, [3]bool{true, true, false}},
		{"the same one twice", trust.Operators{old, old}, [3]bool{true, true, false}},
	} {
		for i, signer := range [...]nkeys.KeyPair{o.Key, removed, next} {
			_, err := c.by.Check(a.ID, jwttest.Sign(t, signer, a, time.Now()))
			if (err == nil) != c.want[i] || err != nil && strings.Count(err.Error(), o.ID) > 1 {
				t.Errorf("%s, key %d: %v", c.name, i, err)
			}
		}
	}
}

func TestAnOrderToDeleteIsOfAnyOperatorByItsOwnRules(t *testing.T) {
	loose, strictly := jwttest.NewOperator(t), jwttest.NewOperator(t, strict)
	both := trust.Operators{parse(t, loose), parse(t, strictly)}
	for _, c := range []struct {
		signer nkeys.KeyPair
		err    string
	}{
		{loose.Key, ""}, {loose.Signing, ""}, {strictly.Signing, ""},
		{strictly.Key, "this operator requires a signing key"},
		{jwttest.NewOperator(t).Key, "not trusted"},
	} {
		id, err := c.signer.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		order := jwt.NewGenericClaims(id)
		order.Data["accounts"] = []string{jwttest.AccountKey(t)}
		token, err := order.Encode(c.signer)
		if err != nil {
			t.Fatal(err)
		}
		_, err = both.CheckDeletion([]byte(token))
		if c.err == "" && err != nil || c.err != "" &&
			(err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("of %s: %v, want %q", id, err, c.err)
		}
	}
}

// What all operators have together is there once, whatever several of them share.
func TestWhatOperatorsHaveTogether(t *testing.T) {
	loose, strictly := jwttest.NewOperator(t), jwttest.NewOperator(t, strict)
	again := parse(t, loose)
	all := trust.Operators{parse(t, loose), parse(t, strictly), again}
	signers := append(parse(t, loose).Signers(), parse(t, strictly).Signers()...)
	if slices.Sort(signers); !slices.Equal(all.Signers(), signers) || len(signers) != 3 {
		t.Errorf("signers %v, want %v", all.Signers(), signers)
	}
	systems := []string{loose.System.ID, strictly.System.ID}
	if !slices.Equal(all.SystemAccounts(), systems) {
		t.Errorf("system accounts %v, want %v", all.SystemAccounts(), systems)
	}
}
