package notifier

import "time"

// list is the request to one nats-server for the accounts that it has loaded. A server that keeps
// no JWTs fetches every other account when it needs it, so what is pending for it of those needs no
// announcement. After an absence that is most of what is pending.
//
// When its process began does not matter: clocks differ, and it may have fetched the JWT of before
// since then. What it has loaded it says itself.
type list struct {
	state listState
	at    time.Time // of a listDue one: when it is sent; of a listRequested one: when it was
}

// apply changes the state, and reports whether it did. at counts then.
func (l *list) apply(e listEvent, at time.Time) bool {
	next, listed := listTable[l.state][e]
	if listed {
		l.state, l.at = next, at
	}
	return listed
}

// isOpen reports whether the answer is waited for. The server gets no announcements meanwhile but
// those for others.
func (l *list) isOpen() bool { return l.state == listDue || l.state == listRequested }

// due returns when an open request is to be sent, or its answer is overdue.
func (l *list) due() time.Time {
	if l.state == listRequested {
		return l.at.Add(answerTimeout)
	}
	return l.at
}

// wantList demands a server's list, if it fetches and none was demanded before. Right
// after the start of this process no answer would count: how old the changes are is not known.
func (v *servers) wantList(srv *server, now time.Time) {
	if srv.resolver == fetching && srv.id != "" {
		srv.list.apply(fetches, later(now, v.n.began.Add(fetchWindow)))
	}
}

// takeLists returns the servers whose lists are to be requested now, and those that have not
// answered in time.
func (v *servers) takeLists(now time.Time) (due, overdue []*server) {
	for _, srv := range v.byName {
		switch isDue := srv.list.isOpen() && !now.Before(srv.list.due()); {
		case !isDue:
		case srv.list.apply(requested, now):
			due = append(due, srv)
		default:
			overdue = append(overdue, srv)
		}
	}
	return due, overdue
}

// listed takes the list of accounts that a server has loaded. It acknowledges for the server what
// is pending of all others, and was long before the request.
func (s *session) listed(answer answer, now time.Time) {
	srv := s.servers.find(answer.serverID)
	if srv == nil || srv.list.state != listRequested {
		return
	}
	if answer.loaded != nil {
		loaded := make(map[string]bool, len(answer.loaded))
		for _, key := range answer.loaded {
			loaded[key] = true
		}
		s.acknowledgeOthers(srv, loaded)
		s.announcements.finishAllAcknowledged()
	}
	s.endList(srv, now)
}

// acknowledgeOthers acknowledges for a server what it will fetch when it needs it.
func (s *session) acknowledgeOthers(srv *server, loaded map[string]bool) {
	for after, more := uint64(0), true; more; {
		some := s.n.outbox.PendingOf(srv.name, after, maxTaken)
		for _, c := range some {
			if after = c.Seq; !loaded[c.Key] && willFetch(c, srv.list.at) {
				s.n.outbox.Acknowledge(srv.name, c.Seq)
				s.n.results.set(c.Key, srv.name, false)
			}
		}
		more = len(some) == maxTaken
	}
}

// endList ends the request for a server's list. The server gets what it still lacks.
func (s *session) endList(srv *server, now time.Time) {
	srv.list.apply(ends, now)
	s.apply(srv, replies, now)
}
