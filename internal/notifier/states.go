package notifier

// state is where an announcement stands. One that is finished has been removed.
type state int

const (
	waiting  state = iota // for a server: nothing is sent before an event brings it back
	queued                // sent when it is due
	inFlight              // sent; answers may still come
)

// event is what can happen to an announcement.
type event int

const (
	// wanted: it is to be sent, now or later. A change that takes the place of an older one and an
	// attempt that has to be repeated are reasons.
	wanted event = iota
	// sent: an attempt begins.
	sent
	// waits: the attempt has ended, and only a server can cause the next one.
	waits
)

// announcementTable has the state after each event. An event that it does not list for a state
// changes nothing.
var announcementTable = map[state]map[event]state{
	waiting:  {wanted: queued, sent: inFlight},
	queued:   {wanted: queued, sent: inFlight},
	inFlight: {wanted: queued, waits: waiting},
}

// purpose is what an attempt is for.
type purpose int

const (
	// toUpdate: it is published as an update. An account that is spared is only confirmed.
	toUpdate purpose = iota
	// toRepeat: it is published although the account is spared, since a server lacks the change.
	toRepeat
	// toConfirm: the servers are asked what they run, and the update follows if it is another JWT.
	// A change that came by a broadcast has reached them as well.
	toConfirm
	// afterAbsence: the same since a server was away. It may have got a newer JWT from another
	// program meanwhile, which must not be replaced.
	afterAbsence
)

// confirms reports whether nothing is published.
func (p purpose) confirms() bool { return p == toConfirm || p == afterAbsence }

// purposeEvent is what changes the purpose of the next attempt.
type purposeEvent int

const (
	// replaced: the change takes the place of an older one.
	replaced purposeEvent = iota
	// heard: it came by a broadcast.
	heard
	// returns: a server that lacks it was away.
	returns
	// spares: an attempt is to begin, and the account is spared.
	spares
	// begins: the attempt begins.
	begins
	// lacks: a server has not said that it runs the JWT of an account that is spared.
	lacks
	// ended: the attempt has ended, and need not be the same again.
	ended
)

// purposeTable has the purpose after each event. An event that it does not list for a purpose
// changes nothing.
var purposeTable = map[purpose]map[purposeEvent]purpose{
	toUpdate:     {heard: toConfirm, returns: afterAbsence, spares: toConfirm},
	toRepeat:     {replaced: toUpdate, returns: afterAbsence, begins: toUpdate},
	toConfirm:    {replaced: toUpdate, returns: afterAbsence, lacks: toRepeat, ended: toUpdate},
	afterAbsence: {replaced: toUpdate, lacks: toRepeat, ended: toUpdate},
}

// serverState is what is known about how a nats-server answers announcements.
type serverState int

const (
	// responsive: it gets every announcement. So does one before 2.2, which never answers.
	responsive serverState = iota
	// untested: changes are pending for it, and it has not answered an announcement yet.
	untested
	// silent: it has let an announcement pass without an answer.
	silent
)

// serverEvent is what a nats-server does, or fails to do.
type serverEvent int

const (
	// replies: it answers an announcement, or turns out to be one that need not.
	replies serverEvent = iota
	// misses: it lets an announcement pass without an answer.
	misses
)

// serverTable has the state after each event. An event that it does not list for a state changes
// nothing.
var serverTable = map[serverState]map[serverEvent]serverState{
	responsive: {misses: silent},
	untested:   {replies: responsive, misses: silent},
	silent:     {replies: responsive},
}

// listState is how far the request has got for the accounts that a nats-server has loaded.
type listState int

const (
	listNone      listState = iota // it has not turned out to be one that fetches
	listDue                        // it is to be sent
	listRequested                  // its answer may still come
	listEnded                      // there is an answer, or need not be one
)

// listEvent is what can happen to that request.
type listEvent int

const (
	// fetches: the server turns out to keep no JWTs, and something is pending for it.
	fetches listEvent = iota
	// requested: it is sent.
	requested
	// ends: the server has answered, or has not in time.
	ends
)

// listTable has the state after each event. An event that it does not list for a state changes
// nothing.
var listTable = map[listState]map[listEvent]listState{
	listNone:      {fetches: listDue},
	listDue:       {requested: listRequested},
	listRequested: {ends: listEnded},
}
