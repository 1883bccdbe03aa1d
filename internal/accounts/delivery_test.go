package accounts_test

import (
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
)

// TestEachServerIsCountedOnce: a nats-server that answers is one of those that have acknowledged, do
// not use the account, have refused or have not answered. The others do not count in "n of m".
func TestEachServerIsCountedOnce(t *testing.T) {
	for state, want := range map[accounts.ServerState]accounts.Delivery{
		accounts.ServerSettled:       {Servers: 1, Acked: 1, Settled: 1},
		accounts.ServerAcknowledged:  {Servers: 1, Acked: 1},
		accounts.ServerNotInUse:      {Servers: 1, NotInUse: 1},
		accounts.ServerRefused:       {Servers: 1, Refused: []accounts.Refusal{{Server: "n", Reason: "no"}}},
		accounts.ServerUnanswered:    {Servers: 1},
		accounts.ServerNew:           {New: 1},
		accounts.ServerNeverAnswered: {NeverAnswered: 1},
	} {
		d := accounts.Delivery{State: accounts.Sent}
		d.Count("n", state, "no")
		want.State = accounts.Sent
		if d.Summary() != want.Summary() || d.Servers != want.Servers || d.New != want.New ||
			d.NeverAnswered != want.NeverAnswered || d.Settled != want.Settled {
			t.Errorf("%s: %+v, want %+v", state, d, want)
		}
		isUnanswered := state == accounts.ServerUnanswered
		if d.Unanswered() > 0 != isUnanswered || state.IsAcknowledged() != (d.Acked == 1) {
			t.Errorf("%s: %d have not answered, acknowledged: %v", state, d.Unanswered(),
				state.IsAcknowledged())
		}
		if got := d.Wait(t.Context(), time.Hour); got.Summary() != d.Summary() {
			t.Errorf("%s: after a wait %s", state, got.Summary())
		}
	}
}

// TestAPartThatIsNotInEffectIsNamed with the nats-server and the reason, on one line.
func TestAPartThatIsNotInEffectIsNamed(t *testing.T) {
	d := accounts.Delivery{State: accounts.Sent, Servers: 2, Acked: 2}
	if d.NotInEffect() != "" {
		t.Errorf("%q", d.NotInEffect())
	}
	d.Partly = []accounts.Refusal{{Server: "n1", Reason: "an import\nis missing"}}
	const want = "acknowledged by 2 of 2 nats-servers; not wholly in effect on n1: an import"
	if got := d.String(); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
	d.Settled = 2
	if got := d.Summary(); !strings.HasSuffix(got, d.NotInEffect()) {
		t.Errorf("%q lacks %q", got, d.NotInEffect())
	}
}
