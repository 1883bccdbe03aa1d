package notifier

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// idzSubject asks all nats-servers who they are; those before 2.10 only answer pingSubject, which costs more.
	idzSubject  = "$SYS.REQ.SERVER.PING.IDZ"
	pingSubject = "$SYS.REQ.SERVER.PING"
	// heartbeats are what every nats-server says of itself when it starts and now and then.
	heartbeats = "$SYS.SERVER.*.STATSZ"

	// meetWithin bounds the first round of PING, before which nobody knows who has to answer.
	meetWithin = time.Second
	// introducedWithin is how long what a nats-server is owed waits for it to say what it is.
	introducedWithin = time.Second
	// pingEvery is how often we ask who is there; pingSoonest when there is a reason to.
	pingEvery   = 30 * time.Second
	pingSoonest = 5 * time.Second
	// everyoneEach is each how many rounds those are asked who do not answer idzSubject.
	everyoneEach = 10
	// probeMost bounds the wait between announcements to a nats-server that does not answer.
	probeMost = 30 * time.Second
	// defaultForget is how long what a nats-server missed is kept for it.
	defaultForget = 72 * time.Hour
	// watchAtLeast is how long a session has lasted before it says that somebody stayed away.
	watchAtLeast = time.Hour
)

// peer is a nats-server that is there.
type peer struct {
	id      string    // of its process
	former  string    // id of the process that had the name before
	met     int       // the round in which it appeared
	version string    // "" until it has answered PING
	began   time.Time // when its process did, by our clock; zero while that is unknown
	round   int       // the last one that it answered

	speechless bool // before 2.2: it applies updates but answers nothing
	plain      bool // before 2.10: it does not answer idzSubject
	fetches    bool // it keeps no JWTs (URL, memory), so a restart makes it fetch them
	caches     bool // it keeps JWTs for those accounts that are needed there
	excused    bool // what it fetched has been taken off what it is owed

	known  time.Time // until when it has to say what it is
	back   bool      // it has answered an announcement
	silent bool      // it gets one announcement at a time until it answers
	late   bool      // it let an announcement pass, and that has been logged
	probe  time.Time // when it gets the next one while it is silent
	probes int       // how many it has got
}

// round is one question who is there.
type round struct {
	number    int
	sent      time.Time // when the last part of it was
	due       time.Time // when the next round is
	everyone  bool      // those who do not answer idzSubject were asked too
	asking    bool      // answers may still come
	newcomers []string  // ids of those who have to say more about themselves
}

// next is when something is to be done about it.
func (r *round) next() time.Time {
	if r.asking && r.sent.Add(answerWithin).Before(r.due) {
		return r.sent.Add(answerWithin)
	}
	return r.due
}

// ask returns the subjects to ask now. Whoever does not answer idzSubject gets a second chance in the same round.
func (s *session) ask(now time.Time) (subjects []string) {
	r := &s.round
	for _, id := range r.newcomers {
		subjects = append(subjects, "$SYS.REQ.SERVER."+id+".STATSZ")
	}
	r.newcomers = nil
	if r.asking && now.Sub(r.sent) >= answerWithin {
		if !r.everyone && s.someoneMissing() {
			r.everyone, r.sent = true, now
			return append(subjects, pingSubject)
		}
		s.sweep(now)
	}
	if now.Before(r.due) {
		return subjects
	}
	everyone := r.number%everyoneEach == 0 || s.someonePlain()
	wait := min(pingEvery, max(s.n.forgetAfter/2, answerWithin)) // who is to be forgotten soon must be seen more often
	s.round = round{number: r.number + 1, sent: now, due: now.Add(wait), everyone: everyone, asking: true}
	if everyone {
		subjects = append(subjects, pingSubject)
	}
	return append(subjects, idzSubject)
}

func (s *session) someoneMissing() bool {
	for _, p := range s.peers {
		if p.round != s.round.number {
			return true
		}
	}
	return len(s.peers) == 0
}

func (s *session) someonePlain() bool {
	for _, p := range s.peers {
		if p.plain {
			return true
		}
	}
	return false
}

// pong takes an answer to the question who is there.
func (s *session) pong(r reply, now time.Time) {
	s.expected = max(s.expected, r.Stats.ActiveServers)
	name, p := s.greet(r.Server.serverID, now)
	p.round = s.round.number
	if r.Server.Version != "" {
		s.introduce(name, p, r, now)
	}
	if s.meeting && s.complete() {
		s.prod()
	}
}

// heartbeat hears of a nats-server without having asked: one that has restarted would otherwise wait for the next round.
func (s *session) heartbeat(m *nats.Msg) {
	r, ok := parse(m.Data)
	if !ok || r.Server.Version == "" {
		return
	}
	s.n.mu.Lock()
	defer s.n.unlock()
	now := time.Now()
	name, p := s.greet(r.Server.serverID, now)
	if p.round = s.round.number; p.version == "" {
		s.introduce(name, p, r, now)
		s.prod()
	}
}

// greet finds the peer of a nats-server that has shown itself, or makes it one. In the outbox it has its name: the
// id is another one after each restart. Of two with one name, the second is known by both.
func (s *session) greet(server serverID, now time.Time) (name string, p *peer) {
	name, p = s.find(server)
	if p != nil {
		s.n.Outbox.Register(name, now)
		return name, p
	}
	former := ""
	if other := s.peers[name]; other != nil {
		former = other.id
	}
	if s.twoAt(name, server.ID) {
		s.complain(fmt.Sprintf("two nats-servers are called %s: give each a server_name of its own", name))
		name += "/" + server.ID
	}
	for _, it := range s.items {
		delete(it.cold, name) // whoever had that name before
	}
	newcomer := s.n.Outbox.LastSeen(name).IsZero() // one that nobody knew is told everything
	s.n.Outbox.Register(name, now)
	p = &peer{id: server.ID, former: former, met: s.round.number, excused: newcomer, silent: s.owe(name), probe: now.Add(introducedWithin), known: now.Add(introducedWithin)}
	s.peers[name] = p
	if p.id != "" && (!s.round.asking || !s.round.everyone) {
		s.round.newcomers = append(s.round.newcomers, p.id)
	}
	s.n.note(slog.LevelDebug, "nats-server %s is there", name)
	s.prod()
	return name, p
}

// twoAt says whether a name is that of two nats-servers: a process that was replaced answers a question that was asked
// after that. In the same round it may have answered before it ended.
func (s *session) twoAt(name, id string) bool {
	p := s.peers[name]
	return p != nil && p.former == id && p.met < s.round.number
}

// find returns the peer with this id, and the name that it has or would have.
func (s *session) find(server serverID) (name string, p *peer) {
	if p := s.peers[server.Name]; p != nil && p.id == server.ID {
		return server.Name, p
	}
	both := server.Name + "/" + server.ID
	if p := s.peers[both]; p != nil {
		return both, p
	}
	return server.Name, nil
}

// introduce takes what a nats-server says about itself.
func (s *session) introduce(name string, p *peer, r reply, now time.Time) {
	if p.version == "" {
		p.probe = now
	}
	p.version = r.Server.Version
	p.plain = before(p.version, 2, 10)
	if up := r.Server.Time.Sub(r.Stats.Start); !r.Stats.Start.IsZero() && !r.Server.Time.IsZero() && up >= 0 {
		p.began = now.Add(-up)
	}
	p.speechless = before(p.version, 2, 2)
	s.excuse(name, p)
	if p.speechless || p.back {
		s.isBack(name, p, now)
	}
}

// excuse takes off what a nats-server is owed what it has fetched since it started.
func (s *session) excuse(name string, p *peer) {
	if !p.fetches || p.excused || p.began.IsZero() {
		return
	}
	p.excused = true
	for _, c := range s.n.Outbox.Pending() {
		if c.At.Before(p.began) {
			s.n.Outbox.Acknowledge(name, c.Seq)
		}
	}
	for _, it := range s.items {
		s.settle(it)
	}
}

// owe takes up what a nats-server lacks that has just appeared, and says whether there is anything.
func (s *session) owe(name string) (any bool) {
	for _, c := range s.n.Outbox.Pending() {
		if s.n.Outbox.IsPending(name, c.Seq) {
			any = true
			if s.items[c.Key] == nil {
				s.items[c.Key] = &item{Change: c, index: -1}
			}
		}
	}
	return any
}

// complete says that as many nats-servers have answered the first PING as there are.
func (s *session) complete() bool {
	return s.expected > 0 && len(s.peers) >= s.expected
}

// met ends the first round of PING.
func (s *session) met() {
	s.meeting = false
	if len(s.peers) == 0 {
		s.complain("no nats-server answers " + pingSubject + ": account updates stay owed until one does; " +
			"nats.usercredentials must be those of a user of the system account who may publish to $SYS.> and subscribe to $SYS.> and _INBOX.>")
	}
}

// sweep drops the nats-servers that did not answer the last round. What is owed to them stays in the Outbox, but not
// for ever: a nats-server without a name of its own comes back from a restart as another one.
func (s *session) sweep(now time.Time) {
	s.round.asking = false
	for name, p := range s.peers {
		if p.round != s.round.number {
			delete(s.peers, name)
			s.n.note(slog.LevelInfo, "nats-server %s is gone", name)
		}
	}
	s.forget(now)
	if len(s.peers) == 0 {
		s.pingSoon(pingSoonest)
		return
	}
	for _, it := range s.items {
		s.settle(it)
	}
}

// forget gives up those that have stayed away for too long. Absence only counts while we are there to see it: after
// an outage of our own everybody has been out of sight.
func (s *session) forget(now time.Time) {
	if now.Sub(s.began) < min(watchAtLeast, s.n.forgetAfter) {
		return
	}
	for _, name := range s.n.Outbox.UnseenSince(now.Add(-s.n.forgetAfter)) {
		if s.peers[name] == nil {
			s.n.Outbox.Forget(name)
			s.n.note(slog.LevelWarn, "nats-server %s has not been seen for %s and is forgotten: nothing is owed to it any more",
				name, s.n.forgetAfter)
		}
	}
}

// pingSoon asks who is there before it is time to.
func (s *session) pingSoon(after time.Duration) {
	if t := s.round.sent.Add(after); t.Before(s.round.due) {
		s.round.due = t
		s.prod()
	}
}

// listeners are the nats-servers by name, or nobody while none is known: an update may be heard all the same.
func (s *session) listeners() map[string]*peer {
	if len(s.peers) == 0 {
		return map[string]*peer{"": s.nobody}
	}
	return s.peers
}

// probe takes off what the silent ones get to see whether they are back.
func (s *session) probe(now time.Time) (batch []attempt) {
	for name, p := range s.listeners() {
		if !p.silent || now.Before(p.probe) {
			continue
		}
		p.probe = now.Add(min(time.Second<<min(p.probes, 5), probeMost))
		p.probes++
		if it := s.oldestFor(name); it != nil && !it.flying {
			batch = append(batch, s.takeOff(it, now))
		}
	}
	return batch
}

// oldestFor returns the oldest change that a nats-server lacks, nil if there is none.
func (s *session) oldestFor(name string) (oldest *item) {
	for _, it := range s.items {
		if (oldest == nil || it.Seq < oldest.Seq) && s.n.Outbox.IsPending(name, it.Seq) {
			oldest = it
		}
	}
	return oldest
}

// fellSilent notes that a nats-server has let an announcement pass.
func (s *session) fellSilent(name string, p *peer, now time.Time) {
	if !p.silent {
		p.silent, p.probes, p.probe = true, 0, now.Add(time.Second)
	}
	if !p.late {
		p.late = true
		s.n.note(slog.LevelWarn, "nats-server %s does not answer account updates: they stay owed to it and are sent again", name)
		s.pingSoon(pingSoonest)
	}
}

// isBack lets a nats-server that was silent have all that it lacks, once it had the time to say what it is: it may
// have fetched all that.
func (s *session) isBack(name string, p *peer, now time.Time) {
	if !p.silent {
		return
	}
	if p.back = true; p.version == "" && now.Before(p.known) {
		return
	}
	if p.late {
		s.n.note(slog.LevelInfo, "nats-server %s answers again", name)
	}
	p.silent, p.late = false, false
	for _, it := range s.items {
		if it.idle() && !it.cold[name] && s.n.Outbox.IsPending(name, it.Seq) {
			s.again(it, now)
		}
	}
}

// overdue says that nobody is there who answers, or somebody who does not.
func (s *session) overdue() bool {
	for _, p := range s.peers {
		if p.late {
			return true
		}
	}
	return len(s.peers) == 0 && !s.meeting
}

// before says whether a version such as "2.1.9" is older than major.minor. What can't be read is not.
func before(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
