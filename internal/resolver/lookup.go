package resolver

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

const (
	// sayNoAfter is how long a lookup of an unknown account is left to those who may know it. nats-server counts
	// answers: a hasty empty one makes an account vanish that somebody has.
	sayNoAfter = 300 * time.Millisecond
	// sayNoBefore is when nobody waits for the answer any more: nats-server does for about two seconds.
	sayNoBefore = 1900 * time.Millisecond
	// mostPending bounds the lookups that wait. Further ones get no answer, which says the same, only later.
	mostPending = 1024
)

// lookup answers who asks for an account's JWT: at once if it is stored, and with nothing if it is not, but not before
// it is known what others have.
func (s *session) lookup(m *nats.Msg) {
	if m.Reply == "" {
		s.Log.Log(s.ctx, logging.LevelTrace, "lookup is not a request")
		return
	}
	key := accountOf(m.Subject)
	if s.known(m, key) {
		return
	}
	select {
	case s.pending <- struct{}{}:
		go s.sayNo(m, key)
	default:
	}
}

// known answers unless the account is surely not stored. What can't be read or is damaged is left to others.
func (s *session) known(m *nats.Msg, key string) bool {
	a, err := s.Gate.GetLocal(s.ctx, key)
	if err == nil {
		token := bytes.TrimSpace(a.JWT)
		s.complain(s.conn.Publish(m.Reply, token))
		if s.Log.Enabled(s.ctx, logging.LevelTrace) {
			s.Log.Log(s.ctx, logging.LevelTrace, fmt.Sprintf("lookup of account %s - respond %d bytes", key, len(token)))
		}
	}
	return !errors.Is(err, accounts.ErrNotFound)
}

// sayNo answers with nothing, unless the account has come meanwhile.
func (s *session) sayNo(m *nats.Msg, key string) {
	defer func() { <-s.pending }()
	late := time.NewTimer(sayNoBefore)
	defer late.Stop()
	soon := time.NewTimer(sayNoAfter)
	defer soon.Stop()
	select {
	case <-soon.C:
	case <-s.ctx.Done():
		return
	}
	select {
	case <-s.synced:
	case <-late.C:
		return
	case <-s.ctx.Done():
		return
	}
	if !s.known(m, key) {
		s.complain(s.conn.Publish(m.Reply, nil))
	}
}
