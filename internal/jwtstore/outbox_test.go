package jwtstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwtstore/jwtstoretest"
)

// TestWhichServerIsDisplaced when too many are known.
func TestWhichServerIsDisplaced(t *testing.T) {
	const long, short = time.Hour, time.Minute
	for _, c := range []struct {
		name      string
		servers   map[string]time.Duration // the last ones, and for how long they were absent
		preferred bool                     // the new one has answered an update
		want      string
	}{
		{"none that is there", map[string]time.Duration{"a": 0, "proven b": 0}, false, ""},
		{"the one absent for longest", map[string]time.Duration{"a": short, "b": long}, false, "b"},
		{"none that is proven", map[string]time.Duration{"proven a": long}, false, ""},
		{"one there, for a better one",
			map[string]time.Duration{"a": 0, "proven b": long}, true, "a"},
		{"an absent one before that", map[string]time.Duration{"a": 0, "b": short}, true, "b"},
		{"a proven one, in the end", map[string]time.Duration{"proven a": long}, true, "proven a"},
		{"none of those that are there", map[string]time.Duration{"proven a": 0}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := jwtstore.NewOutbox()
			register := func(name string, proven bool, absent time.Duration) {
				if !o.Register(name, time.Now()) {
					t.Fatalf("no room for %s", name)
				}
				if proven {
					o.SetAnswered(name)
				}
				if absent > 0 {
					o.AddAbsence(name, absent)
				}
			}
			for name, absent := range c.servers {
				register(name, name[:1] == "p", absent)
			}
			for i := range jwtstore.MaxServers - len(c.servers) {
				register(fmt.Sprint("proven and there ", i), true, 0)
			}
			for range 2 { // the second time after a restart
				if o.Register("new", time.Now()) {
					t.Error("there is room for one more")
				}
				var err error
				if o, err = o.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := o.Displace("new", time.Now(), c.preferred)
			if got != c.want || ok != (c.want != "") || ok != slices.Contains(o.Servers(), "new") {
				t.Errorf("forgotten is %q, %v", got, ok)
			}
			if n := len(o.Servers()); n != jwtstore.MaxServers || ok &&
				slices.Contains(o.Servers(), c.want) {
				t.Errorf("%d are known", n)
			}
		})
	}
}

// TestAbsenceAddsUpOverRestarts, and ends when the server is seen.
func TestAbsenceAddsUpOverRestarts(t *testing.T) {
	o := jwtstore.NewOutbox()
	o.Register("s", time.Now().Add(-1000*time.Hour))
	o.AddAbsence("s", time.Hour)
	o, err := o.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if got := o.AddAbsence("s", time.Hour); got != 2*time.Hour {
		t.Errorf("absent for %s", got)
	}
	o.Register("s", time.Now())
	if got := o.AddAbsence("s", time.Minute); got != time.Minute {
		t.Errorf("absent for %s after it was there", got)
	}
	if got := o.AddAbsence("unknown", time.Minute); got != 0 {
		t.Errorf("an unknown one is absent for %s", got)
	}
}

// TestWhatWasNotAnsweredIsKnownAfterARestart, and after a crash.
func TestWhatWasNotAnsweredIsKnownAfterARestart(t *testing.T) {
	dir := t.TempDir()
	d := open(t, options(t, dir))
	o := d.Outbox()
	id := o.ID()
	o.Register("s1", time.Now())
	for _, key := range []string{"a", "b", "c"} {
		o.SetUnanswered(key, true)
	}
	o.SetUnanswered("b", false)
	key := jwtstoretest.Key(t)
	put(t, d, key, "jwt") // the events are written with it
	wantUnanswered := func(d *jwtstore.Dir, when string) {
		t.Helper()
		o := d.Outbox()
		if got := o.Unanswered(); !slices.Equal(got, []string{"a", "c"}) || o.ID() != id {
			t.Errorf("%s not answered are %v, and the id is %q, not %q", when, got, o.ID(), id)
		}
	}
	copied := t.TempDir()
	copyTree(t, dir, copied)
	wantUnanswered(open(t, options(t, copied)), "after a crash")
	closeStore(t, d)
	d = open(t, options(t, dir))
	wantUnanswered(d, "after a stop")
	if other := jwtstore.NewOutbox().ID(); other == id {
		t.Errorf("another outbox has the same id")
	}
}
