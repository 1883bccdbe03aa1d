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
	if !strings.Contains(e.log.String(),
		"skipping notification for "+a.ID[:12]+", no NATS configured") {
		t.Errorf("it logs %s", e.log)
	}
}

// TestANewConfiguredSystemAccountIsAnnouncedAtTheStart, if it is newer than that of an earlier
// process.
func TestANewConfiguredSystemAccountIsAnnouncedAtTheStart(t *testing.T) {
	e := newEnv(t)
	system, _ := e.withSystem(t)
	for _, step := range []struct {
		age             time.Duration
		announced, told int // what was announced, and warned of, so far
	}{{time.Hour, 0, 0}, {time.Hour, 0, 0}, {time.Minute, 1, 0}, {time.Minute, 1, 0},
		{time.Hour, 1, 1}} {
		sys := *system.System
		sys.IssuedAt = e.now.Add(-step.age).Unix()
		start := system
		start.System = &sys
		accounts.New(e.options(t, func(o *accounts.Options) { o.Trust = start }))
		warned := strings.Count(e.log.String(), "is older than one that was accepted before")
		if n := e.announcer.count(); n != step.announced || warned != step.told {
			t.Errorf("issued %s ago: announced %d times, warned %d times", step.age, n, warned)
		}
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
	if got := result.Receipt.Wait(t.Context(), accounts.UsualWait).String(); got != "NATS is not configured" {
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
	refused := func(servers, reason string) (all []accounts.Refusal) {
		for name := range strings.FieldsSeq(servers) {
			all = append(all, accounts.Refusal{Server: name, Reason: reason})
		}
		return all
	}
	mixed := append(refused("n1", "no"), append(refused("n2", "what"), refused("n3", "no")...)...)
	one, three, many := refused("n1", "no"), refused("n1 n2 n3", "no"),
		refused("n1 n2 n3 n4 n5 n6 n7", "no")
	sent := func(servers, acked, notInUse int, refused ...accounts.Refusal) accounts.Delivery {
		return accounts.Delivery{State: accounts.Sent, Servers: servers,
			Acked: acked, NotInUse: notInUse, Refused: refused}
	}
	for want, d := range map[string]accounts.Delivery{
		"NATS is not configured":                         {State: accounts.NotConfigured},
		"NATS is not connected: will be sent when it is": {State: accounts.NotConnected},
		"acknowledged by 3 of 3 nats-servers": {State: accounts.Sent,
			Acked: 3, Servers: 3},
		"2 of 3 acknowledged so far": {State: accounts.Sent, Acked: 2, Servers: 3},
		"not announced: the NATS user belongs to the account AU, and nats-servers take updates " +
			"from the system account only, AS": {State: accounts.WrongAccount,
			User: "AU", System: "AS"},
		"no nats-server has answered yet": {
			State: accounts.Sent, New: 2, NeverAnswered: 1},
		"0 of 3 acknowledged so far":                                     sent(3, 0, 0),
		"0 of 3 acknowledged so far, not in use on 2":                    sent(3, 0, 2),
		"not in use on any of 3 nats-servers":                            sent(3, 0, 3),
		"acknowledged by 2 of 3 nats-servers, not in use on 1":           sent(3, 2, 1),
		"refused by n1: no":                                              sent(1, 0, 0, one...),
		"refused by n1, n2, n3: no":                                      sent(3, 0, 0, three...),
		"refused by n1, n3: no; refused by n2: what":                     sent(3, 0, 0, mixed...),
		"refused by n1, n2, n3, n4, n5: no; and by 2 more":               sent(7, 0, 0, many...),
		"acknowledged by 2 of 3 nats-servers; refused by n1: no":         sent(3, 2, 0, one...),
		"not in use on 2 of 3 nats-servers; refused by n1: no":           sent(3, 0, 2, one...),
		"1 of 4 acknowledged so far, not in use on 1; refused by n1: no": sent(4, 1, 1, one...),
		"none of 2 nats-servers has ever answered an account update": {
			State: accounts.Sent, NeverAnswered: 2},
		"the only nats-server has never answered an account update": {
			State: accounts.Sent, NeverAnswered: 1},
		"acknowledged by 1 of 1 nats-server": {
			State: accounts.Sent, Servers: 1, Acked: 1, NeverAnswered: 2},
		"not in use on the only nats-server": sent(1, 0, 1),
		"acknowledged by 2 of 2 nats-servers; 1 more has not answered yet": {
			State: accounts.Sent, Servers: 2, Acked: 2, New: 1, NeverAnswered: 1},
		"refused by n1: no; 2 more have not answered yet": {
			State: accounts.Sent, Servers: 1, Refused: one, New: 2},
	} {
		if got := d.String(); got != want || d.Summary() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	d := sent(3, 2, 1)
	if d.Settled = 2; d.Summary() != "nothing is pending for 3 of 3 nats-servers" {
		t.Errorf("after a restart: %q", d.Summary())
	}
	d = sent(3, 2, 0, one...)
	want := "nothing is pending for 2 of 3 nats-servers; refused by n1: no"
	if d.Settled = 1; d.Summary() != want {
		t.Errorf("after a restart and a refusal: %q", d.Summary())
	}
}

// TestAnUnchangedPushFollowsTheAnnouncement, also if it does not cause one.
func TestAnUnchangedPushFollowsTheAnnouncement(t *testing.T) {
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	token := e.op.Account(t, a)
	e.announcer.delivery = accounts.Delivery{State: accounts.Sent, Servers: 1}
	e.announcer.later = accounts.Delivery{State: accounts.Sent, Servers: 1, Acked: 1}
	for range 3 {
		result, err := e.push(a.ID, token)
		wantError(t, err, nil)
		got := result.Receipt.Wait(t.Context(), time.Second).String()
		if got != "acknowledged by 1 of 1 nats-server" {
			t.Errorf("the answer does not wait: %q", got)
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
