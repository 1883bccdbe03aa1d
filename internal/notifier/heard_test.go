package notifier_test

import (
	"testing"
	"time"
)

// hear is a change that came by a broadcast.
func (c *cell) hear(t *testing.T, key string) uint64 {
	seq := c.put(t, key, "jwt")
	c.notifier.Heard(key, seq, time.Now())
	return seq
}

// TestWhatEveryNATSServerHasHeardIsNotAnnounced, unless one of them turns out not to run it.
func TestWhatEveryNATSServerHasHeardIsNotAnnounced(t *testing.T) {
	for _, c := range []struct {
		name    string
		runs    []string // what the nats-servers run: "" is nothing, "-" no answer
		cache   bool     // the first of them is known to be a cache
		updates int
	}{
		{"all run it", []string{"jwt", "jwt"}, false, 0},
		{"one has not loaded the account", []string{"jwt", ""}, false, 0},
		{"one runs another", []string{"jwt", "older"}, false, 1},
		{"one does not say", []string{"jwt", "-"}, false, 1},
		{"a cache has not loaded the account", []string{"", "jwt"}, true, 1},
		{"a cache runs it", []string{"jwt", "jwt"}, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			one := &node{name: "n1", id: "N1", version: "2.15.2", says: "jwt updated", runs: c.runs[0]}
			two := &node{name: "n2", id: "N2", version: "2.15.2", says: "jwt updated", runs: c.runs[1]}
			if c.cache {
				one.says = "jwt updated cache"
			}
			inMesh(t, func(t *testing.T, b *cell) {
				time.Sleep(2 * time.Second)
				b.push(t, b.key) // teaches what the nats-servers are
				time.Sleep(10 * time.Second)
				before, _ := b.counted()
				seq := b.hear(t, b.key)
				time.Sleep(10 * time.Second)
				if after, _ := b.counted(); after-before != c.updates {
					t.Errorf("announced %d times", after-before)
				}
				if b.store.Outbox().IsPending("n1", seq) || b.store.Outbox().IsPending("n2", seq) {
					t.Error("it is still owed")
				}
			}, one, two)
		})
	}
}

// TestWhoWasAwayIsOwedWhatAllOthersHaveHeard.
func TestWhoWasAwayIsOwedWhatAllOthersHaveHeard(t *testing.T) {
	one := &node{name: "n1", id: "N1", version: "2.15.2", says: "jwt updated", runs: "jwt"}
	two := &node{name: "n2", id: "N2", version: "2.15.2", says: "jwt updated", runs: "older"}
	inMesh(t, func(t *testing.T, b *cell) {
		time.Sleep(2 * time.Second)
		b.set(one)
		time.Sleep(2 * time.Minute) // n2 is missed
		seq := b.hear(t, b.key)
		time.Sleep(10 * time.Second)
		if n, _ := b.counted(); n != 0 || b.store.Outbox().IsPending("n1", seq) || !b.store.Outbox().IsPending("n2", seq) {
			t.Errorf("announced %d times, owed to n1: %v, to n2: %v", n, b.store.Outbox().IsPending("n1", seq), b.store.Outbox().IsPending("n2", seq))
		}
		b.set(one, two)
		time.Sleep(2 * time.Minute)
		if n, _ := b.counted(); n != 1 || b.store.Outbox().IsPending("n2", seq) {
			t.Errorf("announced %d times, owed to n2: %v", n, b.store.Outbox().IsPending("n2", seq))
		}
	}, one, two)
}

// TestOtherAccountServersAreNoNATSServers: they answer updates too, and are owed nothing.
func TestOtherAccountServersAreNoNATSServers(t *testing.T) {
	inMesh(t, func(t *testing.T, b *cell) {
		time.Sleep(2 * time.Second)
		b.push(t, b.key)
		time.Sleep(10 * time.Second)
		if names := b.store.Outbox().Servers(); len(names) != 1 || names[0] != "n1" {
			t.Errorf("known are %q", names)
		}
	}, &node{name: "n1", id: "N1", version: "2.15.2", says: "jwt updated"},
		&node{name: "nats-account-server", id: "N2", version: "1.0.3", says: "Updated jwt"})
}
