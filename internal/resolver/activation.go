package resolver

import (
	"context"
	"errors"
	"strings"
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
// before its account waits for it, but not in the pool: the account comes through that.
func (s *session) activate(m *nats.Msg) {
	s.pool.add(m.Subject, func() {
		o := s.Activations.Offer(m.Data, accounts.Origin{Kind: accounts.KindNATS, Peer: true})
		waits := o.LacksIssuer(s.ctx) && s.earlyTokens.TryGo(func() error {
			for _, after := range exporterWaits {
				if !pause.For(s.ctx, after) || !o.LacksIssuer(s.ctx) {
					break
				}
			}
			s.putToken(o, m.Subject)
			return nil
		})
		if !waits {
			s.putToken(o, m.Subject)
		}
	})
}

// putToken stores a token that has come on a subject. If it loses to the stored one, that is
// announced for the server which has announced the other: servers do not compare their tokens in
// any other way.
func (s *session) putToken(o activations.Offer, subject string) {
	_, _, err := o.Put(context.WithoutCancel(s.ctx))
	if err != nil {
		s.logRefused("activation", subject, err)
	}
	if errors.Is(err, accounts.ErrLesser) {
		hash := subject[strings.LastIndexByte(subject, '.')+1:]
		if t, err := s.Activations.GetLocal(s.ctx, hash); err == nil {
			s.Activations.Announce(t, false)
		}
	}
}
