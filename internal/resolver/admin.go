package resolver

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
)

// list answers with the accounts that are stored.
func (s *session) list(m *nats.Msg) {
	s.survey()
	s.respond(m, answer{Data: s.Gate.Keys()})
}

// survey sees that the whole store has been looked at once. What can't be read is in no list and in no pack.
func (s *session) survey() {
	if !s.Gate.Rescanned() {
		_ = s.Gate.Rescan(s.ctx)
	}
}

var errNoDelete = errors.New("deleting is off: it takes store { allow_delete: true }")

// delete carries out the operator's order to delete accounts. nats.go calls it for one order after the other, and not on
// the goroutine of any other door.
func (s *session) delete(m *nats.Msg) {
	done, err := accounts.Deletion{}, errNoDelete
	if s.AllowDelete {
		done, err = s.Gate.Delete(context.WithoutCancel(s.ctx), m.Data, accounts.Origin{Kind: accounts.KindNATS})
	}
	switch {
	case err != nil:
		text := fmt.Sprintf("delete accounts request by %s failed - %s", done.Issuer, harmless(err.Error(), 512))
		s.warn(text)
		s.respond(m, failed("", text))
	case len(done.Failed) > 0:
		s.respond(m, failed("", done.String()))
	default:
		s.respond(m, answer{Data: &outcome{Code: 200, Message: done.String()}})
	}
}
