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
	Unread, Settling, Offered, Stored   = unread, settling, offered, stored
	Refused, Postponed, Missing         = refused, postponed, missing
	LastState, LastEvent                = missing, rejudge
	GoneAfter, SettleTime, ScanInterval = goneAfter, settleTime, scanInterval
)

// Next returns the state after an event, and whether the table lists that.
func Next(from State, on Event) (to State, listed bool) { return next(from, on) }

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
	return slices.Contains([]event{accepted, rejected, deferred}, on)
}

// Trace calls f with every transition of a file.
func (f *Folder) Trace(trace func(from State, on Event)) { f.trace = trace }

// Scan scans the files once.
func (s *Syncer) Scan(ctx context.Context) (settled bool) { return s.scan(ctx) }

// StateOf returns the state of a file. ok is false if there is no record of it.
func (s *Syncer) StateOf(path string) (state State, ok bool) {
	if f := s.Folder.files[path]; f != nil {
		return f.state, true
	}
	return unread, false
}
