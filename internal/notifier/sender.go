package notifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/logging"
)

// sender publishes the attempts of one session. Only session.run calls it, without the lock: it
// reads the store, and the connection may be slow.
type sender struct {
	n             *Notifier
	conn          *link
	accounts      Accounts
	announcements *announcements
	comparer      *comparer
}

// send publishes the JWT that is stored now, or asks the servers whether they run it. The stored
// JWT may be newer than the change: the servers then get it twice.
func (s *sender) send(ctx context.Context, o outgoing) {
	account, err := s.accounts.GetLocal(ctx, o.Key)
	if err == nil {
		s.describe(o.Key, account)
	}
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		s.withdraw(o.Change)
	case err != nil:
		s.postpone(o.Change, "%s - can't be announced - %s", logging.ShortKey(o.Key), err)
	case o.purpose.confirms():
		s.confirm(o, account.JWT)
	case int64(len(account.JWT)) > s.conn.MaxPayload():
		s.postpone(o.Change, "%s - can't be announced - the JWT has %d bytes, "+
			"nats-server takes no more than %d (max_payload)",
			logging.ShortKey(o.Key), len(account.JWT), s.conn.MaxPayload())
	default:
		s.unstick(o.Key, account.JWT)
		s.conn.publish(updateSubject(o.Key), s.replySubject(o, account.JWT), account.JWT)
	}
}

// describe records what of the JWT matters for its announcement.
func (s *sender) describe(key string, account *accounts.Account) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if a := s.announcements.byKey[key]; a != nil {
		a.mayLack = mayLack(len(account.Imports), account.JetStream)
	}
}

// unstick announces an account's JWT with a line feed after it, which changes nothing but the
// bytes, if some server runs another one than it has acknowledged. After two updates at once, a
// nats-server that keeps JWTs may run the one and have stored the other. An update with just that
// does not change what it runs.
func (s *sender) unstick(key string, token []byte) {
	s.n.mu.Lock()
	isStuck := s.comparer.takeStuck(key)
	s.n.mu.Unlock()
	if isStuck {
		s.conn.request(request{updateSubject(key), aboutNothing, append(bytes.Clone(token), '\n')})
	}
}

// replySubject is where the answers to an announcement go, in this session and in later ones.
func (s *sender) replySubject(o outgoing, token []byte) string {
	return fmt.Sprintf("%s.%s.%s.%s", s.n.inbox, s.n.process, digestOf(token), o.reply())
}

// withdraw ends the announcement of an account that is not stored any more, since another program
// has removed its file. No server lacks it then.
func (s *sender) withdraw(c jwtstore.Change) {
	s.n.mu.Lock()
	defer s.n.unlock()
	for _, name := range s.n.outbox.Servers() {
		s.n.outbox.Acknowledge(name, c.Seq)
	}
	if a := s.announcements.byKey[c.Key]; a != nil && a.Seq == c.Seq {
		s.announcements.finish(a)
	}
}

// postpone puts off what can't be sent now, and logs the reason once. The attempt counts as
// refused.
func (s *sender) postpone(c jwtstore.Change, reason string, args ...any) {
	s.n.mu.Lock()
	defer s.n.unlock()
	s.n.notes.warnOnce(reason, args...)
	if a := s.announcements.active[c.Key]; a != nil {
		a.refuse(time.Now())
		s.announcements.end(a)
	}
}

// confirm asks which servers run the JWT that is stored. A change that came by a broadcast has
// reached every nats-server that was there. This finds the others without a second update for all.
func (s *sender) confirm(o outgoing, token []byte) {
	s.n.mu.Lock()
	if a := s.announcements.active[o.Key]; a != nil {
		a.token = bytes.TrimSpace(token)
	}
	s.n.mu.Unlock()
	if o.purpose == afterAbsence {
		s.conn.request(lookup(o.Key, o.reply()))
	}
	s.conn.request(request{accountzSubject, aboutConfirm + "." + o.reply(), accountPayload(o.Key)})
}
