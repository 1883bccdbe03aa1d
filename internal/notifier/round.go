package notifier

import (
	"log/slog"
	"strings"
	"time"

	"nats-account-server/internal/trust"
)

const (
	// idzSubject asks all nats-servers for their names and ids. Those before 2.10 answer only
	// pingSubject, which costs more.
	idzSubject  = "$SYS.REQ.SERVER.PING.IDZ"
	pingSubject = "$SYS.REQ.SERVER.PING"
	// heartbeats is where every nats-server publishes its state when it starts, and several times a
	// minute.
	heartbeats = "$SYS.SERVER.*.STATSZ"

	// discoveryTimeout bounds the first round of PING. Before its end it is not known which servers
	// have to answer.
	discoveryTimeout = time.Second
	// pingInterval is the time between two rounds of PING, pingSoonest when there is a reason for
	// one.
	pingInterval = 30 * time.Second
	pingSoonest  = 5 * time.Second
)

// idz and ping ask which servers are there.
var (
	idz  = request{subject: idzSubject, reply: aboutIDZ}
	ping = request{subject: pingSubject, reply: aboutPing}
)

// statszOf is the subject at which one process says what it is.
func statszOf(id string) string { return "$SYS.REQ.SERVER." + id + ".STATSZ" }

// phase is how far a round of PING has got. A round takes answerTimeout, or twice that if
// pingSubject is needed, too.
type phase int

const (
	over     phase = iota // answers are not waited for any more
	sentIDZ               // idzSubject was
	sentPING              // pingSubject was, too
)

// round is one round of PING: which nats-servers are there?
type round struct {
	number int
	phase  phase
	sent   time.Time // when its last request was
	due    time.Time // when the next round is

	displaced int // servers, see maxDisplaced
}

// endDiscovery ends the first round when all servers have answered it, or the time is over. Nothing
// is announced before: an attempt would not wait for servers that are not known.
func (v *servers) endDiscovery(now time.Time) {
	complete := v.expected > 0 && len(v.byName) >= v.expected
	if !v.discovering || !complete && now.Before(v.discoverBy) {
		return
	}
	v.discovering = false
	if len(v.byName) == 0 {
		v.n.notes.warnOnce("no nats-server answers %s: account updates stay pending "+
			"until one does; nats.usercredentials must be those of a user of the system account "+
			"who may publish to $SYS.> and subscribe to $SYS.> and _INBOX.>%s", pingSubject,
			v.user)
	}
}

// takePings returns the requests that are due now, and whether a round has ended. Servers that do
// not answer idzSubject get a second chance in the same round.
func (v *servers) takePings(now time.Time) (due []request, ended bool) {
	r := &v.round
	due, v.requests = v.requests, nil
	if r.phase != over && now.Sub(r.sent) >= answerTimeout {
		if r.phase == sentIDZ && (len(v.byName) == 0 || v.any(v.isMissing)) {
			r.phase, r.sent = sentPING, now
			return append(due, ping), false
		}
		v.endRound(now)
		ended = true
	}
	if r.phase != over || now.Before(r.due) {
		return due, ended
	}
	// The first round must find servers before 2.10. One that comes later shows itself by its
	// heartbeat.
	sendBoth := r.number == 0 || v.any((*server).hasOldPing)
	// A server that is to be forgotten soon must be seen more often.
	wait := min(pingInterval, max(v.n.forget/2, answerTimeout))
	*r = round{number: r.number + 1, phase: sentIDZ, sent: now, due: now.Add(wait)}
	if sendBoth {
		r.phase = sentPING
		due = append(due, ping)
	}
	return append(due, idz), ended
}

// isMissing reports whether a server has not answered this round.
func (v *servers) isMissing(srv *server) bool { return srv.round != v.round.number }

// endRound removes the servers that did not answer. What is pending for them stays in the Outbox,
// unless they are forgotten.
func (v *servers) endRound(now time.Time) {
	v.round.phase = over
	for name, srv := range v.byName {
		if v.isMissing(srv) {
			delete(v.byName, name)
			v.n.notes.addServer(slog.LevelInfo, "nats-server %s is gone", name)
		}
	}
	since := v.watched
	v.watched = now
	for _, name := range v.n.outbox.Servers() {
		if v.byName[name] == nil {
			v.forget(name, since, now)
		}
	}
}

// forget gives up a server that is not there if its name is not to come back, or if it has been
// away for too long. Only the time between two rounds of this session counts, as this process has
// seen it go by: clocks are set, and after an outage here all are unseen. since is zero after the
// first round.
func (v *servers) forget(name string, since, now time.Time) {
	switch after := v.n.forget; {
	case hasID(name):
		v.n.outbox.Forget(name)
		v.n.notes.addServer(slog.LevelInfo,
			"nats-server %s is forgotten: it has no server_name of its "+
				"own, so after a restart it has another name", name)
	case !since.IsZero() && v.n.outbox.AddAbsence(name, now.Sub(since)) > after:
		v.n.outbox.Forget(name)
		v.n.notes.addServer(slog.LevelWarn, "nats-server %s has not been seen for %s and is "+
			"forgotten: no update is pending for it any more", name, after)
	}
}

// hasID reports whether a server is known by the id of its process, which a restart changes.
func hasID(name string) bool { return trust.IsServerKey(name[strings.LastIndex(name, "/")+1:]) }

// measure takes a server's answer to idzSubject.
func (v *servers) measure(id serverID, now time.Time) {
	if srv := v.find(id); srv != nil && v.round.phase != over {
		srv.roundTrip = now.Sub(v.round.sent)
	}
}

// slowestRoundTrip is that of the servers whose answers are waited for.
func (v *servers) slowestRoundTrip() (slowest time.Duration) {
	for _, srv := range v.byName {
		if srv.isResponsive() {
			slowest = max(slowest, srv.roundTrip)
		}
	}
	return slowest
}
