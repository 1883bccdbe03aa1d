package notifier_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestServersBefore210AreFound although they do not answer PING.IDZ, and none that is there is
// taken for gone.
func TestServersBefore210AreFound(t *testing.T) {
	current, old := fake("new", "N1", "jwt updated"), fake("old", "N2", "jwt updated")
	current.version, old.version = "2.10.29", "2.9.25"
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(10 * time.Minute)
		known, bad := e.outbox.Servers(),
			e.log.Count("is gone")+e.log.Count("no nats-server answers")
		if !slices.Equal(known, []string{"old"}) || bad > 0 {
			t.Errorf("known: %v\n%s", known, e.log)
		}
		e.set(current, old)
		time.Sleep(time.Minute)
		e.push(t, e.key)
		time.Sleep(time.Second)
		r := e.report(e.key)
		if len(r) != 2 || !r[0].Acked || !r[1].Acked ||
			r[0].Version != "2.10.29" || r[1].Version != "2.9.25" {
			t.Errorf("%+v", r)
		}
		e.set(current)
		time.Sleep(time.Minute)
		if e.log.Count("nats-server old is gone") != 1 {
			t.Error(e.log)
		}
		e.takeAsked()
		time.Sleep(10 * time.Minute)
		asked, pings := e.takeAsked(), 0
		for _, subject := range asked {
			if subject == "$SYS.REQ.SERVER.PING" {
				pings++
			}
		}
		if pings > 3 || len(asked) > 25 {
			t.Errorf("%d requests in ten minutes, %d of them the expensive one", len(asked), pings)
		}
	}, old)
}

func TestAServerThatGoesIsNotWaitedForAndWhatItMissesStaysPending(t *testing.T) {
	one, two := fake("n1", "N1", "jwt updated"), fake("n2", "N2", "jwt updated")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		wantDelivery := func(want string) {
			t.Helper()
			if got := e.notifier.Delivery(e.key).String(); got != want {
				t.Errorf("says %q, want %q", got, want)
			}
		}
		wantDelivery("acknowledged by 2 of 2 nats-servers")
		e.set(one)
		seq := e.push(t, e.key)
		time.Sleep(15 * time.Second) // a round of PING finds out
		wantDelivery("acknowledged by 1 of 1 nats-server")
		left := e.outbox.Pending()
		if len(left) != 1 || !e.outbox.IsPending("n2", seq) || e.outbox.IsPending("n1", seq) {
			t.Errorf("pending: %v", left)
		}
	}, one, two)
}

// TestAServerThatAppearsDuringAnAttemptIsNotSilent: it may not have got that announcement.
func TestAServerThatAppearsDuringAnAttemptIsNotSilent(t *testing.T) {
	deaf, late := fake("deaf", "N1", ""), fake("late", "N2", "jwt updated")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		seq := e.push(t, e.key)
		time.Sleep(time.Second)
		e.set(deaf, late)
		e.heartbeat("late", "N2")
		time.Sleep(10 * time.Second)
		if e.outbox.IsPending("late", seq) || !e.outbox.IsPending("deaf", seq) {
			t.Error("the new server has not got the change, or the other one has")
		}
		if e.log.Count("late does not answer") != 0 || e.log.Count("deaf does not answer") != 1 {
			t.Error(e.log)
		}
	}, deaf)
}

// TestWithoutAKnownServerTheOldestChangeIsStillAnnounced: a user may be allowed to publish updates,
// but not to ask which servers are there.
func TestWithoutAKnownServerTheOldestChangeIsStillAnnounced(t *testing.T) {
	withFakeEnv(t, func(t *testing.T, e *fakeEnv) {
		before := e.put(t, e.key, "committed before the session")
		e.serve()
		time.Sleep(time.Minute)
		if n := len(e.times(e.key)); n < 3 || n > 10 {
			t.Errorf("it was announced %d times in a minute", n)
		}
		if !e.outbox.IsPending("n1", before) {
			t.Error("without an answer it is not pending any more")
		}
		e.set(fake("n1", "N1", "jwt updated"))
		e.heartbeat("n1", "N1")
		time.Sleep(time.Minute)
		if e.outbox.IsPending("n1", before) || len(e.outbox.Pending()) != 0 {
			t.Errorf("pending: %v", e.outbox.Pending())
		}
	})
}

// TestTwoServersOfOneName are two: what one acknowledges the other may lack.
func TestTwoServersOfOneName(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(time.Minute) // two rounds show that it is no restart
		e.push(t, e.key)
		time.Sleep(time.Minute)
		d := e.notifier.Delivery(e.key)
		if d.Acked != 1 || d.NeverAnswered != 1 ||
			e.log.Count("two nats-servers are called n") != 1 {
			t.Errorf("%+v\n%s", d, e.log)
		}
	}, fake("n", "N1", "jwt updated"), fake("n", "N2", ""))
}

// TestARestartInTheMiddleOfARoundIsNoSecondServer: the old process has answered, then the new one
// does.
func TestARestartInTheMiddleOfARoundIsNoSecondServer(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		for i := range 50 {
			time.Sleep(30*time.Second + time.Duration(i)*time.Millisecond/5)
			id := fmt.Sprint("N", i+2)
			e.set(fake("n", id, "jwt updated"))
			e.heartbeat("n", id)
		}
		time.Sleep(time.Minute)
		got := e.outbox.Servers()
		if !slices.Equal(got, []string{"n"}) || e.log.Count("two nats-servers") > 0 {
			t.Errorf("known: %v\n%s", got, e.log)
		}
	}, fake("n", "N1", "jwt updated"))
}

// TestARestartIsNoticedByTheID, and what the new process is decides what it still needs.
func TestARestartIsNoticedByTheID(t *testing.T) {
	for _, c := range []struct {
		name, says string
		loaded     int  // of 200 accounts
		hides      bool // it does not say which
		announced  int  // of 200 changes that it missed
	}{
		{"it fetches; one announcement shows that", "jwt update skipped", 0, false, 1},
		{"it fetches, and has fetched some", "jwt update skipped", 50, false, 51},
		{"it fetches, and does not say what it has", "jwt update skipped", 0, true, 201},
		{"it may keep JWTs", "jwt updated", 0, false, 200},
		{"it is a cache", "jwt updated cache", 0, false, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := realKeys(t, 200)
			withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
				time.Sleep(time.Second)
				e.set()
				time.Sleep(2 * time.Minute)
				for _, k := range keys {
					if seq := e.put(t, k, "jwt"); !e.outbox.IsPending("n", seq) {
						t.Fatal("it is not pending")
					}
				}
				time.Sleep(time.Minute)
				after := fake("n", "N2", c.says)
				after.loaded, after.hides = keys[200-c.loaded:], c.hides
				e.set(after)
				time.Sleep(2 * time.Minute)
				if n := len(e.outbox.Pending()); n != 0 {
					t.Errorf("%d changes are still pending", n)
				}
				if n, _ := e.counted(); n < c.announced-1 || n > c.announced {
					t.Errorf("%d announcements", n)
				}
			}, fake("n", "N1", "jwt updated"))
		})
	}
}

// TestAnUnknownServerGetsEverything, also one that has just started and fetches.
func TestAnUnknownServerGetsEverything(t *testing.T) {
	keys := realKeys(t, 50)
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(time.Minute)
		for _, k := range keys {
			e.put(t, k, "jwt")
		}
		time.Sleep(time.Minute)
		e.set(fake("n", "N1", "jwt update skipped"))
		time.Sleep(2 * time.Minute)
		n, _ := e.counted()
		accounts, left := len(e.carried()), len(e.outbox.Pending())
		if n < 50 || accounts != 50 || left != 0 {
			t.Errorf("%d announcements of %d accounts, %d still pending", n, accounts, left)
		}
	})
}

// TestAServerAbsentForThreeDaysIsForgotten. Only the time counts for which a session could see that
// it is absent; what a clock said when it was seen last does not.
func TestAServerAbsentForThreeDaysIsForgotten(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		e.outbox.Register("seen years ago, by the clock", time.Unix(0, 0))
		e.outbox.Register("seen tomorrow, by the clock", time.Now().Add(24*time.Hour))
		e.outbox.Register("away", time.Now())
		e.outbox.AddAbsence("away", 60*time.Hour)
		known := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after) // of the test clock
			if got := e.outbox.Servers(); len(got) != want {
				t.Errorf("known: %v", got)
			}
		}
		known(11*time.Hour, 4)
		e.stop()
		time.Sleep(time.Hour * 24 * 30) // while there is no session, no server can be seen
		e.serve()
		known(10*time.Minute, 4)
		known(time.Hour, 3)
		known(59*time.Hour, 3)
		known(2*time.Hour, 1)
		known(100*time.Hour, 1)
		if n := e.log.Count("has not been seen for 72h0m0s and is forgotten"); n != 3 {
			t.Errorf("logged %d times", n)
		}
	}, fake("here", "", "jwt updated"))
}

func TestForgetIsConfigurable(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		e.notifier.SetForget(10 * time.Minute)
		time.Sleep(time.Minute)
		e.set()
		e.push(t, e.key)
		time.Sleep(9 * time.Minute)
		if got := e.outbox.Servers(); len(got) != 1 {
			t.Errorf("known: %v", got)
		}
		time.Sleep(3 * time.Minute)
		got := e.outbox.Servers()
		if len(got) != 0 || e.log.Count("has not been seen for 10m0s and is forgotten") != 1 {
			t.Errorf("known: %v\n%s", got, e.log)
		}
	}, fake("n", "N1", "jwt updated"))
}

// TestOtherAccountServersAreNoNATSServers: they answer updates too, but nothing is pending for
// them.
func TestOtherAccountServersAreNoNATSServers(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.push(t, e.key)
		time.Sleep(10 * time.Second)
		if names := e.outbox.Servers(); len(names) != 1 || names[0] != "n1" {
			t.Errorf("known are %q", names)
		}
	}, fake("n1", "N1", "jwt updated"), fake("nats-account-server", "N2", "Updated jwt"))
}

// TestInventedServersAreBounded: a user of the system account answers PING as very many. The real
// ones are not forgotten for that, and another real one is let in as soon as it answers an update.
func TestInventedServersAreBounded(t *testing.T) {
	first, second := fake("first", "N1", "jwt updated"), fake("second", "N2", "jwt updated")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.push(t, e.key)
		time.Sleep(10 * time.Second)
		for round := range 2 {
			for i := range 6000 {
				e.heartbeat(fmt.Sprint("x", round, "-", i), fmt.Sprint("X", round, "-", i))
			}
			time.Sleep(time.Minute)
		}
		e.set(first, second)
		seq := e.push(t, e.key)
		time.Sleep(5 * time.Minute)
		if e.outbox.IsPending("first", seq) || e.outbox.IsPending("second", seq) {
			t.Error("the change is pending for a real nats-server")
		}
		known, lines := e.outbox.Servers(), e.log.Count("\n")
		if len(known) > 4096 || !slices.Contains(known, "first") ||
			!slices.Contains(known, "second") {
			t.Errorf("%d servers are known", len(known))
		}
		if lines > 2000 || e.log.Count("too many nats-servers answer") != 1 {
			t.Errorf("%d lines are logged, %d say why", lines,
				e.log.Count("too many nats-servers answer"))
		}
	}, first)
}

// TestAServerThatIsAwayIsOnlyAsked: it may get a newer JWT from another program meanwhile. So no
// update may be on its way when it comes back.
func TestAServerThatIsAwayIsOnlyAsked(t *testing.T) {
	n, other := fake("n", "N1", "jwt updated"), fake("m", "M1", "jwt updated")
	other.runs = "jwt"
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.set(other)
		e.push(t, e.key)
		time.Sleep(9 * time.Second)
		asked := 0
		for _, subject := range e.takeAsked() {
			if subject == "$SYS.REQ.SERVER.PING.ACCOUNTZ" {
				asked++
			}
		}
		if updates, _ := e.counted(); updates != 1 || asked == 0 {
			t.Errorf("announced %d times, asked %d times", updates, asked)
		}
		n.runs = "jwt"
		e.set(n, other)
		e.heartbeat("n", "N1")
		time.Sleep(5 * time.Second)
		if last := e.outbox.PendingFor(e.key); last.Seq != 0 {
			t.Errorf("pending: %v", last)
		}
		if updates, _ := e.counted(); updates != 1 {
			t.Errorf("announced %d times", updates)
		}
	}, n, other)
}
