package notifier

import (
	"fmt"
	"strings"
	"time"

	"nats-account-server/internal/accounts"
)

// whoRuns asks all nats-servers what they run for an account.
const whoRuns = "$SYS.REQ.SERVER.PING.ACCOUNTZ"

// question asks who runs the JWT that is stored. A change that came by a broadcast has reached every nats-server that
// was there; this tells the others apart without saying it twice to all.
func (s *session) question(a attempt, token []byte) {
	s.n.mu.Lock()
	if it := s.flying[a.Key]; it != nil && it.Seq == a.Seq {
		it.want = strings.TrimSpace(string(token))
	}
	s.n.mu.Unlock()
	s.publish(whoRuns, replyHas+"."+a.reply(), fmt.Appendf(nil, `{"account":%q}`, a.Key))
}

// has takes a nats-server's answer.
func (s *session) has(rest string, r reply, unanswered bool, now time.Time) {
	key, attempt, _ := strings.Cut(rest, ".")
	seq, number := parseReply(attempt)
	it := s.items[key]
	if it == nil || !it.flying || !it.asks || it.Seq != seq || it.attempt != number {
		return
	}
	if unanswered {
		s.conclude(it, now)
		return
	}
	name, p := s.greet(r.Server.serverID, now)
	switch runs := running(r); {
	case runs.State == accounts.Loaded && strings.TrimSpace(string(runs.JWT)) == it.want,
		// It fetches the account when it needs it, or has saved what it heard; only a cache may have an older one.
		runs.State == accounts.NotLoaded && !p.caches:
		s.n.Outbox.Acknowledge(name, seq)
	}
	it.heard[name] = true
	if !s.settle(it) && s.allHeard(it) {
		s.conclude(it, now)
	}
}

// concludeQuestion ends a question: who does not run the JWT is told.
func (s *session) concludeQuestion(it *item, now time.Time) {
	it.asks = false
	if !s.settle(it) {
		s.again(it, now)
	}
}
