package resolver_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestTwoJWTsOfOneSecondEndWithTheOriginalBesideIt: it takes every update that differs from what it
// has, and announces it twice. It also merges packs, in which the last JWT of a second wins. This
// server makes both stop at the same JWT after few messages, wherever each of them came in.
func TestTwoJWTsOfOneSecondEndWithTheOriginalBesideIt(t *testing.T) {
	t.Parallel()
	ours := func(srv *accountServer, _ *original, key string,
		token []byte) {
		srv.push(t, key, token)
	}
	theirs := func(_ *accountServer, o *original, _ string, token []byte) { o.take(token, true) }
	type origin func(*accountServer, *original, string, []byte)
	for name, origins := range map[string][2]origin{
		"one came to each, first here":  {ours, theirs},
		"one came to each, first there": {theirs, ours},
		"both came here":                {ours, ours},
		"both came there":               {theirs, theirs},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := startEnvironment(t)
			beside, srv := startOriginal(t, env), startServer(t, env)
			beside.delay = 20 * time.Millisecond // what each announces crosses what the other does
			type pair struct {
				key    string
				tokens [2][]byte
				count  *atomic.Int64
			}
			var pairs []pair
			for range 4 { // which SHA-256 is greater differs
				a := jwttest.NewAccount(t)
				p := pair{key: a.ID, count: env.count(t, "$SYS.ACCOUNT."+a.ID+".CLAIMS.UPDATE")}
				for i, name := range []string{"one", "other"} {
					p.tokens[i] = env.signed(t, a, 100, func(c *jwt.AccountClaims) {
						c.Name = name
					})
					origins[i](srv, beside, a.ID, p.tokens[i])
				}
				pairs = append(pairs, p)
			}
			eventuallyQuiet(t, pairs[0].count, pairs[1].count, pairs[2].count, pairs[3].count)
			for _, p := range pairs {
				natstest.Eventually(t, "both have the same", func() bool {
					return slices.ContainsFunc(p.tokens[:], func(token []byte) bool {
						return srv.has(p.key, token) && beside.has(p.key, token)
					})
				})
				// It may have both, and get the winner of a pack after the loser.
				if n := srv.log.Count("updated JWT for account - " + p.key[:12]); n > 3 {
					t.Errorf("this server has changed its JWT %d times", n)
				}
				if n := p.count.Load(); n > 100 {
					t.Errorf("%d messages", n)
				}
			}
		})
	}
}
