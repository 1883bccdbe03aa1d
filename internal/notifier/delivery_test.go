package notifier_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestAChangeThatIsDeliveredAtLastHasALine, whatever kept it from being acknowledged, and any other
// has none.
func TestAChangeThatIsDeliveredAtLastHasALine(t *testing.T) {
	for says, lines := range map[string]int{
		"": 1, "!no": 1, "jwt updated": 0, "jwt update skipped": 0,
	} {
		t.Run(says, func(t *testing.T) {
			withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
				time.Sleep(2 * time.Second)
				e.push(t, e.key)
				time.Sleep(5 * time.Second)
				if e.log.Count("delivered at last") != 0 {
					t.Errorf("it is not delivered: %s", e.log)
				}
				e.set(fake("n1", "N1", "jwt updated"), fake("n2", "N2", "jwt updated"))
				time.Sleep(2 * time.Minute)
				e.push(t, e.key)
				time.Sleep(time.Minute)
				if n := e.log.Count("at last: every connected nats-server that uses"); n != lines {
					t.Errorf("%d lines: %s", n, e.log)
				}
			}, fake("n1", "N1", "jwt updated"), fake("n2", "N2", says))
		})
	}
}

// TestAPushWaitsForAServerThatWasOnlyAsked since the start: it has got by itself what was pending,
// and may answer like any other.
func TestAPushWaitsForAServerThatWasOnlyAsked(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.push(t, e.key)
		time.Sleep(time.Second)
		asked := fake("n", "N1", "!no")
		e.set(asked)
		e.push(t, e.key)
		time.Sleep(time.Second)
		e.stop()
		e.restart()
		asked.runs = "jwt"
		e.serve()
		time.Sleep(5 * time.Second)
		r := e.notifier.Announce(e.key, e.put(t, e.key, "newer"))
		got := r.Wait(context.Background(), accounts.UsualWait).String()
		if got != "refused by n: no" {
			t.Errorf("says %q", got)
		}
	}, fake("n", "N1", "jwt updated"))
}

// TestAPushWaitsForEachServerThatMayAnswer, and for one that is known not to answer only if the
// client asks for that.
func TestAPushWaitsForEachServerThatMayAnswer(t *testing.T) {
	good, deaf := fake("good", "N1", "jwt updated"), fake("deaf", "N2", "jwt updated")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		push := func(limit time.Duration, want string, wait time.Duration) {
			t.Helper()
			began := time.Now()
			r := e.notifier.Announce(e.key, e.put(t, e.key, "jwt"))
			got := r.Wait(context.Background(), limit).String()
			if took := time.Since(began); got != want || took != wait {
				t.Errorf("says %q after %s, want %q after %s", got, took, want, wait)
			}
		}
		const all, some = "acknowledged by 2 of 2 nats-servers", "1 of 2 acknowledged so far"
		push(accounts.UsualWait, all, time.Millisecond)
		push(10*time.Second, all, time.Millisecond)
		push(0, "0 of 2 acknowledged so far", 0)
		e.set(good, fake("deaf", "N2", ""))
		time.Sleep(time.Second)
		push(accounts.UsualWait, some, 52*time.Millisecond) // a round trip takes a millisecond
		time.Sleep(10 * time.Second)                        // now it is known
		push(accounts.UsualWait, some, time.Millisecond)
		push(4*time.Second, some, 4*time.Second)
		e.notifier.EndWaits()
		push(4*time.Second, "0 of 2 acknowledged so far", 0)
	}, good, deaf)
}

// TestAServerCountsFromItsFirstAnswer on, in this session or an earlier one.
func TestAServerCountsFromItsFirstAnswer(t *testing.T) {
	good, deaf := fake("good", "N1", "jwt updated"), fake("deaf", "N2", "")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		push := func(want string) {
			t.Helper()
			r := e.notifier.Announce(e.key, e.put(t, e.key, "jwt"))
			if got := r.Wait(context.Background(), accounts.UsualWait).String(); got != want {
				t.Errorf("says %q, want %q", got, want)
			}
		}
		again := func() {
			e.stop()
			e.restart()
			e.serve()
			time.Sleep(5 * time.Second) // it lets what is pending pass again
		}
		time.Sleep(2 * time.Second)
		push("acknowledged by 1 of 1 nats-server; 1 more has not answered yet")
		time.Sleep(5 * time.Second)
		push("acknowledged by 1 of 1 nats-server")
		again()
		push("acknowledged by 1 of 1 nats-server")
		e.set(good, fake("deaf", "N2", "!no"))
		time.Sleep(2 * time.Minute)
		push("acknowledged by 1 of 2 nats-servers; refused by deaf: no")
		e.set(good, deaf)
		again()
		push("1 of 2 acknowledged so far")
	}, good, deaf)
}

// TestAReportAfterARestartHasWhatIsRefused, which only the earlier process has been told.
func TestAReportAfterARestartHasWhatIsRefused(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.push(t, e.key)
		time.Sleep(time.Second)
		e.stop()
		e.restart()
		e.serve()
		synctest.Wait() // NATS is connected
		report := e.notifier.Report(context.Background(), e.key, false)
		want := "acknowledged by 1 of 2 nats-servers; refused by bad: no"
		if got := report.Delivery.Summary(); got != want {
			t.Errorf("says %q, want %q", got, want)
		}
		if got := report.Servers[0]; got.State != accounts.ServerRefused || got.Reason != "no" {
			t.Errorf("%+v", got)
		}
	}, fake("good", "N1", "jwt updated"), fake("bad", "N2", "!no"))
}

// TestNoServerThatCountsIsNotAll: none has answered an update before.
func TestNoServerThatCountsIsNotAll(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		r := e.notifier.Announce(e.key, e.put(t, e.key, "jwt"))
		got := r.Wait(context.Background(), accounts.UsualWait).String()
		if got != "no nats-server has answered yet" {
			t.Errorf("says %q", got)
		}
	}, fake("n1", "N1", ""), fake("n2", "N2", ""))
}

// TestWhatIsNotInUseIsNotAcknowledged, also after the change is settled, until the process ends.
func TestWhatIsNotInUseIsNotAcknowledged(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		want := func(state accounts.ServerState, summary string) {
			t.Helper()
			report := e.notifier.Report(context.Background(), e.key, false)
			if got := report.Servers[0].State; got != state ||
				report.Delivery.Summary() != summary {
				t.Errorf("it is %s, %q", got, report.Delivery.Summary())
			}
		}
		e.push(t, e.key)
		time.Sleep(time.Second)
		want(accounts.ServerNotInUse, notInUse)
		time.Sleep(time.Minute)
		if len(e.outbox.Pending()) != 0 {
			t.Error("it is still pending")
		}
		want(accounts.ServerNotInUse, notInUse)
		e.set(fake("n", "N1", "jwt updated"))
		e.push(t, e.key)
		time.Sleep(time.Second)
		want(accounts.ServerAcknowledged, "acknowledged by 1 of 1 nats-server")
		e.stop()
		e.restart()
		e.serve()
		time.Sleep(2 * time.Second)
		want(accounts.ServerSettled, "nothing is pending for 1 of 1 nats-server")
	}, fake("n", "N1", "jwt update skipped"))
}

// TestALeafNodeForMonitoringDoesNotCount: it answers PING and gets no updates.
func TestALeafNodeForMonitoringDoesNotCount(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	hub := e.memoryServer(t, "server_name: hub\nleafnodes { listen: \"127.0.0.1:-1\" }\n", a)
	connectUser(t, hub.ClientURL(), a)
	v, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	monitor := e.sysCreds(t, func(c *jwt.UserClaims) {
		c.Sub.Allow.Add("$SYS.REQ.SERVER.>", "$LDS.>")
		c.Pub.Allow.Add("$SYS.SERVER.>", "_INBOX.>")
	})
	other := jwttest.NewOperator(t)
	natstest.Start(t, natstest.MemoryConf(t, other,
		natstest.AnyPort+fmt.Sprintf("server_name: leaf\n"+
			"leafnodes { remotes [ { url: \"nats-leaf://127.0.0.1:%d\", "+
			"credentials: %q, account: %s } ] }\n",
			v.LeafNode.Port, jwttest.File(t, t.TempDir(), "monitor.creds",
				monitor), other.System.ID)))
	natstest.Eventually(t, "the leaf node is connected",
		func() bool { return hub.NumLeafNodes() == 1 })
	e.connect(t, hub.ClientURL(), e.sysCreds(t))
	natstest.Eventually(t, "both are known", func() bool { return len(e.outbox.Servers()) == 2 })
	e.commit(t, a)
	e.wantLog(t, "nats-server leaf does not answer account updates, and never "+
		"has (it may be a leaf node")
	for range 2 {
		line := e.commit(t, a).Wait(t.Context(), 10*time.Second).String()
		if line != "acknowledged by 1 of 1 nats-server" {
			t.Errorf("a push is told %q", line)
		}
	}
	for _, r := range e.notifier.Report(t.Context(), a.ID, false).Servers {
		if r.Name == "leaf" && (r.State != accounts.ServerNeverAnswered || r.Acked) {
			t.Errorf("it is %s", r.State)
		}
	}
}

// TestFarServersAreWaitedForALittleLonger: an answer takes 160 ms.
func TestFarServersAreWaitedForALittleLonger(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := jwttest.NewAccount(t)
	cluster := natstest.Cluster(t, 3, func(extra string) string {
		return natstest.MemoryConf(t, e.op, extra, a)
	})
	for _, s := range cluster {
		connectUser(t, s.ClientURL(), a)
	}
	relay := natstest.NewRelay(t, 0, cluster[0].ClientURL())
	relay.Delay(80 * time.Millisecond)
	e.connect(t, relay.URL(), e.sysCreds(t))
	natstest.Eventually(t, "all are known", func() bool { return len(e.outbox.Servers()) == 3 })
	var line string
	natstest.Eventually(t, "the push says that all have acknowledged it", func() bool {
		line = e.commit(t, a).Wait(t.Context(), accounts.UsualWait).String()
		return line == "acknowledged by 3 of 3 nats-servers"
	})
	if text := e.log.String(); strings.Contains(text, "does not answer") {
		t.Error(text)
	}
}
