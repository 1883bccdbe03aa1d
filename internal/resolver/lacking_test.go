package resolver_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/trust"
)

// trustWithoutSigningKeys is the trust in an operator JWT from before its signing keys were added.
func trustWithoutSigningKeys(t *testing.T, op *jwttest.Operator) accounts.Trust {
	t.Helper()
	c := *op.Claims
	c.SigningKeys = nil
	token, err := c.Encode(op.Key)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := trust.Parse([]byte(token))
	if err != nil {
		t.Fatal(err)
	}
	return accounts.Trust{Operators: trust.Operators{trusted}}
}

// One account server lacks the key that has signed the newer JWT, so neither will ever give in.
// They announce theirs less and less.
func TestAccountServersOfWhichOneLacksTheNewKeyContradictEachOtherLessAndLess(t *testing.T) {
	t.Parallel()
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	older := jwttest.Sign(t, op.Key, a, time.Now().Add(-time.Hour))
	newer := jwttest.Sign(t, op.Signing, a, time.Now(), func(c *jwt.AccountClaims) {
		c.Name = "newer"
	})
	env := newEnvironment(t, op, a)
	connects(t, env.nats, credsOf(t, a))
	whole := startServer(t, env)
	lacking := newServer(t, env, jwtstore.NewMemory(true))
	lacking.registry.SetTrust(trustWithoutSigningKeys(t, op))
	lacking.connect(t)
	whole.push(t, a.ID, older)
	lacking.eventuallyHas(t, a.ID, older)

	said := env.count(t, "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE")
	began := time.Now()
	whole.push(t, a.ID, newer)
	natstest.Eventually(t, "nine announcements are made", func() bool { return said.Load() >= 9 })
	// The waits are 1, 2 and 4 seconds. Without growing they would be 1, 1 and 1.
	if took := time.Since(began); took < 6*time.Second {
		t.Errorf("they have taken %s only", took)
	}
	// The newer one follows each older one, and stays when the other server has learned of the key.
	runsNewer := func() bool { return bytes.Equal(runs(t, env.nc, env.nats, a.ID), newer) }
	natstest.Eventually(t, "the nats-server runs the newer one", runsNewer)
	lacking.registry.SetTrust(trustIn(t, op))
	lacking.eventuallyHas(t, a.ID, newer)
	eventuallyQuiet(t, said)
	if !runsNewer() || said.Load() > 14 {
		t.Errorf("after %d announcements the nats-server runs the newer one: %t",
			said.Load(), runsNewer())
	}
}

func credsOf(t *testing.T, a *jwttest.Account) []byte {
	creds, _ := a.User(t)
	return creds
}
