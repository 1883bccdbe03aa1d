package monitor_test

import (
	"slices"
	"strings"
	"testing"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/monitor"
)

func TestTheLastChangesAndRefusalsAreRemembered(t *testing.T) {
	w := newWorld(t)
	a, b := jwttest.AccountKey(t), jwttest.AccountKey(t)
	decide := func(key, result, reason string, words ...string) {
		e := accounts.Event{Account: key, Result: result, Reason: reason, Issuer: strings.Repeat("O", 999)}
		for _, text := range words {
			e.Changes = append(e.Changes, claimdiff.Change{Words: text})
		}
		w.metrics.Decided(e)
	}
	decide(a, accounts.Accepted, "", "first")
	decide(a, accounts.Unchanged, "")
	for range 1000 { // any client can do that
		decide(b, accounts.Refused, "older")
	}
	decide("", accounts.Refused, "too-large")
	decide(strings.Repeat("x", 9999), accounts.Refused, "mismatch")
	decide("454QAMTYJTOI5FN7CHXOXMIDMBK3OMNYC47VHGCERG73C2JNVPUA====", accounts.Accepted, "")
	decide(a, accounts.Deleted, "", "gone")
	changesOf := func(key string) []monitor.Past {
		return slices.DeleteFunc(w.monitor.Changes(), func(p monitor.Past) bool { return p.Account != key })
	}
	if got := changesOf(a); len(got) != 2 || got[0].Changes[0].Words != "gone" ||
		got[1].Changes[0].Words != "first" || got[1].At.IsZero() || len(got[1].Issuer) > 60 {
		t.Errorf("%+v", got)
	}
	if got := w.monitor.Refusals(); len(got) != 256 || got[0].Reason != "too-large" || got[1].Account != b {
		t.Errorf("%+v", got)
	}
	for range 300 {
		decide(b, accounts.Accepted, "")
	}
	if got, all := changesOf(a), w.monitor.Changes(); len(got) != 0 || len(all) != 256 {
		t.Errorf("%d of %d are of the account", len(got), len(all))
	}
}
