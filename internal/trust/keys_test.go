package trust_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/trust"
)

func TestTheSyntaxOfKeysAndHashes(t *testing.T) {
	account, operator := jwttest.NewAccount(t).ID, jwttest.NewOperator(t).ID
	process, err := nkeys.CreateServer()
	if err != nil {
		t.Fatal(err)
	}
	server, _ := process.PublicKey()
	if !trust.IsServerKey(server) || trust.IsServerKey(server+"\n") || trust.IsServerKey(account) {
		t.Errorf("%q is no server key, or another key is one", server)
	}
	hash := strings.Repeat("A", 52) + "===="
	badChecksum := account[:55] + "A"
	if badChecksum == account {
		badChecksum = account[:55] + "B"
	}
	for _, c := range []struct {
		name, text                         string
		account, looksLike, operator, hash bool
	}{
		{"an account key", account, true, true, false, false},
		{"an account key with a line end", account + "\n", false, false, false, false},
		{"an account key with a line end in its place", account[:55] + "\n", false,
			false, false, false},
		{"an account key in small letters", strings.ToLower(account), false, false, false, false},
		{"an account key with a bad checksum", badChecksum, false, true, false, false},
		{"an account key that is cut", account[:55], false, false, false, false},
		{"an operator key", operator, false, false, true, false},
		{"a hash", hash, false, false, false, true},
		{"a hash without its padding", hash[:52], false, false, false, false},
		{"a hash with a digit that base32 lacks", "1" + hash[1:], false, false, false, false},
		{"a long hash", "A" + hash, false, false, false, false},
		{"a path", "../" + account[3:], false, false, false, false},
		{"nothing", "", false, false, false, false},
	} {
		for what, got := range map[string][2]bool{
			"IsAccountKey":        {trust.IsAccountKey(c.text), c.account},
			"LooksLikeAccountKey": {trust.LooksLikeAccountKey(c.text), c.looksLike},
			"IsOperatorKey":       {trust.IsOperatorKey(c.text), c.operator},
			"IsActivationHash":    {trust.IsActivationHash(c.text), c.hash},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: %s is %t", c.name, what, got[0])
			}
		}
	}
}
