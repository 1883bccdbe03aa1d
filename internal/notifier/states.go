package notifier

// state is where an announcement stands.
type state int

const (
	waiting    state = iota // for a server: only serverReady brings it back
	toAnnounce              // in the queue: published when it is due
	toAsk                   // in the queue: the servers are asked what they run when it is due
	inFlight                // published; answers may still come
	asking                  // the servers were asked what they run; answers may still come
	done                    // nothing is left to do; the announcement has been removed
)

// event is what can happen to an announcement.
type event int

const (
	// committed: a newer change of the account takes the place of the older one.
	committed event = iota
	// heard: the change came by a broadcast, which the servers have got as well.
	heard
	// serverReady: a server that lacks the change can take it. A repeated Announce counts as well.
	serverReady
	// sent: an attempt begins.
	sent
	// retry: the attempt has ended, and the next one follows after some time.
	retry
	// rest: the attempt has ended, and only a server can cause the next one.
	rest
	// contradicted: the servers were asked, and one runs another JWT or has not said.
	contradicted
	// finished: every server has acknowledged the change, or the account is not stored any more.
	finished
)

// announcementTable has the state after each event. An event that it does not list for a state
// changes nothing.
var announcementTable = map[state]map[event]state{
	waiting: {
		committed: toAnnounce, heard: toAsk, serverReady: toAnnounce, sent: inFlight, retry: toAnnounce,
		finished: done,
	},
	toAnnounce: {committed: toAnnounce, sent: inFlight, finished: done},
	toAsk:      {committed: toAnnounce, sent: asking, finished: done},
	inFlight:   {committed: toAnnounce, retry: toAnnounce, rest: waiting, finished: done},
	asking:     {committed: toAnnounce, retry: toAsk, contradicted: toAnnounce, finished: done},
	done:       {},
}

// queued reports whether an announcement in this state is in the queue.
func (s state) queued() bool { return s == toAnnounce || s == toAsk }

// active reports whether answers to an announcement in this state may still come.
func (s state) active() bool { return s == inFlight || s == asking }

// serverState is what is known about how a nats-server answers announcements.
type serverState int

const (
	// responsive: it gets every announcement.
	responsive serverState = iota
	// untested: changes are pending for it, and it has not answered an announcement yet.
	untested
	// unidentified: it has answered one, but not said what it is. It may have fetched the changes.
	unidentified
	// silent: it has let an announcement pass without an answer.
	silent
	// neverReplies: it is before 2.2, and applies updates without an answer.
	neverReplies
)

// serverEvent is what a nats-server does, or fails to do.
type serverEvent int

const (
	// replies: it answers an announcement.
	replies serverEvent = iota
	// repliesEarly: it does that before it has said what it is, and still has time to say so.
	repliesEarly
	// identifies: it says what it is.
	identifies
	// identifiesOld: it says that it is before 2.2.
	identifiesOld
	// misses: it lets an announcement pass without an answer.
	misses
)

// serverTable has the state after each event. An event that it does not list for a state changes
// nothing. It lists none for neverReplies: only another process of that name can differ.
var serverTable = map[serverState]map[serverEvent]serverState{
	responsive: {identifiesOld: neverReplies, misses: silent},
	untested: {
		replies: responsive, repliesEarly: unidentified, identifiesOld: neverReplies, misses: silent,
	},
	unidentified: {
		replies: responsive, identifies: responsive, identifiesOld: neverReplies, misses: silent,
	},
	silent:       {replies: responsive, identifiesOld: neverReplies},
	neverReplies: {},
}

// oneAtATime reports whether a server in this state gets one announcement at a time until it
// answers.
func (s serverState) oneAtATime() bool { return s == untested || s == unidentified || s == silent }
