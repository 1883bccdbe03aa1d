package jwtstore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

func FuzzCodec(f *testing.F) {
	key := jwtstoretest.Key(f)
	for _, s := range []string{
		key, "", "../" + key, key[:20] + "/" + key[21:], key + "\n", strings.ToLower(key),
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Add(key[54:]+"/"+key+".jwt", true)
	f.Add(key+".jwt", false)
	f.Add(key[54:]+"/"+key+".jwt.deleted", true)
	f.Fuzz(func(t *testing.T, s string, shard bool) {
		if path := jwtstore.Path(shard, s); path != "" {
			for _, inverse := range []func(string) (string, bool){
				func(path string) (string,
					bool) {
					return jwtstore.Key(shard, path)
				}, jwtstore.KeyOf,
			} {
				if back, ok := inverse(path); !ok || back != s {
					t.Errorf("%q -> %q -> %q", s, path, back)
				}
			}
			if key, ok := jwtstore.Key(shard, jwtstore.TombstonePath(shard, s)); ok {
				t.Errorf("the tombstone of %q is a JWT of %q", s, key)
			}
			if strings.Contains(path, "..") || strings.Count(path, "/") > 1 || len(path) > 63 {
				t.Errorf("%q has the path %q", s, path)
			}
		}
		if key, ok := jwtstore.Key(shard, s); ok && jwtstore.Path(shard, key) != s {
			t.Errorf("path %q -> %q -> %q", s, key, jwtstore.Path(shard, key))
		}
	})
}

// FuzzReplay damages a journal from an offset on: by other bytes, and by cutting it off.
func FuzzReplay(f *testing.F) {
	keys := writerKeys()
	whole, ends := jwtstore.JournalOf(keys, []byte("the JWT"))
	f.Add(0, []byte("junk"), false)
	f.Add(ends[4], whole[:ends[2]], false)
	f.Add(ends[4]+8, []byte("\xf5rec\xff\xff\xff\xff\xff\xff\xff\xff"), true)
	f.Add(len(whole), whole, true)
	later := slices.Repeat([]jwtstore.Event{{Key: keys[2], JWT: "later"},
		{Key: keys[2], Tombstone: "gone"}, {Key: keys[1], Tombstone: "gone"}}, 20)
	deletes, deleteEnds := jwtstore.JournalOfEvents(later...)
	f.Add(len(whole), deletes[32:], true)
	f.Add(ends[7], deletes[deleteEnds[0]:deleteEnds[2]], false)
	f.Add(ends[7], deletes[deleteEnds[0]:deleteEnds[1]-8], true)
	f.Fuzz(func(t *testing.T, at int, other []byte, cut bool) {
		at = min(max(at, 0), len(whole))
		data := slices.Concat(whole[:at], other)
		if !cut && len(data) < len(whole) {
			data = append(data, whole[len(data):]...)
		}
		puts, _, _, err := jwtstore.Replay(data)
		if err != nil {
			if at >= 32 {
				t.Fatal(err)
			}
			return
		}
		for i, key := range keys {
			if ends[i] <= at && string(puts[key]) != "the JWT" && at >= 32 && !supersededBy(other) {
				t.Errorf("damage at %d takes the record that ends at %d", at, ends[i])
			}
		}
		oneOfEach(t, data)
	})
}

// oneOfEach wants of each account at most one Put at the end, and one Delete before that.
func oneOfEach(t *testing.T, data []byte) {
	left, _, _, _ := jwtstore.ReplayEvents(data)
	put, deleted := map[string]bool{}, map[string]bool{}
	for _, e := range left {
		if put[e.Key] || e.JWT == "" && deleted[e.Key] {
			t.Errorf("more than is needed is left: %v", left)
		}
		put[e.Key], deleted[e.Key] = e.JWT != "", true
	}
}

// supersededBy says whether the other bytes are records themselves.
func supersededBy(other []byte) bool { return strings.Contains(string(other), "\xf5rec") }

// oneChange is a snapshot with one server, which has acknowledged the only change.
var oneChange = slices.Concat([]byte{5, 1, 1, 'a', 2, 1, 5, 2, 56}, []byte(pendingKey(0)), []byte{1, 0})

func TestASnapshotWhoseEndIsMissingIsRefused(t *testing.T) {
	for n := range oneChange {
		if _, err := jwtstore.RestoreOutbox(oneChange[:n]); err == nil {
			t.Errorf("restored from %d bytes", n)
		}
	}
	if n, err := jwtstore.RestoreOutbox(oneChange); n != 1 || err != nil {
		t.Errorf("the whole has %d changes, %v", n, err)
	}
}

func FuzzRestoreOutbox(f *testing.F) {
	f.Add(oneChange)
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := jwtstore.RestoreOutbox(data); err == nil && n > len(data) {
			t.Errorf("%d changes in %d bytes", n, len(data))
		}
	})
}

// FuzzOutbox plays events on the outbox and on a simple model of it.
func FuzzOutbox(f *testing.F) {
	f.Add([]byte("\x00\x10\x11\x20\x01\x21\x02\x31\x12\x00\x20\x22"))
	random := rand.NewChaCha8([32]byte{})
	for range 20 {
		events := make([]byte, 300)
		_, _ = random.Read(events)
		f.Add(events)
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		l, m := jwtstore.NewOutbox(), model{acked: map[string]map[uint64]bool{}}
		for n, e := range events {
			name, key := fmt.Sprint("s", e%7), pendingKey(int(e%11))
			seq := uint64(max(0, n-int(e%5)))
			switch e >> 4 % 6 {
			case 0, 1:
				l.Commit(uint64(n)+1, key)
				m.commit(uint64(n)+1, key)
			case 2:
				l.Register(name, time.Unix(1, 0))
				m.register(name)
			case 3:
				l.Acknowledge(name, seq)
				m.acknowledge(name, seq)
			case 4:
				l.Forget(name)
				m.forget(name)
			case 5:
				l.Delete(uint64(n)+1, key)
				m.delete(key)
			}
			if e%16 == 15 {
				var err error
				if l, err = l.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			m.compare(t, l)
		}
	})
}

// model is the outbox as its contract puts it, without regard for speed.
type model struct {
	changes []jwtstore.Change
	acked   map[string]map[uint64]bool
}

func (m *model) delete(key string) {
	m.changes = slices.DeleteFunc(m.changes, func(c jwtstore.Change) bool { return c.Key == key })
}

func (m *model) commit(seq uint64, key string) {
	m.delete(key)
	m.changes = append(m.changes, jwtstore.Change{Seq: seq, Key: key})
}

func (m *model) register(name string) {
	if m.acked[name] == nil {
		m.acked[name] = map[uint64]bool{}
	}
}

func (m *model) acknowledge(name string, seq uint64) {
	isPending := slices.ContainsFunc(m.changes,
		func(c jwtstore.Change) bool { return c.Seq == seq })
	if m.acked[name] != nil && isPending {
		m.acked[name][seq] = true
		m.settle()
	}
}

func (m *model) forget(name string) {
	delete(m.acked, name)
	m.settle()
}

func (m *model) settle() {
	m.changes = slices.DeleteFunc(m.changes, func(c jwtstore.Change) bool {
		for _, acked := range m.acked {
			if !acked[c.Seq] {
				return false
			}
		}
		return len(m.acked) > 0
	})
}

func (m *model) compare(t *testing.T, l *jwtstore.Outbox) {
	got := l.Pending()
	if len(got) != len(m.changes) {
		t.Fatalf("pending are %v, want %v", got, m.changes)
	}
	for i, c := range m.changes {
		if l.PendingFor(c.Key) != got[i] {
			t.Fatalf("of %s, %v is pending, want %v", c.Key, l.PendingFor(c.Key), got[i])
		}
		if got[i].Seq != c.Seq || got[i].Key != c.Key {
			t.Fatalf("pending are %v, want %v", got, m.changes)
		}
		for name, acked := range m.acked {
			if l.IsPending(name, c.Seq) == acked[c.Seq] {
				t.Fatalf("change %[2]d is pending for %[1]s: %[3]v", name, c.Seq, !acked[c.Seq])
			}
		}
	}
	all, byServer := l.CountPending()
	for name, acked := range m.acked {
		lacks := 0
		for _, c := range m.changes {
			if !acked[c.Seq] {
				lacks++
			}
		}
		if byServer[name] != lacks {
			t.Fatalf("%d are pending for %s, want %d", byServer[name], name, lacks)
		}
	}
	if all != len(m.changes) || len(byServer) != len(m.acked) {
		t.Fatalf("%d are pending for %d servers", all, len(byServer))
	}
}
