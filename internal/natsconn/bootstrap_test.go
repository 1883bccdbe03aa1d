package natsconn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
)

// A nats-server without the system account's JWT refuses a user of a signing key. The hint must say
// what helps, and that must help.
func TestAHintExplainsARefusedSigningKey(t *testing.T) {
	t.Parallel()
	op := jwttest.NewOperator(t)
	signing, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := signing.PublicKey()
	system := op.Account(t, op.System, func(c *jwt.AccountClaims) { c.SigningKeys.Add(key) })
	creds, user := (&jwttest.Account{Key: signing}).User(t,
		func(c *jwt.UserClaims) { c.IssuerAccount = op.System.ID })
	path := jwttest.File(t, t.TempDir(), "sys.creds", creds)
	preloaded := fmt.Sprintf("resolver_preload { %s: %s }\n", op.System.ID, system)
	for _, preload := range []string{"", preloaded} {
		n := natstest.Start(t, fmt.Sprintf("operator: %s\nsystem_account: %s\n"+
			"resolver { type: full, dir: %q }\n%slisten: 127.0.0.1:-1\n",
			op.Token(t), op.System.ID, t.TempDir(), preload))
		in := make(chan struct{})
		log, stop := run(t, natsconn.Options{
			Servers: []string{n.ClientURL()}, Credentials: path,
			ConnectTimeout: 5 * time.Second, ReconnectWait: 100 * time.Millisecond,
		}, func(ctx context.Context, _ *nats.Conn) {
			close(in)
			<-ctx.Done()
		})
		if preload == "" {
			want := fmt.Sprintf("nats-server refused the user %s in %s: its JWT was signed by "+
				"%s, a signing key of the account %s", user, path, key, op.System.ID)
			natstest.Eventually(t, "it says why", func() bool { return log.Count(want) == 1 })
		} else {
			<-in
		}
		stop()
	}
}
