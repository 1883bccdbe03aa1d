package resolver

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/trust"
)

// maxListedBytes is what one account takes in the answer to list, and listBytes what else is in it.
const (
	maxListedBytes = trust.KeyLength + 8
	listBytes      = 1 << 10
)

// list answers with the keys of the accounts that are stored. If they are too many for a message,
// the answer says so.
func (s *session) list(m *nats.Msg) {
	s.ensureScanned()
	payload := int(s.conn.MaxPayload())
	limit := max(0, payload-listBytes) / maxListedBytes
	keys, all := s.Accounts.FirstKeys(limit)
	if all {
		s.respond(m, answer{Data: keys})
		return
	}
	s.respond(m, failure("", fmt.Sprintf("there are more than %d accounts, which is as many as "+
		"a message of %d bytes lists: raise max_payload of the nats-servers, or get the keys "+
		"with GET /jwt/v1/pack", limit, payload)))
}

// ensureScanned has the whole store read if that has not happened yet. What can't be read is in no
// list and in no pack.
func (s *session) ensureScanned() {
	if !s.Accounts.Rescanned() {
		_ = s.Accounts.RescanChanged(s.ctx)
	}
}

// delete deletes accounts by order of the operator. nats.go calls it for one order after the other,
// and on a goroutine which no other subscription uses.
func (s *session) delete(m *nats.Msg) {
	if s.isForeign(m) {
		return
	}
	origin := accounts.Origin{Kind: accounts.KindNATS}
	deletion, err := s.Accounts.Delete(context.WithoutCancel(s.ctx), m.Data, origin)
	switch {
	case err != nil:
		text := fmt.Sprintf("delete accounts request by %s failed - %s",
			deletion.Issuer, quote(err))
		s.Client.refusals.Warn(text)
		s.respond(m, failure("", text))
	case len(deletion.Failed) > 0:
		s.respond(m, failure("", deletion.String()))
	default:
		s.respond(m, success("", deletion.String()))
	}
}
