package resolver

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/activations"
	"nats-account-server/internal/pause"
)

// activationSubject is where account servers announce tokens to each other. No nats-server listens,
// so no announcement is acknowledged.
const activationSubject = "$SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*"

// maxEarlyTokens bounds the tokens that wait for their account. One more is refused if its account
// is not stored.
const maxEarlyTokens = 256

// exporterWaits are the pauses before it is looked again whether the account of a token is stored.
// The account comes on another subject, and may be late.
var exporterWaits = [...]time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second,
	4 * time.Second}

// activate takes an activation token that another account server has announced. A token that comes
// before its account waits for it.
func (s *session) activate(m *nats.Msg) {
	s.pool.add(m.Subject, func() {
		if s.exporterIsStored(m.Data) {
			s.putToken(m)
			return
		}
		select {
		case s.early <- struct{}{}:
			s.tokens.Go(func() {
				defer func() { <-s.early }()
				s.awaitExporter(m.Data)
				s.putToken(m)
			})
		default:
			s.putToken(m)
		}
	})
}

// exporterIsStored reports whether a stored account has signed a token, or whether the token is bad
// for another reason.
func (s *session) exporterIsStored(token []byte) bool {
	return !errors.Is(s.Activations.CheckIssuer(s.ctx, token), activations.ErrIssuer)
}

// awaitExporter returns when an account that has signed the token is stored, at the latest after
// all exporterWaits.
func (s *session) awaitExporter(token []byte) {
	for _, after := range exporterWaits {
		if !pause.For(s.ctx, after) || s.exporterIsStored(token) {
			return
		}
	}
}

// putToken stores the token of a message. A token of another server that loses to the stored one is
// answered with that.
func (s *session) putToken(m *nats.Msg) {
	from := accounts.Origin{Kind: accounts.KindNATS, Peer: true}
	_, _, err := s.Activations.Put(context.WithoutCancel(s.ctx), m.Data, from)
	if err != nil {
		s.logRefused("activation", m.Subject, err)
	}
	if errors.Is(err, accounts.ErrLesser) {
		s.reassertToken(m.Subject)
	}
}

// reassertToken announces the stored token again, for the server that has announced a losing one.
// Servers do not compare their tokens in any other way.
func (s *session) reassertToken(subject string) {
	_, hash, _ := cutLast(subject)
	if t, err := s.Activations.GetLocal(s.ctx, hash); err == nil {
		s.Activations.Announce(t, false)
	}
}
