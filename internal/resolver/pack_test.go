package resolver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
)

// TestAPackIsFlushedPartByPart gives a pack that is larger than what may be on its way to the
// nats-server at a time.
func TestAPackIsFlushedPartByPart(t *testing.T) {
	const n, size, limit = 300, 4000, 300 << 10
	op := jwttest.NewOperator(t)
	c := comparisons{op: op, peer: nothing}
	for range n {
		a := jwttest.NewAccount(t)
		token := op.Account(t, a, func(c *jwt.AccountClaims) {
			c.Description = strings.Repeat("x", size)
		})
		c.stored = append(c.stored, [2]string{a.ID, string(token)})
	}
	c.during = func(s *fakeSession) {
		time.Sleep(time.Minute)
		s.deliver(&nats.Msg{Subject: "$SYS.REQ.CLAIMS.PACK", Reply: "them", Data: make([]byte, 31)})
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sent != n+1 {
			t.Errorf("%d messages were sent, want %d", s.sent, n+1)
		}
		if s.most > limit {
			t.Errorf("%d bytes were on their way at a time, want at most %d", s.most, limit)
		}
	}
	c.run(t)
}
