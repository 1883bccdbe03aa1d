package notifier

import (
	"slices"
	"time"

	"nats-account-server/internal/accounts"
)

// take returns what is to be sent now, and begins those attempts.
func (p *announcements) take(now time.Time) (batch []outgoing) {
	if p.servers.discovering {
		return nil
	}
	for p.hasDue() && !now.Before(p.queue[0].due) {
		// A change that is pending for absent servers only is not sent.
		if a := p.queue[0]; !p.finishAcknowledged(a) {
			batch = append(batch, p.begin(a, now))
		}
	}
	// A probe is the oldest change that the server lacks, whether that is due or not. All other
	// servers get it, too. One that is due was begun above: no probe may hold it up.
	for _, srv := range p.servers.takeProbes(now) {
		if a := p.oldestFor(srv); a != nil && a.state != inFlight {
			if srv.takeConfirmation(a.Seq, now) {
				a.intend(returns)
			}
			batch = append(batch, p.begin(a, now))
		}
	}
	return batch
}

// begin begins an attempt. Answers to the attempt before may still acknowledge the change, but they
// do not end this one. An account that is spared is not announced: the servers are asked what they
// run.
func (p *announcements) begin(a *announcement, now time.Time) outgoing {
	if (confirmations{p}).isSpared(a) {
		a.intend(spares)
	}
	p.n.attempts++
	o := outgoing{a.Change, p.n.attempts, a.next}
	if a.number > 0 && a.seq == a.Seq && !o.purpose.confirms() {
		p.n.repeated()
	}
	a.attempt = attempt{
		number: o.number, seq: a.Seq, isConfirmation: o.purpose.confirms(), sent: now,
		answered: make(map[string]bool),
	}
	a.announced = a.announced || !a.isConfirmation
	a.intend(begins)
	p.apply(a, sent, time.Time{})
	return o
}

// oldestFor returns the oldest change that a server lacks, nil if there is none. It may look at all
// changes; probes are rare enough for that. For unknown it looks at what has been taken up.
func (p *announcements) oldestFor(srv *server) (oldest *announcement) {
	if srv != p.servers.unknown {
		for _, c := range p.n.outbox.PendingOf(srv.name, 0, 1) {
			oldest = p.get(c)
			oldest.owed = true
		}
		return oldest
	}
	for _, a := range p.byKey {
		if (oldest == nil || a.Seq < oldest.Seq) && p.n.outbox.IsPending(srv.name, a.Seq) {
			oldest = a
		}
	}
	return oldest
}

// outstanding returns the servers that lack a change and have not answered the last attempt.
func (p *announcements) outstanding(a *announcement) (left []*server) {
	for name, srv := range p.servers.byName {
		if !a.answered[name] && p.n.outbox.IsPending(name, a.Seq) {
			left = append(left, srv)
		}
	}
	return left
}

// endOverdue ends the attempts that have waited long enough for answers. Servers that should have
// answered and did not are silent from now on. No confirmation shows anything of that kind.
func (p *announcements) endOverdue(now time.Time) {
	for _, a := range p.active {
		if now.Sub(a.sent) < answerTimeout {
			continue
		}
		for _, srv := range p.outstanding(a) {
			switch {
			case a.next.confirms():
			case !a.sent.Before(srv.since):
				delete(a.said, srv.name)
				p.servers.apply(srv, misses, now)
			case srv.isResponsive():
				a.retry(now) // it has appeared since, and may not have got it
			}
		}
		p.end(a)
	}
}

// endIfAnswered ends an attempt when every server has answered that lacks the change. It does not
// wait for silent servers: they may never answer an update.
func (p *announcements) endIfAnswered(a *announcement) {
	left := p.outstanding(a)
	isWaiting := a.next.confirms() && len(left) > 0 || slices.ContainsFunc(left, (*server).mayAnswer)
	if !isWaiting && a.found == 0 {
		p.end(a)
	}
}

// goOn ends an attempt if the answer that has just come allows it. One that comes after the end may
// demand the next attempt.
func (p *announcements) goOn(a *announcement) {
	switch a.state {
	case inFlight:
		p.endIfAnswered(a)
	case waiting:
		p.end(a)
	}
}

// end ends an attempt. A change that only silent servers and caches without the account lack waits
// for a server, any other for some time.
func (p *announcements) end(a *announcement) {
	if p.finishAcknowledged(a) {
		return
	}
	if a.next.confirms() {
		confirmations{p}.end(a)
		return
	}
	a.owed = a.owed || standings{p}.isLacking(a, accounts.ServerNeverAnswered)
	p.askIfApplied(a)
	if a.retryAt.IsZero() {
		p.await(a)
	} else {
		p.apply(a, wanted, a.retryAt)
	}
	a.release()
}

// await has an announcement wait for a server. If there are very many it is forgotten: the Outbox
// has the change, which is taken up again for that server, or for a caller that waits.
func (p *announcements) await(a *announcement) {
	p.apply(a, waits, time.Time{})
	if a.state == waiting && len(p.byKey) > p.maxWaiting {
		p.finish(a)
	}
}

// next returns when take or endOverdue have something to do, at the latest the moment given.
func (p *announcements) next(latest time.Time) time.Time {
	now := time.Now()
	switch {
	case p.servers.discovering:
	case p.isIdle(now) && p.servers.any((*server).getsMore):
		latest = earlier(latest, now)
	case p.hasDue():
		latest = earlier(latest, p.queue[0].due)
	}
	for _, a := range p.active {
		latest = earlier(latest, a.sent.Add(answerTimeout))
	}
	return latest
}
