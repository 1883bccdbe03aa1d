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
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		s.withdraw(o.Change)
	case err != nil:
		s.postpone(o.Change, "%s - can't be announced - %s", logging.ShortKey(o.Key), err)
	case o.purpose.confirms():
		s.confirm(o, account)
	case int64(len(account.JWT)) > s.conn.MaxPayload():
		s.postpone(o.Change, "%s - can't be announced - the JWT has %d bytes, "+
			"nats-server takes no more than %d (max_payload)",
			logging.ShortKey(o.Key), len(account.JWT), s.conn.MaxPayload())
	default:
		s.update(o, account)
	}
}

// update publishes an account's JWT. The answers go to a subject that later sessions hear, too.
//
// If some server runs another one than it has acknowledged, the JWT goes first with a line feed
// after it, which changes nothing but the bytes. After two updates at once, a nats-server that keeps
// JWTs may run the one and have stored the other. An update with just that does not change what it
// runs.
func (s *sender) update(o outgoing, account *accounts.Account) {
	s.n.mu.Lock()
	isStuck := s.comparer.takeStuck(o.Key)
	s.describeLocked(o.Key, account)
	s.n.mu.Unlock()
	subject := updateSubject(o.Key)
	if isStuck {
		s.conn.request(request{subject, aboutNothing, append(bytes.Clone(account.JWT), '\n')})
	}
	reply := fmt.Sprintf("%s.%s.%s.%s", s.n.inbox, s.n.process, digestOf(account.Hash), o.reply())
	s.conn.publish(subject, reply, account.JWT)
}

// confirm asks which servers run the JWT that is stored. A change that came by a broadcast has
// reached every nats-server that was there. This finds the others without a second update for all.
func (s *sender) confirm(o outgoing, account *accounts.Account) {
	s.n.mu.Lock()
	if a := s.describeLocked(o.Key, account); a != nil {
		a.token = bytes.TrimSpace(account.JWT)
	}
	s.n.mu.Unlock()
	if o.purpose == afterAbsence {
		s.conn.request(lookup(o.Key, o.reply()))
	}
	s.conn.request(request{accountzSubject, aboutConfirm + "." + o.reply(), accountPayload(o.Key)})
}

// describeLocked records what of the stored JWT matters for its announcement, which it returns; nil
// if there is none any more. n.mu must be held.
func (s *sender) describeLocked(key string, account *accounts.Account) *announcement {
	a := s.announcements.byKey[key]
	if a != nil {
		a.mayLack = mayLack(len(account.Imports), account.JetStream)
	}
	return a
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
