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
	// rests: the attempt has ended, and only a server can cause the next one.
	rests
)

// announcementTable has the state after each event. An event that it does not list for a state
// changes nothing.
var announcementTable = map[state]map[event]state{
	waiting:  {wanted: queued, sent: inFlight},
	queued:   {wanted: queued, sent: inFlight},
	inFlight: {wanted: queued, rests: waiting},
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
