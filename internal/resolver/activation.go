package resolver

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// activations are announced and heard here. No nats-server listens, so nobody acknowledges them; other account servers do.
const activations = "$SYS.ACCOUNT.*.CLAIMS.ACTIVATE.*"

// AnnounceActivation publishes an activation token, if NATS is connected.
func (d *Doors) AnnounceActivation(a *accounts.Activation) {
	conn := d.finder.session()
	if conn == nil {
		d.Log.Info(fmt.Sprintf("skipping activation notification for %s, no NATS configured", short(a.Key)))
		return
	}
	if err := conn.Publish("$SYS.ACCOUNT."+a.Issuer+".CLAIMS.ACTIVATE."+a.Key, a.JWT); err != nil {
		d.Log.Warn(fmt.Sprintf("nats error %s", err))
	}
}

// activate takes an activation token that another account server has announced.
func (s *session) activate(m *nats.Msg) {
	s.lanes.put(m.Subject, func() {
		if _, _, err := s.Gate.Activate(context.WithoutCancel(s.ctx), m.Data, accounts.Source{Door: "nats", Peer: true}); err != nil {
			s.refused("activation", m.Subject, err)
		}
	})
}
