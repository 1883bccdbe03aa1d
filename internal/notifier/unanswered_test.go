package notifier

import (
	"slices"
	"testing"
	"time"
)

// TestEachDemandForACheckIsMet: a server without a name that is cut off is checked each time that it
// is back, however soon that is.
func TestEachDemandForACheckIsMet(t *testing.T) {
	n, _ := newTestNotifier(t)
	now := time.Now()
	v := newServers(n, User{}, now)
	v.discovering = false
	v.byName["n"] = &server{name: "n", id: "N", since: now}
	p, u := newAnnouncements(n, v), n.unanswered
	for i := range 3 {
		u.checkOnce("A", "n", now)
		isCheck := func(q request) bool {
			return q.subject == accountzOf("N") && q.reply == aboutCheck+".A"
		}
		if !slices.ContainsFunc(u.scan(p, now), isCheck) {
			t.Errorf("demand %d causes no check", i+1)
		}
		now = now.Add(time.Minute)
		if slices.ContainsFunc(u.scan(p, now), isCheck) {
			t.Errorf("demand %d causes two checks", i+1)
		}
		now = now.Add(time.Minute)
	}
	now = now.Add(time.Hour)
	if u.scan(p, now); u.byKey["A"] != nil {
		t.Error("it is remembered after its checks")
	}
}
