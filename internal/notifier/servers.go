package notifier

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"nats-account-server/internal/facts"
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
	// identifyTimeout is how long a new nats-server has to say what it is, before anything is
	// announced to it.
	identifyTimeout = time.Second
	// pingInterval is the time between two rounds of PING, pingSoonest when there is a reason for
	// one.
	pingInterval = 30 * time.Second
	pingSoonest  = 5 * time.Second
	// maxProbeWait bounds the time between two probes of a nats-server that does not answer.
	maxProbeWait = 30 * time.Second
	// maxProbes bounds the probes in a second: each looks at all that is pending.
	maxProbes = 32
	// maxIgnored is how many confirmations of a change a server may ignore. The first one may have
	// been sent just before it came back.
	maxIgnored = 2
	// maxDisplaced is how many new nats-servers that have not answered an update may displace
	// others in a round, if too many are known. Each is written to the disk.
	maxDisplaced = 64
)

// idz and ping ask which servers are there.
var (
	idz  = request{subject: idzSubject, reply: aboutIDZ}
	ping = request{subject: pingSubject, reply: aboutPing}
)

// statszOf is the subject at which one process says what it is.
func statszOf(id string) string { return "$SYS.REQ.SERVER." + id + ".STATSZ" }

// server is a nats-server that is there.
type server struct {
	name     string // in the Outbox
	id       string // of its process
	former   string // id of the process that had the name before, "" if there was none
	version  string // "" until it has answered PING
	cluster  string // "" if it is in none, or has not said
	resolver resolverKind
	since    time.Time // when the session learned of it
	appeared int       // the round in which the session learned of it; 0 before the first
	round    int       // the last round that it answered

	// A server that is not responsive gets probes, one at a time, so that it delays no other.
	state   serverState
	probeAt time.Time // when it gets the next one
	probes  int       // how many it has got since it became silent
	list    list      // of what it has loaded

	heard       time.Time // when a message of it came last, other than an answer what it runs
	confirmSent time.Time // when a probe was last to be a confirmation
	confirmSeq  uint64    // of the change that was to be confirmed
	ignored     int       // confirmations of it that were not answered, although it was heard

	// After an absence it gets what it lacks some at a time. isBehind is set if that is more than
	// what was taken up, which goes up to the change of number taken.
	isBehind bool
	taken    uint64

	hasAnswered bool          // an announcement, in whatever session
	roundTrip   time.Duration // of the last PING; 0: not measured
}

// takeConfirmation reports whether a probe of this server only confirms. It may have got a newer
// JWT from another program while it was away, which must not be replaced. As long as it is away
// that is repeated. A server that ignores it gets the change.
func (v *server) takeConfirmation(seq uint64, now time.Time) bool {
	switch {
	case v.id == "" || v.isMute():
		return false
	case v.confirmSeq != seq:
		v.confirmSeq, v.ignored = seq, 0
	case v.heard.After(v.confirmSent):
		v.ignored++
	}
	v.confirmSent = now
	return v.ignored < maxIgnored
}

// isMute reports whether it is before 2.2, and so applies updates without an answer.
func (v *server) isMute() bool { return isBefore(v.version, 2, 2) }

// hasOldPing reports whether it is before 2.10, and so does not answer idzSubject.
func (v *server) hasOldPing() bool { return isBefore(v.version, 2, 10) }

// getsProbes reports whether it gets probes. While its list is waited for it gets none.
func (v *server) getsProbes() bool { return !v.isResponsive() && !v.list.isOpen() }

// isResponsive reports whether it gets every announcement.
func (v *server) isResponsive() bool { return v.state == responsive }

// isSilent reports whether it has let an announcement pass.
func (v *server) isSilent() bool { return v.state == silent }

// mayAnswer reports whether an answer of a server is waited for. An untested one becomes responsive
// or silent by that.
func (v *server) mayAnswer() bool { return v.state != silent }

// getsMore reports whether more is to be taken up for it.
func (v *server) getsMore() bool { return v.isBehind && v.isResponsive() }

// mayLackInCache reports whether a change that waits for a server, and is not in memory, waits for
// a client of this one: it answers, and was sent the change.
func (v *server) mayLackInCache(seq uint64) bool {
	return v.resolver == caching && v.isResponsive() && !(v.isBehind && seq > v.taken)
}

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

// servers are the nats-servers that are there, as their answers to PING show.
type servers struct {
	n           *Notifier
	watched     time.Time // until when absences are counted; zero before the first round
	nextProbes  time.Time // see maxProbes
	byName      map[string]*server
	discovering bool      // the first round is not over
	discoverBy  time.Time // when it ends at the latest
	expected    int       // how many there are, as they say themselves; 0 if none has said
	round       round
	requests    []request // to new servers: what are they?
	// unknown stands for all servers while none is there. A user who may publish updates, but not
	// ask which servers are there, still has some of them announced.
	unknown *server
}

// newServers returns a registry without servers, in its first round.
func newServers(n *Notifier, now time.Time) *servers {
	return &servers{
		n:           n,
		byName:      make(map[string]*server),
		discovering: true,
		discoverBy:  now.Add(discoveryTimeout),
		unknown:     &server{state: silent, probeAt: now},
	}
}

// probeable returns the servers that may get a probe: those that are there, or unknown if none is.
func (v *servers) probeable() map[string]*server {
	if len(v.byName) == 0 {
		return map[string]*server{v.unknown.name: v.unknown}
	}
	return v.byName
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
			v.n.accountsLocked())
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

// any reports whether a server is there of which that is true.
func (v *servers) any(is func(*server) bool) bool {
	for _, srv := range v.byName {
		if is(srv) {
			return true
		}
	}
	return false
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

// pingSoon brings the next round forward, since a server seems to be gone.
func (v *servers) pingSoon() { v.round.due = earlier(v.round.due, v.round.sent.Add(pingSoonest)) }

// record records that a server is there, and reports false if too many are known. preferred is set
// for one that has answered an update: that may take the place of one that has not.
func (v *servers) record(name string, now time.Time, preferred bool) bool {
	if v.n.outbox.Register(name, now) {
		return true
	}
	if preferred || v.round.displaced < maxDisplaced {
		v.round.displaced++
		if forgotten, ok := v.n.outbox.Displace(name, now, preferred); ok {
			delete(v.byName, forgotten)
			return true
		}
	}
	v.n.notes.warnOnce("too many nats-servers answer: those that have not answered an account " +
		"update are left out; a user of the system account may pretend to be many")
	return false
}

// register returns the server that has shown itself, and whether it is new; nil if there are too
// many.
func (v *servers) register(id serverID, now time.Time, preferred bool) (srv *server, isNew bool) {
	if srv := v.find(id); srv != nil && v.record(srv.name, now, preferred) {
		srv.heard = now
		return srv, false
	}
	name, former := v.nameOf(id)
	srv = &server{
		name: name, id: id.ID, former: former, since: now, appeared: v.round.number,
		probeAt: now.Add(identifyTimeout), hasAnswered: v.n.outbox.HasAnswered(name),
	}
	if v.n.outbox.LastSeen(name).IsZero() {
		srv.list.state = listEnded // one that was not known gets every change
		if hasID(name) {           // it may have been forgotten, and only have been cut off
			v.requests = append(v.requests, request{subject: accountzOf(id.ID), reply: aboutLoaded})
		}
	}
	if !v.record(name, now, preferred) {
		return nil, false
	}
	v.byName[name] = srv
	if id.ID != "" && v.round.phase != sentPING {
		v.requests = append(v.requests, request{subject: statszOf(id.ID), reply: aboutPing})
	}
	v.n.notes.addServer(slog.LevelDebug, "nats-server %s is there", name)
	return srv, true
}

// nameOf returns the name under which the Outbox keeps a new server, and the id of the process that
// had it before. Its own name is kept, since the id is another one after each restart. Of two
// processes with one name, the second is known by both name and id.
func (v *servers) nameOf(id serverID) (name, former string) {
	other := v.byName[id.Name]
	if other == nil {
		return id.Name, ""
	}
	// A process that was replaced answers no request sent after that. In the same round both may
	// answer.
	if other.former != id.ID || other.appeared >= v.round.number {
		return id.Name, other.id
	}
	v.n.notes.warnOnce("two nats-servers are called %s: give each its own server_name", id.Name)
	return id.Name + "/" + id.ID, other.id
}

// find returns the server with this id, nil if there is none.
func (v *servers) find(id serverID) *server {
	if srv := v.byName[id.Name]; srv != nil && srv.id == id.ID {
		return srv
	}
	return v.byName[id.Name+"/"+id.ID]
}

// apply changes the state of a server, and reports whether it did. It logs when a server becomes
// silent and when it answers again. A silent server may be gone, so the next round comes soon.
func (v *servers) apply(srv *server, e serverEvent, now time.Time) bool {
	former := srv.state
	next, listed := serverTable[former][e]
	if !listed {
		return false
	}
	srv.state = next
	switch {
	case next == silent:
		srv.probes, srv.probeAt, srv.confirmSeq = 0, now.Add(time.Second), 0
		v.n.notes.addServer(slog.LevelWarn, "nats-server %s does not answer account updates%s: "+
			"they stay pending and are sent again", srv.name, v.cause(srv))
		v.pingSoon()
	case former == silent:
		v.n.notes.addServer(slog.LevelInfo, "nats-server %s answers again", srv.name)
	}
	return true
}

// setAnswered records that a server has answered an announcement.
func (v *servers) setAnswered(srv *server) {
	if !srv.hasAnswered {
		srv.hasAnswered = true
		v.n.outbox.SetAnswered(srv.name)
	}
}

// neverAnswers reports whether a server has let an announcement pass, and has never answered one.
func (v *server) neverAnswers() bool { return v.state == silent && !v.hasAnswered }

// cause is the probable reason why a server that answers PING does not answer announcements, "" for
// one that has answered them before.
func (v *servers) cause(srv *server) string {
	if srv.hasAnswered {
		return ""
	}
	return ", and never has (it may be a leaf node whose user may not subscribe to " +
		"$SYS.ACCOUNT.*.CLAIMS.UPDATE, or not publish to _INBOX.>; until it answers it does not " +
		"count in what a push is told)"
}

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

// takeProbes returns the servers that are to get a probe now, to see whether they answer.
// The wait for the next one doubles, up to maxProbeWait.
func (v *servers) takeProbes(now time.Time) (due []*server) {
	if now.Before(v.nextProbes) {
		return nil
	}
	for _, srv := range v.probeable() {
		if len(due) == maxProbes {
			v.nextProbes = now.Add(time.Second)
			break
		}
		if srv.getsProbes() && !now.Before(srv.probeAt) {
			srv.probeAt = now.Add(backoff(srv.probes, maxProbeWait))
			srv.probes++
			due = append(due, srv)
		}
	}
	return due
}

// overdue reports whether a server is there that does not answer, or none is there. Answers are not
// to be expected soon then, and waiting for them would only make a push slow.
func (v *servers) overdue() bool {
	return v.any((*server).isSilent) || len(v.byName) == 0 && !v.discovering
}

// next returns when takePings, endDiscovery or takeProbes have something to do.
func (v *servers) next() time.Time {
	next := v.round.due
	if v.round.phase != over {
		next = v.round.sent.Add(answerTimeout)
	}
	if v.discovering {
		return earlier(next, v.discoverBy)
	}
	for _, srv := range v.probeable() {
		if srv.getsProbes() {
			next = earlier(next, later(srv.probeAt, v.nextProbes))
		}
		if srv.list.isOpen() {
			next = earlier(next, srv.list.due())
		}
	}
	return next
}

// earlier returns the earlier one of two moments.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// later returns the later one of two moments.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// backoff returns the wait after a number of failures. It doubles from one second up to a maximum.
func backoff(failures int, maxWait time.Duration) time.Duration {
	return min(time.Second<<min(failures, 10), maxWait)
}

// isBefore reports whether a version such as "2.1.9" is older than major.minor. One that can't be
// read is not.
func isBefore(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}

// Present returns the nats-servers that are there and have said their ids.
func (n *Notifier) Present() []facts.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil {
		return nil
	}
	var present []facts.Server
	for name, srv := range n.session.servers.byName {
		if srv.id != "" {
			present = append(present, facts.Server{Name: name, ID: srv.id})
		}
	}
	return present
}
