package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/pause"
)

// A lookup of an account that is not stored is answered with nothing, but not at once.
const (
	// emptyAnswerDelay is how long a lookup of an unknown account is left to servers that may know
	// it. nats-server counts answers: an empty one that comes early makes it give up an account
	// which another server has.
	emptyAnswerDelay = 300 * time.Millisecond
	// emptyAnswerDeadline is when nats-server does not wait for the answer any more: it does for
	// about two seconds.
	emptyAnswerDeadline = 1900 * time.Millisecond
	// maxWaitingLookups bounds the lookups that wait for an empty answer. Further ones get none,
	// which means the same to nats-server, only later.
	maxWaitingLookups = 1024
)

// lookup answers a request for an account's JWT: at once if it is stored. If it is not, the answer
// is empty, but comes only when it is known what other servers have.
func (s *session) lookup(m *nats.Msg) {
	if m.Reply == "" {
		s.Log.Log(s.ctx, logging.LevelTrace, "lookup is not a request")
		return
	}
	key := accountOf(m.Subject)
	a, err := s.answerStored(m, key)
	s.LookedUp(a, err)
	if !errors.Is(err, accounts.ErrNotFound) {
		return
	}
	// nats.go calls one handler at a time: it must not wait here.
	s.lookups.TryGo(func() error {
		s.answerEmpty(m, key)
		return nil
	})
}

// answerStored answers with what is stored. The error is accounts.ErrNotFound if that is surely
// nothing. If it can't be read or is damaged, other servers are left to answer.
func (s *session) answerStored(m *nats.Msg, key string) (a *accounts.Account, err error) {
	a, err = s.Accounts.GetLocal(s.ctx, key)
	if err == nil {
		token := bytes.TrimSpace(a.JWT)
		s.logNATS(s.conn.Publish(m.Reply, token))
		s.Log.Log(s.ctx, logging.LevelTrace,
			fmt.Sprintf("lookup of account %s - respond %d bytes", key, len(token)))
	}
	return a, err
}

// answerEmpty answers with nothing, unless the account has come in the meantime.
func (s *session) answerEmpty(m *nats.Msg, key string) {
	ctx, cancel := context.WithTimeout(s.ctx, emptyAnswerDeadline)
	defer cancel()
	if !pause.For(ctx, emptyAnswerDelay) {
		return
	}
	select {
	case <-s.synced:
	case <-ctx.Done():
		return
	}
	if _, err := s.answerStored(m, key); errors.Is(err, accounts.ErrNotFound) {
		s.logNATS(s.conn.Publish(m.Reply, nil))
	}
}
