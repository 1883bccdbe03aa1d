package main_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestWhatIsNotInEffectIsKnownAgainAfterARestart pushes an import that is not exported to a nats-server that
// has loaded the account, and kills or stops the program.
func TestWhatIsNotInEffectIsKnownAgainAfterARestart(t *testing.T) {
	t.Parallel()
	s, p, url, n := withNATS(t)
	a := jwttest.NewAccount(t)
	mustPush(t, url, a.ID, s.op.Account(t, a))
	user, _ := a.User(t)
	natstest.Connect(t, n.ClientURL(), user, nats.MaxReconnects(0))
	token := s.op.Account(t, a, func(c *jwt.AccountClaims) {
		c.Imports.Add(&jwt.Import{Account: s.op.System.ID, Subject: "orders", Type: jwt.Stream})
	})
	_, text := post(http.DefaultClient, url+"/jwt/v1/accounts/"+a.ID+"?wait=10s", token)
	const why = "not wholly in effect on "
	if !strings.Contains(text, "acknowledged by 1 of 1 nats-server; "+why) ||
		!strings.Contains(text, `: import of "orders"`) {
		t.Errorf("%s", text)
	}
	known := func() bool {
		for path, want := range map[string]string{
			"/accountz?incomplete=true": why,
			"/serverz":                  `"incomplete": 1`,
			"/metrics":                  "accounts_incomplete 1\n",
			"/jwt/v1/accounts/" + a.ID + "?delivery=true": `"not_in_effect": "import of`,
		} {
			if _, body := get(t, url+path); !strings.Contains(body, want) {
				return false
			}
		}
		return true
	}
	natstest.Eventually(t, "it is in the lists", known)
	for _, end := range []func(){p.kill, func() { p.term() }} {
		end()
		p, url = s.start(t)
		natstest.Eventually(t, "it is in the lists again", known)
	}
	p.term()
}
