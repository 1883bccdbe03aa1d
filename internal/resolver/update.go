package resolver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/logging"
)

// maxSubjectBytes bounds a subject in a log line.
const maxSubjectBytes = 128

// update takes an update on any of its subjects. On $SYS.REQ.CLAIMS.UPDATE, which nats-servers with
// a URL resolver do not subscribe to, only the claims say which account it is.
func (s *session) update(m *nats.Msg) {
	named := accountOf(m.Subject)
	if named == "" && s.isForeign(m) {
		return
	}
	key := named
	if key == "" {
		// Put reads the JWT once more, in the account's turn, which the key decides.
		key = accounts.SubjectOf(m.Data)
	}
	origin := accounts.Origin{Kind: accounts.KindNATS, Broadcast: named != "",
		Peer: isAnnouncement(m.Reply, named)}
	// An update that came in is stored even if the session ends meanwhile.
	s.pool.add(key, func() {
		_, err := s.Accounts.Put(context.WithoutCancel(s.ctx), key, m.Data, origin)
		if err != nil {
			s.logRefused(logging.ShortKey(key), m.Subject, err)
		}
		switch {
		case origin.Peer: // it counts the answers of nats-servers only
		case err != nil:
			s.respond(m, failure(key, "jwt update resulted in error - "+quote(err)))
		default:
			s.respond(m, success(key, "jwt updated"))
		}
	})
}

// isForeign reports whether a request carries a JWT of an operator that is not ours. A leaf node
// that shares its system account with us passes on what is meant for its own operator's
// nats-servers. To the client, a refusal of this server would look like theirs.
func (s *session) isForeign(m *nats.Msg) bool {
	if !s.Accounts.IsForeign(m.Data) {
		return false
	}
	s.Log.Debug(fmt.Sprintf("a request on %s is left to others: another operator has signed it",
		logging.Quote(m.Subject, maxSubjectBytes)))
	return true
}

// logRefused logs a JWT that was not taken. The registry logs one that loses to the stored JWT.
func (s *session) logRefused(key, subject string, err error) {
	if isOlder(err) {
		return
	}
	subject = logging.Quote(subject, maxSubjectBytes)
	s.Client.refusals.Warn(fmt.Sprintf("%s - the update on %s is refused - %s", key,
		subject, quote(err)))
}

// isOlder reports whether a JWT was refused since the stored one wins against it.
func isOlder(err error) bool {
	_, older := errors.AsType[*accounts.OlderError](err)
	return older || errors.Is(err, accounts.ErrLesser)
}

// isAnnouncement reports whether a reply subject is that of an account server's announcement of the
// account, <inbox>.<key>.<seq>.<attempt>.
func isAnnouncement(reply, key string) bool {
	tokens := strings.Split(reply, ".")
	n := len(tokens)
	return n > 3 && key != "" && tokens[n-3] == key && isNumber(tokens[n-2]) &&
		isNumber(tokens[n-1])
}

// accountOf returns the account's key in a subject, unchecked; "" if there is none.
func accountOf(subject string) string {
	_, rest, _ := strings.Cut(subject, "ACCOUNT.")
	key, _, _ := strings.Cut(rest, ".")
	return key
}

// isNumber reports whether s is a number as announcements have it in their reply subject.
func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
