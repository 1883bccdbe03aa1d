package pages

import (
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/monitor"
)

// A nats-server that has not answered an update and is there was called away, and connected beside it.
func TestANATSServerThatIsThereIsNotCalledAway(t *testing.T) {
	seen := time.Now().Add(-time.Minute)
	o := &overview{Now: time.Now(), IsConnected: true}
	o.addServers(monitor.Serverz{Total: 2, Servers: []monitor.Server{
		{Name: "mute", State: "silent", Here: true, Pending: 1, LastSeen: seen},
		{Name: "gone", State: "silent", Pending: 1, LastSeen: seen},
	}})
	n := &notes{now: o.Now}
	n.addServers(o)
	for i, want := range []struct{ state, tag, words string }{
		{"no answer", "No answer", "is there and does not answer"},
		{"away", "Away", "is away, heard"},
	} {
		body := string(n.all[i].Text)
		if got := o.Servers[i].Standing; got.Text != want.state || got.Class != warn {
			t.Errorf("%s: %v", o.Servers[i].Name, got)
		}
		if n.all[i].Tag != want.tag || !strings.Contains(body, want.words) {
			t.Errorf("%s: %s: %s", o.Servers[i].Name, n.all[i].Tag, body)
		}
	}
}
