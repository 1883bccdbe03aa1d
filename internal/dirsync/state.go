package dirsync

// state is what is known of a File.
type state int

const (
	unread     state = iota // it is read at the next Scan
	settling                // it was just written to: its content does not count yet
	offered                 // its content is being decided about
	unreadable              // it can't be read; each Scan tries again
	waiting                 // an activation token, which is offered after the accounts
	stored                  // the store has its content
	refused                 // its content is not taken, until the file or the trust changes
	postponed               // its content is not taken now, and offered again after a while
	unsaved                 // as postponed: the store has no room. It is served from memory
	missing                 // it is not there since a moment: a program may be replacing it
	gone                    // what was taken from it is to be removed from the store
	stuck                   // as gone, after a removal that has failed
	removed                 // what was taken from it is not served now
)

// present are the states of a file that is there.
var present = []state{
	unread, settling, offered, unreadable, waiting, stored, refused, postponed, unsaved,
}

// event is what happens to a File.
type event int

const (
	// What a Scan sees.
	writing    event = iota // it is there, and was just written to
	content                 // it has content that was not decided about
	failure                 // it is there and can't be read
	absence                 // it is not there
	stayedAway              // it has not been there for goneAfter

	// What becomes of its content.
	token    // it is an activation token
	accepted // the store has it
	rejected // it is not taken
	early    // it is not taken now
	full     // it is good, and the store has no room
	due      // the time has come to offer it again
	rejudge  // the trust has changed, or another file of the same account is gone

	// What becomes of what was taken from a file that is gone.
	removal
	failedRemoval
)

// transition is one line of the table.
type transition struct {
	from []state
	on   event
	to   state
}

// transitions are all there are. An event that is not listed for a state leaves it as it is.
//
//	          writing
//	unread ────────────> settling
//	   │                    │ content
//	   │ content            v      token            accepted
//	   └────────────────> offered ──────> waiting ────────────> stored
//	                        │  ^ │                                ^
//	                        │  │ └────────────────────────────────┤
//	                        v  │ due                    accepted  │
//	       refused, postponed, unsaved                            │ absence
//	                                                              v
//	                                 removed <── gone, stuck <── missing
var transitions = []transition{
	{present, writing, settling},
	{present, content, offered},
	{present, failure, unreadable},
	{present, absence, missing},
	{present, rejudge, unread},

	{[]state{missing}, writing, settling},
	{[]state{missing}, content, offered},
	{[]state{missing}, failure, unreadable},
	{[]state{missing}, stayedAway, gone},

	{[]state{offered}, token, waiting},
	{[]state{offered, waiting}, accepted, stored},
	{[]state{offered}, rejected, refused}, // a token goes on waiting: its account may come
	{[]state{offered}, early, postponed},
	{[]state{offered}, full, unsaved},
	{[]state{postponed, unsaved}, due, offered},

	{[]state{gone, stuck}, removal, removed},
	{[]state{gone}, failedRemoval, stuck},
}

// next is the transitions by state and event.
var next = func() map[state]map[event]state {
	table := map[state]map[event]state{}
	for _, t := range transitions {
		for _, from := range t.from {
			if table[from] == nil {
				table[from] = map[event]state{}
			}
			table[from][t.on] = t.to
		}
	}
	return table
}()
