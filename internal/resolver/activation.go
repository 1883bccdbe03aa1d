package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// activations are announced and heard here. No nats-server listens, so nobody acknowledges them; other account servers do.
const activations = "$SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*"

// mostEarly is how many activation tokens wait for an account. One more is refused if its account is not here.
const mostEarly = 256

// exporterAfter is when it is looked whether an account is here that vouches for a token. It comes on another subject, and may have
// been on its way for a while.
var exporterAfter = [...]time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second, 4 * time.Second}

// AnnounceActivation publishes an activation token; false if NATS is not connected.
func (d *Server) AnnounceActivation(a *accounts.Activation) bool {
	conn := d.finder.session()
	if conn == nil {
		return false
	}
	if err := conn.Publish("$SYS.ACCOUNT."+a.Issuer+".CLAIMS.ACTIVATE."+a.Key, a.JWT); err != nil {
		d.Log.Warn(fmt.Sprintf("nats error %s", err))
	}
	return true
}

// activate takes an activation token that another account server has announced.
func (s *session) activate(m *nats.Msg) {
	s.lanes.put(m.Subject, func() {
		if !errors.Is(s.Gate.Vouch(s.ctx, m.Data), accounts.ErrActivationIssuer) {
			s.takeToken(m)
			return
		}
		select {
		case s.early <- struct{}{}:
			s.tokens.Go(func() {
				defer func() { <-s.early }()
				s.awaitExporter(m.Data)
				s.takeToken(m)
			})
		default:
			s.takeToken(m)
		}
	})
}

// awaitExporter returns when an account is here that vouches for a token, or when it has been waited for long enough.
func (s *session) awaitExporter(token []byte) {
	for _, after := range exporterAfter {
		select {
		case <-time.After(after):
		case <-s.ctx.Done():
			return
		}
		if !errors.Is(s.Gate.Vouch(s.ctx, token), accounts.ErrActivationIssuer) {
			return
		}
	}
}

func (s *session) takeToken(m *nats.Msg) {
	_, _, err := s.Gate.Activate(context.WithoutCancel(s.ctx), m.Data, accounts.Origin{Kind: accounts.KindNATS, Peer: true})
	if err != nil {
		s.refused("activation", m.Subject, err)
	}
	if errors.Is(err, accounts.ErrLesser) {
		s.remindOfToken(m.Subject)
	}
}

// remindOfToken announces a stored token to who has announced one that loses. Nobody compares stores of tokens.
func (s *session) remindOfToken(subject string) {
	_, hash, _ := cutLast(subject)
	if a, err := s.Gate.GetActivation(s.ctx, hash); err == nil {
		s.Gate.AnnounceActivation(a, false)
	}
}
