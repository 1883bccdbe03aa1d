package notifier_test

import (
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/notifier"
)

// TestTheOverviewSaysWhatEachServerLacks, and for how long a server has been waited for.
func TestTheOverviewSaysWhatEachServerLacks(t *testing.T) {
	earlier := jwttest.AccountKey(t)
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(time.Minute)
		e.push(t, earlier)
		time.Sleep(time.Minute)
		e.set(fake("up to date", "U", "jwt updated"), fake("refuses", "R", "!no"),
			fake("cache", "C", "jwt update cache skipped"), fake("stuck", "S", ""))
		e.push(t, e.key)
		time.Sleep(10 * time.Second)
		v := e.notifier.Overview()
		want := map[string]notifier.ServerStanding{"up to date": notifier.InStep,
			"cache": notifier.Lagging, "refuses": notifier.Refusing, "stuck": notifier.Silent}
		if !v.Configured || !v.Connected || v.Pending != 1 || v.Refused != 1 ||
			len(v.Servers) != len(want) {
			t.Errorf("%+v", v)
		}
		for _, s := range v.Servers {
			if s.State != want[s.Name] || !s.Here || s.ID == "" ||
				s.Pending > 0 == (s.State == notifier.InStep) {
				t.Errorf("%s: %+v", s.State, s)
			}
			if isRefusing := s.Name == "refuses"; isRefusing != (s.Refusal.Reason == "no") {
				t.Errorf("%s: %+v", s.Name, s.Refusal)
			}
		}
		// Only the server that is stuck is waited for: the others have answered.
		committed := e.outbox.PendingFor(e.key).At
		if !v.Oldest.Equal(committed) || v.Waiting != 10*time.Second {
			t.Errorf("the change of %s waits since %s, for %s", committed, v.Oldest, v.Waiting)
		}
		e.stop()
		v = e.notifier.Overview()
		if v.Connected || !v.Oldest.Equal(committed) || v.Waiting != 0 || v.Refused != 0 {
			t.Errorf("without a connection: %+v", v)
		}
		e.serve()
	}, fake("up to date", "U", "jwt updated"), fake("refuses", "R", "jwt updated"),
		fake("cache", "C", "jwt updated"), fake("stuck", "S", "jwt updated"))
}

// TestWhatCantBeAnnouncedNow is tried again, and the reason is logged once.
func TestWhatCantBeAnnouncedNow(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(10 * time.Second)
		if limit := e.notifier.MaxPayload(); limit != 1<<20 || !e.notifier.IsConfigured() {
			t.Errorf("max_payload %d, configured: %v", limit, e.notifier.IsConfigured())
		}
		e.notifier.Announce(e.key, e.put(t, e.key, strings.Repeat("x", 1<<20+1)))
		time.Sleep(time.Hour)
		if n := strings.Count(e.log.String(), "nats-server takes no more than 1048576"); n != 1 {
			t.Errorf("logged %d times: %s", n, e.log)
		}
		if n, _ := e.counted(); n != 0 || e.outbox.PendingFor(e.key).Seq == 0 {
			t.Errorf("announced %d times", n)
		}
		e.push(t, e.key)
		time.Sleep(time.Second)
		if n, _ := e.counted(); n != 1 || e.outbox.PendingFor(e.key).Seq != 0 {
			t.Errorf("a smaller one is announced %d times", n)
		}
		e.notifier.SetConfigured(false)
		if limit := e.notifier.MaxPayload(); limit != 0 {
			t.Errorf("max_payload %d without NATS", limit)
		}
	}, fake("n", "N", "jwt updated"))
}

// TestAnAccountThatIsNotStoredAnyMore is not announced, and pending for no server.
func TestAnAccountThatIsNotStoredAnyMore(t *testing.T) {
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(10 * time.Second)
		seq := e.put(t, e.key, "jwt")
		e.store.Remove(e.key)
		e.notifier.Announce(e.key, seq)
		time.Sleep(time.Second)
		if n, _ := e.counted(); n != 0 || e.outbox.PendingFor(e.key).Seq != 0 {
			t.Errorf("announced %d times, pending %v", n, e.outbox.Pending())
		}
	}, fake("n", "N", "jwt updated"))
}
