package notifier

import (
	"bytes"
	"slices"
	"time"

	"nats-account-server/internal/accounts"
)

const (
	// sparingInterval is the wait before an account is announced again that is not wholly in effect
	// somewhere, if a server lacks it still. It doubles each time up to maxSparing.
	sparingInterval = time.Minute
	maxSparing      = time.Hour
)

// confirmations are the announcements with respect to attempts that only confirm: the servers are
// asked what they run.
type confirmations struct{ *announcements }

// end ends an attempt that confirms. The change is announced at once, unless all
// answers are as they should be and some come too early to count: then it is to be confirmed again.
// If only servers have not answered that may be away, it waits for them.
func (p confirmations) end(a *announcement) {
	if p.isSpared(a) {
		p.endSparing(a, time.Now())
		return
	}
	left := p.outstanding(a)
	isRepeated := !a.refuted && !a.retryAt.IsZero() && len(left) == 0
	waits := !a.refuted && a.next == afterAbsence && len(left) > 0 &&
		!slices.ContainsFunc(left, (*server).isResponsive)
	if !isRepeated {
		a.intend(ended)
		a.retryAt = time.Time{}
	}
	if waits {
		p.await(a)
		return
	}
	p.apply(a, wanted, a.retryAt)
}

// isSpared reports whether an account is not to be announced again unless a server lacks the
// change. It is not wholly in effect somewhere. A server that fetches JWTs applies such an account
// anew with each announcement, although nothing has changed, and loses the replies that are in
// flight there.
func (p confirmations) isSpared(a *announcement) bool {
	return a.announced && p.n.incomplete.has(a.Key)
}

// refute records that a server has not said that it runs the stored JWT. An account that is spared
// is not announced again for a server that never answers: that would be without end.
func (p confirmations) refute(a *announcement, srv *server) {
	a.refuted = a.refuted || !(p.isSpared(a) && srv.neverAnswers())
}

// endSparing ends a confirmation of an account that is spared. If a server lacks the change it is
// announced again: at once the first time, and then less and less often. If servers have not said
// what they run they are asked again. Servers that do not answer get probes.
func (p confirmations) endSparing(a *announcement, now time.Time) {
	again := a.retryAt
	switch {
	case a.refuted:
		a.intend(lacks)
		again = later(now, a.repeatAt)
		a.repeatAt = again.Add(min(sparingInterval<<min(a.repeats, 10), maxSparing))
		a.repeats++
	case again.IsZero() && slices.ContainsFunc(p.outstanding(a), (*server).isResponsive):
		again = now.Add(backoff(a.tries, maxProbeWait))
		a.tries++
	case again.IsZero():
		p.await(a)
		return
	}
	p.apply(a, wanted, again)
}

// answered goes on after a server's answer to an attempt that confirms, which may have
// come late. What waited for this server is announced.
func (p confirmations) answered(a *announcement, srv *server) {
	switch {
	case a.state == inFlight:
		p.endIfAnswered(a)
	case p.finishAcknowledged(a):
	case a.state == waiting && a.answered[srv.name] && p.n.outbox.IsPending(srv.name, a.Seq):
		p.apply(a, wanted, a.retryAt)
	}
}

// answeredConfirmation takes one server's answer to the request of sender.confirm, also one that
// comes after the end of the attempt.
func (s *session) answeredConfirmation(key, attempt string, answer answer) {
	seq, number := parseReply(attempt)
	a := s.announcements.byKey[key]
	srv := s.servers.find(answer.serverID)
	if a == nil || !a.isConfirmation || a.Seq != seq || a.number != number || srv == nil {
		return
	}
	a.answered[srv.name] = true
	switch r := answer.running; {
	case r.State == accounts.Loaded && bytes.Equal(bytes.TrimSpace(r.JWT), a.token):
		s.announcements.acknowledge(srv, a, true)
	// It fetches the account when it needs it. Any other one may have kept an older JWT.
	case r.State == accounts.NotLoaded && srv.resolver == fetching && a.next != afterAbsence &&
		willFetch(a.Change, a.sent):
		s.announcements.acknowledge(srv, a, false)
	case r.State == accounts.NotLoaded && srv.resolver == fetching && a.next != afterAbsence:
		a.said[srv.name] = outcome{accounts.ServerNotInUse, notLoadedYet}
		a.retry(a.Known.Add(fetchWindow))
	case r.State == accounts.Loaded: // if it is newer, the stored one must not replace it
		confirmations{s.announcements}.refute(a, srv)
		delete(a.answered, srv.name) // until it has been compared
		s.comparer.add(comparison{
			key: key, server: srv.name, applied: digestOfJWT(r.JWT),
			running: string(r.JWT), attempt: number,
		})
	default:
		confirmations{s.announcements}.refute(a, srv)
	}
	confirmations{s.announcements}.answered(a, srv)
}
