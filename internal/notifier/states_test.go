package notifier

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
)

// These are the tables of the package comment. A dash
// changes nothing.
const (
	announcementTransitions = `
	          wanted  sent      waits
	waiting   queued  inFlight  -
	queued    queued  inFlight  -
	inFlight  queued  -         waiting`

	purposeTransitions = `
	              replaced  heard      returns       spares     begins    lacks     ended
	toUpdate      -         toConfirm  afterAbsence  toConfirm  -         -         -
	toRepeat      toUpdate  -          afterAbsence  -          toUpdate  -         -
	toConfirm     toUpdate  -          afterAbsence  -          -         toRepeat  toUpdate
	afterAbsence  toUpdate  -          -             -          -         toRepeat  toUpdate`

	serverTransitions = `
	            replies     misses
	responsive  -           silent
	untested    responsive  silent
	silent      responsive  -`

	listTransitions = `
	               fetches  requested      ends
	listNone       listDue  -              -
	listDue        -        listRequested  -
	listRequested  -        -              listEnded
	listEnded      -        -              -`
)

var (
	stateNames   = map[string]state{"waiting": waiting, "queued": queued, "inFlight": inFlight}
	eventNames   = map[string]event{"wanted": wanted, "sent": sent, "waits": waits}
	purposeNames = map[string]purpose{
		"toUpdate": toUpdate, "toRepeat": toRepeat, "toConfirm": toConfirm,
		"afterAbsence": afterAbsence,
	}
	purposeEventNames = map[string]purposeEvent{
		"replaced": replaced, "heard": heard, "returns": returns, "spares": spares,
		"begins": begins, "lacks": lacks, "ended": ended,
	}
	serverStateNames = map[string]serverState{
		"responsive": responsive, "untested": untested, "silent": silent,
	}
	serverEventNames = map[string]serverEvent{"replies": replies, "misses": misses}
	listStateNames   = map[string]listState{
		"listNone": listNone, "listDue": listDue, "listRequested": listRequested,
		"listEnded": listEnded,
	}
	listEventNames = map[string]listEvent{"fetches": fetches, "requested": requested, "ends": ends}
)

// walk calls each with every state and event of a table, and what follows. listed is false for a
// dash.
func walk[S, E comparable](
	t *testing.T, table string, states map[string]S, events map[string]E,
	each func(from S, e E, to S, listed bool),
) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	head := strings.Fields(lines[0])
	if len(head) != len(events) || len(lines)-1 != len(states) {
		t.Fatalf("the table has %d events and %d states", len(head), len(lines)-1)
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		from, known := states[cells[0]]
		if !known || len(cells) != len(head)+1 {
			t.Fatalf("not a line of the table: %q", line)
		}
		for i, cell := range cells[1:] {
			e, known := events[head[i]]
			to, listed := states[cell]
			if !known || !listed && cell != "-" {
				t.Fatalf("unknown: %q or %q", head[i], cell)
			}
			if !listed {
				to = from
			}
			each(from, e, to, listed)
		}
	}
}

// newTestNotifier returns a Notifier on a store in memory, and the key of the one account that is
// pending there.
func newTestNotifier(t *testing.T) (n *Notifier, key string) {
	t.Helper()
	store := jwtstore.NewMemory(true)
	key = "ACJOGTKFM5XINHKRZ6YRFRA2GAXYQCCHPGVKLC4RB2GSAMJLYBDHBEOS"
	allow := func(jwtstore.Stored) (jwtstore.Version, error) { return jwtstore.Version{}, nil }
	if _, err := store.Put(t.Context(), key, "test", []byte("jwt"), allow); err != nil {
		t.Fatal(err)
	}
	return New(Options{Outbox: store.Outbox(), Log: slog.New(slog.DiscardHandler)}), key
}

// TestEveryEventOfAnAnnouncement walks every state and event: the state follows the table, the
// announcement is in the queue exactly in a queued state, and in flight exactly in an active one.
func TestEveryEventOfAnAnnouncement(t *testing.T) {
	n, key := newTestNotifier(t)
	check := func(from state, e event, to state, listed bool) {
		name := fmt.Sprintf("event %d in state %d", e, from)
		p := newAnnouncements(n, newServers(n, User{}, time.Now()))
		a := p.get(n.outbox.PendingFor(key))
		reach(t, p, a, from)
		due := time.Now().Add(time.Hour)
		p.apply(a, e, due)
		if a.state != to {
			t.Errorf("%s leads to %d, not to %d", name, a.state, to)
		}
		isQueued := len(p.queue) == 1 && p.queue[a.index] == a
		if isQueued != (to == queued) || len(p.queue) > 1 {
			t.Errorf("%s: at %d in %d queued", name, a.index, len(p.queue))
		}
		if isQueued && listed != a.due.Equal(due) {
			t.Errorf("%s: due %s", name, a.due)
		}
		if isActive := p.active[key] == a; isActive != (to == inFlight) || len(p.active) > 1 {
			t.Errorf("%s: in flight: %v", name, p.active)
		}
		p.finish(a)
		if len(p.queue)+len(p.active)+len(p.byKey) > 0 {
			t.Errorf("%s: something is left when it is finished", name)
		}
	}
	walk(t, announcementTransitions, stateNames, eventNames, check)
}

// reach brings a new announcement into a state.
func reach(t *testing.T, p *announcements, a *announcement, to state) {
	t.Helper()
	ways := map[state][]event{waiting: {}, queued: {wanted}, inFlight: {sent}}
	for _, e := range ways[to] {
		p.apply(a, e, time.Now())
	}
	if a.state != to {
		t.Fatalf("state %d instead of %d", a.state, to)
	}
}

// TestEveryEventOfAPurpose walks every purpose and event. Only what confirms publishes nothing.
func TestEveryEventOfAPurpose(t *testing.T) {
	walk(t, purposeTransitions, purposeNames, purposeEventNames,
		func(from purpose, e purposeEvent, to purpose, _ bool) {
			a := &announcement{next: from}
			if a.intend(e); a.next != to {
				t.Errorf("event %d with purpose %d leads to %d, not to %d", e, from, a.next, to)
			}
			if isUpdate := to == toUpdate || to == toRepeat; to.confirms() == isUpdate {
				t.Errorf("purpose %d confirms: %v", to, to.confirms())
			}
		})
}

// TestEveryEventOfAServer walks every state and event: what is left out of the table changes
// nothing.
func TestEveryEventOfAServer(t *testing.T) {
	n, _ := newTestNotifier(t)
	walk(t, serverTransitions, serverStateNames, serverEventNames,
		func(from serverState, e serverEvent, to serverState, listed bool) {
			v := newServers(n, User{}, time.Now())
			srv := &server{name: "n", state: from}
			if v.apply(srv, e, time.Now()) != listed || srv.state != to {
				t.Errorf("event %d in state %d leads to %d, not to %d", e, from, srv.state, to)
			}
			if v.byName["n"] = srv; v.overdue() != (to == silent) {
				t.Errorf("a server in state %d is overdue: %v", to, v.overdue())
			}
		})
	if len(serverTable) != len(serverStateNames) || len(announcementTable) != len(stateNames) {
		t.Errorf("the tables have %d and %d states", len(serverTable), len(announcementTable))
	}
}

// TestEveryEventOfAList walks every state and event. In every state but the open ones its server
// gets all announcements.
func TestEveryEventOfAList(t *testing.T) {
	walk(t, listTransitions, listStateNames, listEventNames,
		func(from listState, e listEvent, to listState, listed bool) {
			l, now := list{state: from}, time.Now()
			if l.apply(e, now) != listed || l.state != to || listed && !l.at.Equal(now) {
				t.Errorf("event %d in state %d leads to %d, not to %d", e, from, l.state, to)
			}
			if l.isOpen() != (to == listDue || to == listRequested) {
				t.Errorf("a list in state %d is open: %v", to, l.isOpen())
			}
		})
}

// TestARoundOfPING walks the phases of a round: servers that do not answer the cheap request get
// the other one.
func TestARoundOfPING(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name    string
		phase   phase
		after   time.Duration // since the last request
		missing bool          // a server has not answered
		want    phase
		asks    []request
		ended   bool
	}{
		{"answers may still come", sentIDZ, time.Second, true, sentIDZ, nil, false},
		{"all have answered the cheap request", sentIDZ, answerTimeout, false, over, nil, true},
		{"one has not", sentIDZ, answerTimeout, true, sentPING, []request{ping}, false},
		{"answers to the other one may still come", sentPING, time.Second, true,
			sentPING, nil, false},
		{"all have answered that", sentPING, answerTimeout, false, over, nil, true},
		{"one is gone", sentPING, answerTimeout, true, over, nil, true},
		{"it is over, and not yet time for the next", over, time.Second, true, over, nil, false},
		{"the next one", over, time.Hour, false, sentIDZ, []request{idz}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, _ := newTestNotifier(t)
			v := newServers(n, User{}, now)
			v.byName["here"] = &server{name: "here", round: 7}
			if c.missing {
				v.byName["away"] = &server{name: "away", round: 6}
			}
			sent := now.Add(-c.after)
			v.round = round{number: 7, phase: c.phase, sent: sent, due: sent.Add(pingInterval)}
			asks, ended := v.takePings(now)
			if v.round.phase != c.want || !reflect.DeepEqual(asks, c.asks) || ended != c.ended {
				t.Errorf("phase %d, asks %v, ended: %v", v.round.phase, asks, ended)
			}
			if isGone := v.byName["away"] == nil; c.missing && isGone != c.ended {
				t.Errorf("the absent server is gone: %v", isGone)
			}
		})
	}
}

// TestAProbeHoldsNoChangeUp: a probe is due at the moment at which the change is announced. To
// confirm the change first would delay it for all servers.
func TestAProbeHoldsNoChangeUp(t *testing.T) {
	n, key := newTestNotifier(t)
	now := time.Now()
	v := newServers(n, User{}, now)
	v.discovering = false
	v.byName["n"] = &server{name: "n", id: "N", state: silent, probeAt: now}
	p := newAnnouncements(n, v)
	p.add(n.outbox.PendingFor(key))
	if batch := p.take(now); len(batch) != 1 || batch[0].purpose.confirms() {
		t.Errorf("sent: %+v", batch)
	}
}
