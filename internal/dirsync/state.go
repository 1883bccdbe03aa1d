package dirsync

import "slices"

// state is what is known of a File.
type state int

const (
	unread    state = iota // it is read at the next Scan, whether it has changed or not
	settling               // it was just written to: its content does not count yet
	offered                // its content is being decided about
	stored                 // the store has its content
	refused                // its content is not taken, until the file or the trust changes
	postponed              // its content is not taken now, and offered again at retryAt
	missing                // it is not there since a moment: a program may be replacing it
)

// event is what happens to a File.
type event int

const (
	// What a Scan sees.
	writing event = iota // it is there, and was just written to
	content              // it has content that is to be decided about
	failure              // it is there and can't be read
	absence              // it is not there

	// What becomes of its content.
	accepted // the store has it
	rejected // it is not taken
	deferred // it is not taken now

	rejudge // the trust has changed, or another file of the same account is gone
)

// transition is one line of the table.
type transition struct {
	from []state
	on   event
	to   state
}

var (
	present = []state{unread, settling, offered, stored, refused, postponed}
	all     = append(slices.Clone(present), missing)
)

// transitions are all there are. An event that is not listed for a state leaves it as it is. A file
// that stays missing is forgotten.
//
//	unread ────────> settling        at each state, as a Scan sees it
//	   │ content        │ content
//	   └─────> offered <┘
//	              ├───────> stored
//	              ├───────> refused
//	              └───────> postponed ──> offered again, or stored
var transitions = []transition{
	{all, writing, settling},
	{all, content, offered},
	{all, failure, unread},
	{present, absence, missing},

	// A token that is postponed is offered again at once when an account has changed.
	{[]state{offered, postponed}, accepted, stored},
	{[]state{offered}, rejected, refused},
	{[]state{offered}, deferred, postponed},

	// A file that is missing is read when it is back.
	{present, rejudge, unread},
}

// next returns the state after an event. listed is false if the table has no such line.
func next(from state, on event) (to state, listed bool) {
	for _, t := range transitions {
		if t.on == on && slices.Contains(t.from, from) {
			return t.to, true
		}
	}
	return from, false
}
