package resolver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
)

// TestAListThatNoMessageHasRoomForIsRefused stores as many accounts as a message lists, and then one
// more.
func TestAListThatNoMessageHasRoomForIsRefused(t *testing.T) {
	const most = (8<<10 - 1<<10) / (56 + 8)
	c := comparisons{op: jwttest.NewOperator(t), peer: nothing}
	for range most {
		a := jwttest.NewAccount(t)
		c.stored = append(c.stored, [2]string{a.ID, string(c.op.Account(t, a))})
	}
	var answer string
	c.during = func(s *fakeSession) {
		time.Sleep(time.Minute)
		s.deliver(&nats.Msg{Subject: "$SYS.REQ.CLAIMS.LIST", Reply: "client"})
		s.mu.Lock()
		defer s.mu.Unlock()
		answer = s.last
	}
	c.run(t)
	for _, stored := range c.stored {
		if !strings.Contains(answer, stored[0]) {
			t.Fatalf("it lacks %s", stored[0])
		}
	}
	if len(answer) > 8<<10 {
		t.Errorf("the answer has %d bytes", len(answer))
	}
	a := jwttest.NewAccount(t)
	c.stored = append(c.stored, [2]string{a.ID, string(c.op.Account(t, a))})
	c.run(t)
	if !strings.Contains(answer, "there are more than 112 accounts") {
		t.Errorf("the answer is %.300s", answer)
	}
}
