package dirsync

import (
	"context"
	"slices"
)

// What a test needs of the state machine.
type (
	State = state
	Event = event
)

const (
	Unread, Settling, Offered, Unreadable, Waiting  = unread, settling, offered, unreadable, waiting
	Stored, Refused, Postponed, Unkept, Missing     = stored, refused, postponed, unsaved, missing
	Gone, Stuck, Removed                            = gone, stuck, removed
	LastState, LastEvent                            = removed, failedRemoval
	GoneAfter, SettleTime, LookInterval, ByPutFirst = goneAfter, settleTime, lookInterval, accepted
)

// Next returns the state after an event, and whether the table lists that.
func Next(from State, on Event) (to State, listed bool) {
	to, listed = next[from][on]
	return to, listed
}

// Rows calls each with every row of the table.
func Rows(each func(row int, from State, on Event)) {
	for row, t := range transitions {
		for _, from := range t.from {
			each(row, from, t.on)
		}
	}
}

// OutcomeOfPut are the events that only a decision about content may cause.
func OutcomeOfPut(on Event) bool {
	return slices.Contains([]event{token, accepted, rejected, early, full, due}, on)
}

// Trace calls f with every transition of a file.
func (f *Folder) Trace(trace func(from State, on Event)) { f.trace = trace }

// Look looks at the files once.
func (s *Syncer) Look(ctx context.Context) (settled bool) { return s.look(ctx) }

// StateOf returns the state of a file. ok is false if there is no record of it.
func (s *Syncer) StateOf(path string) (state State, ok bool) {
	for _, f := range s.lost {
		if f.Path == path {
			return f.state, true
		}
	}
	if f := s.Folder.files[path]; f != nil {
		return f.state, true
	}
	return removed, false
}
