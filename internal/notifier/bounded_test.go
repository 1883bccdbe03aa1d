package notifier_test

import (
	"context"
	"testing"
	"time"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/notifier"
)

// TestWhatIsPendingIsNotInMemory, but in the outbox: for servers that are away, that do not answer, or that
// come back. Each gets all of it.
func TestWhatIsPendingIsNotInMemory(t *testing.T) {
	const changes, waiting = 3*notifier.MaxTaken + 7, 50
	keys := realKeys(t, changes)
	good, deaf := fake("good", "NG", "jwt updated"), fake("deaf", "ND", "")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		time.Sleep(2 * time.Second)
		e.notifier.SetMaxWaiting(waiting)
		e.outbox.Register("good", time.Now())
		for _, key := range keys {
			e.put(t, key, "jwt")
		}
		wait := func(wantAll, wantGood int) {
			t.Helper()
			most := 0
			for range 1000 {
				time.Sleep(100 * time.Millisecond)
				most = max(most, e.notifier.InMemory())
			}
			all, of := e.outbox.CountPending()
			if all != wantAll || of["good"] != wantGood {
				t.Errorf("%d are pending, %d for good; want %d and %d", all, of["good"], wantAll, wantGood)
			}
			if most > waiting+notifier.MaxTaken {
				t.Errorf("%d announcements are in memory", most)
			}
		}
		wait(changes, changes)
		e.set(good, deaf) // it comes back, and the other one still lacks everything
		wait(changes, 0)
		if n := e.notifier.InMemory(); n > waiting {
			t.Errorf("%d announcements wait in memory", n)
		}
		e.set(good, fake("deaf", "ND", "jwt updated"))
		wait(0, 0)
		if n, _ := e.counted(); n > 2*changes+20 {
			t.Errorf("%d announcements of %d changes to two servers", n, changes)
		}
	}, deaf)
}

// pushMany pushes accounts of which no server takes the change, and sees that few of them are in memory.
func (e *fakeEnv) pushMany(t *testing.T, keys []string) {
	t.Helper()
	time.Sleep(2 * time.Second)
	e.notifier.SetMaxWaiting(10)
	for _, key := range keys {
		e.push(t, key)
	}
	time.Sleep(time.Minute)
	if n := e.notifier.InMemory(); n > 10 {
		t.Errorf("%d announcements are in memory", n)
	}
}

// TestAClientOfACacheBringsBackWhatIsNotInMemory: the cache lacked the account, so the change waits for a
// client there.
func TestAClientOfACacheBringsBackWhatIsNotInMemory(t *testing.T) {
	keys := realKeys(t, 60)
	cache := fake("cache", "NC", "jwt update cache skipped")
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		e.pushMany(t, keys)
		updates, _ := e.counted()
		e.set(fake("cache", "NC", "jwt updated cache"))
		for _, key := range keys {
			if got := e.report(key)[0]; got.State != accounts.ServerNotInUse {
				t.Fatalf("it is said to be %s: %s", got.State, got.Reason)
			}
			e.connectClient("cache", "NC", key)
		}
		time.Sleep(time.Minute)
		if n := len(e.outbox.Pending()); n > 0 {
			t.Errorf("%d are pending", n)
		}
		if after, _ := e.counted(); after-updates != len(keys) {
			t.Errorf("%d announcements for %d clients", after-updates, len(keys))
		}
	}, cache)
}

// TestACallerWaitsForWhatIsNotInMemory until the server that lacks it answers.
func TestACallerWaitsForWhatIsNotInMemory(t *testing.T) {
	keys := realKeys(t, 60)
	withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
		e.pushMany(t, keys)
		time.AfterFunc(2*time.Minute, func() { e.set(fake("deaf", "ND", "jwt updated")) })
		for _, key := range keys {
			d := e.notifier.Follow(key).Wait(context.Background(), 5*time.Minute)
			if d.Acked != 1 {
				t.Fatalf("after the wait, it is %q", d)
			}
		}
	}, fake("deaf", "ND", ""))
}
