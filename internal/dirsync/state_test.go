package dirsync_test

import (
	"testing"

	"nats-account-server/internal/dirsync"
)

// reachable are the states that one can lead to.
func reachable(from dirsync.State) map[dirsync.State]bool {
	all := map[dirsync.State]bool{from: true}
	for grown := true; grown; {
		grown = false
		for s := range all {
			for on := range dirsync.LastEvent + 1 {
				if to, listed := dirsync.Next(s, on); listed && !all[to] {
					all[to], grown = true, true
				}
			}
		}
	}
	return all
}

func TestEveryStateIsReachedAndLeft(t *testing.T) {
	for s := range dirsync.LastState + 1 {
		if !reachable(dirsync.Unread)[s] {
			t.Errorf("state %d is never reached", s)
		}
		if !reachable(s)[dirsync.Missing] {
			t.Errorf("from state %d no file is ever removed", s)
		}
		if len(reachable(s)) == 1 {
			t.Errorf("state %d is never left", s)
		}
	}
}

func TestNothingIsDecidedAboutWhatIsNotOffered(t *testing.T) {
	for s := range dirsync.LastState + 1 {
		for on := range dirsync.LastEvent + 1 {
			_, listed := dirsync.Next(s, on)
			switch {
			case !listed || !dirsync.OutcomeOfPut(on):
			case s == dirsync.Offered, s == dirsync.Postponed:
			default:
				t.Errorf("event %d happens to state %d", on, s)
			}
		}
	}
}

func TestEachTransitionIsListedOnce(t *testing.T) {
	type cause struct {
		from dirsync.State
		on   dirsync.Event
	}
	rows := map[cause]int{}
	dirsync.Rows(func(_ int, from dirsync.State, on dirsync.Event) { rows[cause{from, on}]++ })
	for c, n := range rows {
		if n > 1 {
			t.Errorf("event %d of state %d is listed %d times", c.on, c.from, n)
		}
	}
}
