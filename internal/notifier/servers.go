package notifier

import (
	"log/slog"
	"time"

	"nats-account-server/internal/facts"
)

const (
	// identifyTimeout is how long a new nats-server has to say what it is, before anything is
	// announced to it.
	identifyTimeout = time.Second
	// maxProbeWait bounds the time between two probes of a nats-server that does not answer.
	maxProbeWait = 30 * time.Second
	// maxProbes bounds the probes in a second: each looks at all that is pending.
	maxProbes = 32
	// maxDisplaced is how many new nats-servers that have not answered an update may displace
	// others in a round, if too many are known. Each is written to the disk.
	maxDisplaced = 64
)

// servers are the nats-servers that are there, as their answers to PING show.
type servers struct {
	n           *Notifier
	user        User      // of the connection
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
func newServers(n *Notifier, user User, now time.Time) *servers {
	return &servers{
		n:           n,
		user:        user,
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

// any reports whether a server is there of which that is true.
func (v *servers) any(is func(*server) bool) bool {
	for _, srv := range v.byName {
		if is(srv) {
			return true
		}
	}
	return false
}

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
		v.round.due = earlier(v.round.due, v.round.sent.Add(pingSoonest))
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
