package resolver_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwttest"
)

// clocks says what the clock of each nats-server shows now and what it showed when its process
// started. It is given the true times. nil stands for clocks that are right.
type clocks func(start, now time.Time) (shownStart, shownNow time.Time)

// clockConn is a connection to nats-servers with such clocks. All nats-servers of a test run in its
// process and share its clock. All that an account server learns of their clocks are the times in
// their answers, and here these are replaced.
type clockConn struct {
	*nats.Conn
	clocks clocks
}

func (c clockConn) Subscribe(subject string, handle nats.MsgHandler) (*nats.Subscription, error) {
	return c.Conn.Subscribe(subject, func(m *nats.Msg) {
		if c.clocks != nil {
			m.Data = c.clocks.replace(m.Data)
		}
		handle(m)
	})
}

// replace replaces the times in an answer to PING or in a heartbeat.
func (c clocks) replace(data []byte) []byte {
	var times struct {
		Server struct{ Time time.Time }
		Statsz struct{ Start time.Time }
	}
	var answer map[string]map[string]any
	if json.Unmarshal(data, &times) != nil || json.Unmarshal(data, &answer) != nil ||
		times.Statsz.Start.IsZero() {
		return data
	}
	answer["statsz"]["start"], answer["server"]["time"] = c(times.Statsz.Start, times.Server.Time)
	data, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return data
}

// Two changes are committed while NATS is away. The nats-server lacks one account, so it will fetch
// it, and runs the other. Whatever clocks say about its start, it does not run the second change.
func TestNoClockExcusesANatsServerFromAChange(t *testing.T) {
	t.Parallel()
	ahead := func(_, now time.Time) (time.Time,
		time.Time) {
		return now.Add(-time.Millisecond), now
	}
	behind := func(start, now time.Time) (time.Time,
		time.Time) {
		return start.Add(-20 * time.Second), now
	}
	setBack := func(start, _ time.Time) (time.Time, time.Time) {
		return start, start.Add(time.Millisecond)
	}
	for name, row := range map[string]struct {
		clock      clocks
		natsServer bool // is restarted before the changes
		ours       bool // the account server is restarted after the changes
	}{
		"right, the account server restarted":                    {ours: true},
		"right, both restarted":                                  {ours: true, natsServer: true},
		"ahead at the start, corrected since":                    {clock: ahead},
		"ahead at the start, corrected since, restarted":         {clock: ahead, natsServer: true},
		"behind at the start, corrected since, restarted":        {clock: behind, natsServer: true},
		"right at the start, set back since, ours was restarted": {clock: setBack, ours: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newFetchingCluster(t, 1, nil)
			a := c.newLoaded(t, 300)
			c.disconnect()
			if row.natsServer {
				c.restart(t, 0)
				creds, _ := a.User(t)
				if !connects(t, c.mesh.Servers[0], creds) {
					t.Fatal("a client can't connect")
				}
			}
			other, newer := jwttest.NewAccount(t), c.signed(t, a, 100)
			c.push(t, other.ID, c.signed(t, other, 100))
			c.push(t, a.ID, newer)
			if row.ours {
				c.accountServer = newServer(t, c.environment, c.store)
			}
			c.clocks = row.clock
			c.connect(t)
			c.eventuallyDelivered(t, a.ID, 1)
			if got := runs(t, c.nc, c.nats, a.ID); string(got) != string(newer) {
				t.Error("it counts as delivered, but the nats-server runs another one")
			}
		})
	}
}
