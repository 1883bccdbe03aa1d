package accounts_test

import (
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
)

// TestAnnounce announces what is stored, at most every five seconds, and only if there is NATS.
func TestAnnounce(t *testing.T) {
	e := newEnv(t)
	system, _ := e.withSystem(t)
	e.registry = accounts.New(e.options(t, func(o *accounts.Options) { o.Trust = system }))
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.signed(t, a, 0))
	announce := func(key string, want error, count int) {
		t.Helper()
		wantError(t, e.registry.Announce(t.Context(), key), want)
		if n := e.announcer.count(); n != count {
			t.Errorf("announced %d times, want %d", n, count)
		}
	}
	e.committer.touchErr = errFull
	announce(a.ID, accounts.ErrAnnounce, 0)
	e.committer.touchErr = nil
	announce(a.ID, nil, 1) // a failure does not count
	announce(a.ID, nil, 1)
	e.now = e.now.Add(5 * time.Second)
	announce(a.ID, nil, 2)
	announce(e.op.System.ID, nil, 3) // it is configured, and not stored
	e.now = e.now.Add(time.Minute)
	e.announcer.delivery.State = accounts.NotConfigured
	announce(a.ID, nil, 3)
	if !strings.Contains(e.log.String(), "skipping notification for "+a.ID[:12]+", no NATS configured") {
		t.Errorf("it logs %s", e.log)
	}
}

// TestAPushSaysWhetherThereIsNATS in the log; other ways in do not.
func TestAPushSaysWhetherThereIsNATS(t *testing.T) {
	e := newEnv(t)
	e.announcer.delivery = accounts.Delivery{}
	a := jwttest.NewAccount(t)
	if _, err := e.registry.Put(t.Context(), a.ID, e.signed(t, a, 0), fromFile); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(e.log.String(), "skipping") {
		t.Errorf("it logs %s", e.log)
	}
	result, err := e.push(a.ID, e.signed(t, a, time.Second))
	if err != nil || !strings.Contains(e.log.String(), "skipping notification") {
		t.Errorf("%v; it logs %s", err, e.log)
	}
	if got := result.Receipt.Wait(t.Context()).String(); got != "NATS is not configured" {
		t.Errorf("the receipt says %s", got)
	}
}

// TestAnUnchangedPushThatCantBeAnnounced is a failed push.
func TestAnUnchangedPushThatCantBeAnnounced(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.signed(t, a, 0)
	e.mustPush(t, a.ID, token)
	e.committer.touchErr = errFull
	_, err := e.push(a.ID, token)
	wantError(t, err, accounts.ErrSave)
	if last := e.events[len(e.events)-1]; last.Result != accounts.Refused ||
		last.Reason != "save-failed" {
		t.Errorf("observed %+v", last)
	}
}

// TestAReportIsTheAnnouncers.
func TestAReportIsTheAnnouncers(t *testing.T) {
	e := newEnv(t)
	e.announcer.report = accounts.Report{Servers: []accounts.ServerReport{{Name: "n1"}}}
	if got := e.registry.Report(t.Context(), "", true); len(got.Servers) != 1 {
		t.Errorf("it reports %+v", got)
	}
}

// TestManyAccountsAreRemembered as announced, but not for longer than needed.
func TestManyAccountsAreRemembered(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	e.plant(t, a.ID, e.signed(t, a, 0))
	for i := range 5000 { // of accounts that are not stored; more than are remembered
		_ = e.registry.Announce(t.Context(), strings.Repeat("A", i))
		e.now = e.now.Add(10 * time.Millisecond)
	}
	for range 2 {
		wantError(t, e.registry.Announce(t.Context(), a.ID), nil)
	}
	if n := e.announcer.count(); n != 1 {
		t.Errorf("announced %d times", n)
	}
}

func TestWhatIsSaidAboutDelivery(t *testing.T) {
	for want, d := range map[string]accounts.Delivery{
		"NATS is not configured":                         {State: accounts.NotConfigured},
		"NATS is not connected: will be sent when it is": {State: accounts.NotConnected},
		"acknowledged by 3 of 3 nats-servers":            {State: accounts.Sent, Acked: 3, Servers: 3},
		"1 of 3 nats-servers outstanding":                {State: accounts.Sent, Acked: 2, Servers: 3},
	} {
		if got := d.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAnUnchangedPushIsAnnouncedOncePerFiveSeconds(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.op.Account(t, a)
	push := func() { _, err := e.push(a.ID, token); wantError(t, err, nil) }
	push() // the change itself
	for range 3 {
		push()
	}
	if n := e.announcer.count(); n != 2 {
		t.Fatalf("announced %d times, want the change and one repetition", n)
	}
	e.now = e.now.Add(5 * time.Second)
	push()
	if n := e.announcer.count(); n != 3 {
		t.Errorf("announced %d times after five seconds, want 3", n)
	}
}
