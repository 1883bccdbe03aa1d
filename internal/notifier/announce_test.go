package notifier_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/notifier"
)

// TestThousandsOfPushesDoNotFlood although one of the nats-servers does not answer.
func TestThousandsOfPushesDoNotFlood(t *testing.T) {
	good, deaf := fake("good", "NG", "jwt updated"), fake("deaf", "ND", "")
	const pushes = 3000
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		keys := realKeys(t, pushes)
		time.Sleep(time.Second)
		began := time.Now()
		var last uint64
		for _, k := range keys {
			last = e.push(t, k)
		}
		for e.outbox.IsPending("good", last) {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the nats-server that answers had to wait for %s", took)
		}
		updates, inFlight := e.counted()
		if inFlight > 128 {
			t.Errorf("%d announcements were in flight at once", inFlight)
		}
		time.Sleep(10 * time.Minute)
		if after, _ := e.counted(); after-updates > 30 {
			t.Errorf("%d announcements in ten minutes to one that does not answer", after-updates)
		}
		if n := len(e.outbox.Pending()); n != pushes {
			t.Errorf("%d changes are pending for it", n)
		}
		e.set(good, fake("deaf", "ND", "jwt updated"))
		time.Sleep(time.Minute)
		if n := len(e.outbox.Pending()); n != 0 {
			t.Errorf("%d changes are pending although it answers again", n)
		}
		if _, inFlight := e.counted(); inFlight > 128 {
			t.Errorf("%d announcements were in flight at once", inFlight)
		}
	}, good, deaf)
}

// TestAnAnnouncementCarriesWhatIsStoredWhenItIsSent, not what was stored when it was queued.
func TestAnAnnouncementCarriesWhatIsStoredWhenItIsSent(t *testing.T) {
	keys := realKeys(t, 300)
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(time.Second)
		for _, k := range keys {
			e.push(t, k) // refused, so that it waits to be announced again
		}
		time.Sleep(100 * time.Millisecond)
		for _, k := range keys {
			e.notifier.Announce(k, e.put(t, k, "newer"))
		}
		e.set(fake("n", "N1", "jwt updated"))
		time.Sleep(time.Hour)
		got := e.carried()
		for _, k := range keys {
			if n := len(got[k]); n < 2 || got[k][0] != "jwt" || slices.Contains(got[k][1:], "jwt") {
				t.Errorf("announced %q", got[k])
			}
		}
	}, fake("n", "N1", "!no"))
}

// TestASkipRightAfterTheCommitDoesNotCount: the server may be fetching the account and have got the
// JWT of before.
func TestASkipRightAfterTheCommitDoesNotCount(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		r := e.notifier.Announce(e.key, e.put(t, e.key, "jwt"))
		if got := r.Wait(context.Background(), accounts.UsualWait).String(); got != notInUse {
			t.Errorf("says %q", got)
		}
		const reason = "it has not loaded the account: the update is sent again in a moment"
		if got := e.report(e.key)[0].Reason; got != reason {
			t.Errorf("the reason is %q", got)
		}
		began := time.Now()
		e.notifier.Drain(t.Context())
		if took := time.Since(began); took > 0 {
			t.Errorf("a stop waits for %s for what is sent later anyway", took)
		}
		time.Sleep(time.Minute)
		times := e.times(e.key)
		if len(times) != 2 {
			t.Fatalf("announced %d times", len(times))
		}
		if apart := times[1].Sub(times[0]); apart < 2500*time.Millisecond || apart > 6*time.Second {
			t.Errorf("announced again after %s, want 3 s", apart)
		}
		if got := e.notifier.Delivery(e.key).String(); got != notInUse {
			t.Errorf("then it says %q", got)
		}
	}, fake("n", "N1", "jwt update skipped"))
}

// TestNoServerIsLeftOutForWhatItAnsweredBefore it answered well.
func TestNoServerIsLeftOutForWhatItAnsweredBefore(t *testing.T) {
	for _, says := range []string{"", "-", "!no", "jwt update skipped",
		"jwt update cache skipped"} {
		for _, id := range []string{"N1", "N2"} { // the same process, or after a restart
			t.Run(says+" "+id, func(t *testing.T) {
				keys := realKeys(t, 20)
				withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
					time.Sleep(time.Second)
					for _, k := range keys {
						e.push(t, k)
					}
					time.Sleep(time.Second)
					e.set(fake("n", id, "jwt updated"))
					for _, k := range keys {
						e.connectClient("n", id, k)
					}
					time.Sleep(2 * time.Minute)
					if n := len(e.outbox.Pending()); n != 0 {
						t.Errorf("%d changes stay pending", n)
					}
				}, fake("n", "N1", says))
			})
		}
	}
}

func TestARefusalIsTriedAgainLessAndLess(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(time.Second)
		e.push(t, e.key)
		time.Sleep(time.Hour)
		if n, _ := e.counted(); n < 10 || n > 20 {
			t.Errorf("announced %d times in an hour", n)
		}
		if e.log.Count("refuses the update") != 1 {
			t.Error(e.log)
		}
		if r := e.report(e.key); len(r) != 1 || r[0].Acked || r[0].Reason != "no" {
			t.Errorf("%+v", r)
		}
	}, fake("n", "N1", "!no"))
}

// TestNoPushWaitsForAServerThatIsOverdue, but the first one does, and a line of the log says why.
func TestNoPushWaitsForAServerThatIsOverdue(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		if got := e.notifier.Delivery(e.key).String(); got != "acknowledged by 2 of 2 "+
			"nats-servers" {
			t.Errorf("at first it says %q", got)
		}
		began := time.Now()
		r := e.notifier.Announce(e.key, e.put(t, e.key, "jwt"))
		got := r.Wait(context.Background(), 1500*time.Millisecond).String()
		want := "acknowledged by 1 of 1 nats-server; 1 more has not answered yet"
		if took := time.Since(began); got != want || took != 1500*time.Millisecond {
			t.Errorf("says %q after %s", got, took)
		}
		time.Sleep(time.Second)
		if e.log.Count("nats-server deaf does not answer account updates") != 1 {
			t.Error(e.log)
		}
		began = time.Now()
		r = e.notifier.Announce(e.key, e.put(t, e.key, "newer"))
		// The other one answers after a millisecond.
		if r.Wait(context.Background(), accounts.UsualWait); time.Since(began) > time.Millisecond {
			t.Errorf("the second push waits for %s", time.Since(began))
		}
		time.Sleep(time.Second)
		if n := e.log.Count("deaf does not answer"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		got = e.notifier.Delivery(e.key).String()
		if got != "acknowledged by 1 of 1 nats-server" {
			t.Errorf("says %q", got)
		}
	}, fake("n", "N1", "jwt updated"), fake("deaf", "N2", ""))
}

// TestAProbeOfOneServerKeepsWhatOthersHaveAnswered: while one that does not answer is asked what it
// runs, nothing is known anew about the others.
func TestAProbeOfOneServerKeepsWhatOthersHaveAnswered(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.push(t, e.key)
		time.Sleep(2500 * time.Millisecond) // deaf is silent, and gets its first probe in half a second
		e.notifier.Announce(e.key, e.put(t, e.key, "newer"))
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			got := e.notifier.Delivery(e.key).String()
			if want := "not in use on the only nats-server"; got != want {
				t.Errorf("it says %q, want %q", got, want)
				break
			}
		}
	}, fake("n", "N1", "jwt update skipped"), fake("deaf", "N2", ""))
}

// TestAServerThatAnswersPINGIsStillOverdue: what counts is its answer to an update.
func TestAServerThatAnswersPINGIsStillOverdue(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		e.push(t, e.key)
		time.Sleep(10 * time.Second)
		if len(e.outbox.Pending()) != 0 {
			t.Fatal("it has not answered")
		}
		e.set(fake("n", "N1", ""))
		e.push(t, e.key)
		time.Sleep(time.Hour)
		if e.log.Count("n answers again") != 0 ||
			e.log.Count("n does not answer account updates") != 1 {
			t.Error(e.log)
		}
	}, fake("n", "N1", "jwt updated"))
}

// TestChangesHeardByAllAreNotAnnounced, unless a nats-server turns out not to run what it has
// heard.
func TestChangesHeardByAllAreNotAnnounced(t *testing.T) {
	for _, c := range []struct {
		name    string
		runs    []string // what the nats-servers run: "" is nothing, "-" no answer
		says    string   // the answer of the first of them to updates
		updates int
	}{
		{"all run it", []string{"jwt", "jwt"}, "jwt updated", 0},
		{"one that fetches has not loaded the account", []string{"", "jwt"},
			"jwt update skipped", 0},
		{"one that may keep JWTs has not loaded the account",
			[]string{"", "jwt"}, "jwt updated", 1},
		{"one runs another", []string{"older", "jwt"}, "jwt updated", 1},
		{"one does not say", []string{"-", "jwt"}, "jwt updated", 1},
		{"a cache has not loaded the account", []string{"", "jwt"}, "jwt updated cache", 1},
		{"a cache runs it", []string{"jwt", "jwt"}, "jwt updated cache", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, two := fake("n1", "N1", "jwt updated"), fake("n2", "N2", "jwt updated")
			one.says, one.runs, two.runs = c.says, c.runs[0], c.runs[1]
			withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
				time.Sleep(2 * time.Second)
				e.push(t, e.key) // shows what the nats-servers are
				time.Sleep(10 * time.Second)
				before, _ := e.counted()
				seq := e.hear(t, e.key)
				time.Sleep(10 * time.Second)
				if after, _ := e.counted(); after-before != c.updates {
					t.Errorf("announced %d times", after-before)
				}
				if e.outbox.IsPending("n1", seq) || e.outbox.IsPending("n2", seq) {
					t.Error("it is still pending")
				}
			}, one, two)
		})
	}
}

// TestAServerThatWasAwayGetsWhatTheOthersHaveHeard and only that server lacks.
func TestAServerThatWasAwayGetsWhatTheOthersHaveHeard(t *testing.T) {
	one, two := fake("n1", "N1", "jwt updated"), fake("n2", "N2", "jwt updated")
	one.runs, two.runs = "jwt", "older"
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.set(one)
		time.Sleep(2 * time.Minute) // n2 is missed
		seq := e.hear(t, e.key)
		time.Sleep(10 * time.Second)
		first, second := e.outbox.IsPending("n1", seq), e.outbox.IsPending("n2", seq)
		if n, _ := e.counted(); n != 0 || first || !second {
			t.Errorf("announced %d times, pending for n1: %v, for n2: %v", n, first, second)
		}
		e.set(one, two)
		time.Sleep(2 * time.Minute)
		if n, _ := e.counted(); n != 1 || e.outbox.IsPending("n2", seq) {
			t.Errorf("announced %d times, pending for n2: %v", n, e.outbox.IsPending("n2", seq))
		}
	}, one, two)
}

// TestAHeardChangeWaitsForAFetchThatIsOnItsWay: half a second after the commit the nats-server has
// not loaded the account, since it is just fetching the JWT of before.
func TestAHeardChangeWaitsForAFetchThatIsOnItsWay(t *testing.T) {
	server := fake("n", "N1", "jwt update skipped")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.push(t, e.key) // shows what the nats-server is
		time.Sleep(10 * time.Second)
		before, _ := e.counted()
		seq := e.hear(t, e.key)
		time.Sleep(1500 * time.Millisecond)
		if !e.outbox.IsPending("n", seq) {
			t.Error("it counts as delivered although the nats-server may be fetching")
		}
		fetched := *server
		fetched.runs, fetched.says = "older", "jwt updated"
		e.set(&fetched)
		time.Sleep(10 * time.Second)
		if after, _ := e.counted(); after == before || e.outbox.IsPending("n", seq) {
			t.Errorf("announced %d times; pending: %v", after-before, e.outbox.IsPending("n", seq))
		}
	}, server)
}

// TestServersOfOneBucketDoNotAnnounceAtOnce what another one of them has committed: each looks at a time of
// its own whether nats-servers have heard of it.
func TestServersOfOneBucketDoNotAnnounceAtOnce(t *testing.T) {
	const changes, spread, least = 40, 2 * time.Second, 500 * time.Millisecond
	server := fake("n", "N1", "jwt updated")
	server.runs = "older"
	var keys []string
	for range changes {
		keys = append(keys, jwttest.AccountKey(t))
	}
	withFakeEnv(t, func(t *testing.T, e *fakeEnv) {
		e.spread = spread
		e.restart()
		e.serve()
		time.Sleep(2 * time.Second)
		heard := time.Now()
		for _, key := range keys {
			e.hear(t, key)
		}
		time.Sleep(10 * time.Second)
		first, last := time.Hour, time.Duration(0)
		for _, key := range keys {
			times := e.times(key)
			if len(times) == 0 {
				t.Fatal("a change is not announced although the nats-server runs an older JWT")
			}
			first, last = min(first, times[0].Sub(heard)), max(last, times[0].Sub(heard))
		}
		if first < least || last > least+spread+time.Second || last-first < spread/2 {
			t.Errorf("the first is announced after %s, the last after %s", first, last)
		}
	}, server)
}

// restarted is an outbox after a restart of this process: it knows when its changes were committed
// only by what the clock said then.
type restarted struct {
	*jwtstore.Outbox
	skew time.Duration // by which the clock was ahead
}

func (o restarted) PendingOf(server string, after uint64, max int) []jwtstore.Change {
	all := o.Outbox.PendingOf(server, after, max)
	for i := range all {
		all[i].At = time.Unix(0, all[i].At.Add(o.skew).UnixNano())
	}
	return all
}

// TestTheClockOfACommitDoesNotCount after a restart: it may have been wrong then.
func TestTheClockOfACommitDoesNotCount(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour, 365 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			key := jwttest.AccountKey(t)
			synctest.Test(t, func(t *testing.T) {
				e := newFakeEnv(key, fake("n", "N1", "jwt update skipped"))
				e.outbox.Register("n", time.Now())
				seq := e.put(t, key, "jwt")
				e.notifier = notifier.New(notifier.Options{
					Outbox: restarted{e.outbox, skew}, Log: slog.New(slog.DiscardHandler),
					Index: e.store.Index(),
				})
				e.serve()
				time.Sleep(2 * time.Second)
				if !e.outbox.IsPending("n", seq) {
					t.Error("it is not known when it was committed, and it " +
						"counts as delivered at once")
				}
				time.Sleep(10 * time.Minute)
				n, _ := e.counted()
				if e.outbox.IsPending("n", seq) || n > 3 {
					t.Errorf("announced %d times; pending: %v", n, e.outbox.IsPending("n", seq))
				}
				e.stop()
			})
		})
	}
}
