package notifier_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// stalledMesh is three nats-servers that have loaded an account. The route between n1 and n3 stalls
// while the first change is announced through n1. n3 gets the second one through n2.
type stalledMesh struct {
	*env
	*natstest.Mesh
	account    *jwttest.Account
	observer   *nats.Conn // of n3
	disconnect func()     // from n2
}

func newStalledMesh(t *testing.T) *stalledMesh {
	m := &stalledMesh{env: newEnv(t), account: jwttest.NewAccount(t)}
	m.Mesh = natstest.NewMesh(t, 3, func(extra string) string {
		return natstest.MemoryConf(t, m.op, extra, m.account)
	})
	for _, s := range m.Servers {
		connectUser(t, s.ClientURL(), m.account)
	}
	m.observer = natstest.Connect(t, m.Servers[2].ClientURL(), m.sysCreds(t))
	stop := m.connect(t, m.Servers[0].ClientURL(), m.sysCreds(t))
	m.wantDelivery(t, m.account.ID, "acknowledged by 3 of 3 nats-servers")
	m.Route(0, 2).Freeze()
	sent := listen(t, m.env, m.Servers[0].ClientURL(), m.account.ID)
	m.change(t, "first")
	within(t, "n1 has the first change", sent)
	natstest.Eventually(t, "n1 and n2 have it, whether n3 has been given up or not", func() bool {
		c := m.outbox.PendingFor(m.account.ID)
		isPending := func(i int) bool { return m.outbox.IsPending(m.Servers[i].Name(), c.Seq) }
		return isPending(2) && !isPending(0) && !isPending(1)
	})
	stop()
	m.disconnect = m.connect(t, m.Servers[1].ClientURL(), m.sysCreds(t))
	m.change(t, "second")
	m.wantDelivery(t, m.account.ID, "acknowledged by 3 of 3 nats-servers")
	m.wantRunning(t, "second")
	return m
}

// change commits a JWT with this name.
func (m *stalledMesh) change(t *testing.T, name string) {
	m.commit(t, m.account, func(c *jwt.AccountClaims) { c.Name = name })
}

// running returns the name in the JWT that n3 runs for the account.
func (m *stalledMesh) running(t *testing.T) string {
	t.Helper()
	claims, err := jwt.DecodeAccountClaims(runningAt(t, m.observer, m.Servers[2], m.account.ID))
	if err != nil {
		t.Fatal(err)
	}
	return claims.Name
}

// wantRunning waits until n3 runs the JWT with this name.
func (m *stalledMesh) wantRunning(t *testing.T, name string) {
	t.Helper()
	natstest.Eventually(t, "n3 runs the "+name, func() bool { return m.running(t) == name })
}

// runningAt asks a nats-server what it runs for an account.
func runningAt(t *testing.T, nc *nats.Conn, s *server.Server, key string) string {
	t.Helper()
	m, err := nc.Request("$SYS.REQ.SERVER."+s.ID()+".ACCOUNTZ",
		fmt.Appendf(nil, `{"account":%q}`, key), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			Detail struct {
				JWT string `json:"jwt"`
			} `json:"account_detail"`
		} `json:"data"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.Detail.JWT
}

// countUpdates counts the updates of an account that n3 gets.
func (m *stalledMesh) countUpdates(t *testing.T) (seen func(name string) int) {
	t.Helper()
	sub, err := m.observer.SubscribeSync("$SYS.ACCOUNT." + m.account.ID + ".CLAIMS.UPDATE")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.observer.Flush(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	return func(name string) int {
		for {
			u, err := sub.NextMsg(time.Millisecond)
			if err != nil {
				return counts[name]
			}
			claims, err := jwt.DecodeAccountClaims(string(u.Data))
			if err != nil {
				t.Fatal(err)
			}
			counts[claims.Name]++
		}
	}
}

// TestAServerThatGetsAnOlderJWTLateIsToldTheStoredOneAgain: its answer shows that it runs the older
// one.
func TestAServerThatGetsAnOlderJWTLateIsToldTheStoredOneAgain(t *testing.T) {
	t.Parallel()
	m := newStalledMesh(t)
	seen := m.countUpdates(t)
	m.Route(0, 2).Thaw()
	natstest.Eventually(t, "n3 gets the first JWT late", func() bool { return seen("first") > 0 })
	natstest.Eventually(t, "and the second one again", func() bool { return seen("second") > 0 })
	m.wantRunning(t, "second")
	m.wantDelivery(t, m.account.ID, "acknowledged by 3 of 3 nats-servers")
}

// TestAServerThatMayHaveGotAnOlderJWTIsAskedWhatItRuns: its answer came while no session was there.
func TestAServerThatMayHaveGotAnOlderJWTIsAskedWhatItRuns(t *testing.T) {
	t.Parallel()
	m := newStalledMesh(t)
	m.disconnect()
	m.Route(0, 2).Thaw()
	m.wantRunning(t, "first")
	m.connect(t, m.Servers[1].ClientURL(), m.sysCreds(t))
	m.wantRunning(t, "second")
	m.wantDelivery(t, m.account.ID, "acknowledged by 3 of 3 nats-servers")
	stored, _, err := m.store.Load(m.account.ID, jwtstore.Stamp{})
	if got := runningAt(t, m.observer, m.Servers[2], m.account.ID); err != nil ||
		!bytes.Equal([]byte(got), stored) {
		t.Errorf("it runs %q, stored is %q, %v", got, stored, err)
	}
}

// TestALateAnswerToAnOlderAnnouncement: n lets the first of two announcements pass without an
// answer, and answers it later.
func TestALateAnswerToAnOlderAnnouncement(t *testing.T) {
	const secondAcked, secondInFlight = true, false
	for _, c := range []struct {
		name     string
		sessions int    // 2: the second announcement is made in a later session; 3: by a later process
		acked    bool   // the second announcement is
		first    string // the JWT of the first announcement; that of the second is "second"
		says     string // the late answer
		again    bool   // the stored JWT is announced again
	}{
		{"after the answer to the newer one", 1, secondAcked, "first", "jwt updated", true},
		{"before it, but it was sent another way", 2, secondInFlight, "first", "jwt updated", true},
		{"after it, and it was sent another way", 2, secondAcked, "first", "jwt updated", true},
		{"after it, and an earlier process has sent it", 3, secondAcked, "first",
			"jwt updated", true},
		{"before it, and an earlier process has sent it", 3, secondInFlight, "first",
			"jwt updated", true},
		{"both were the same JWT, of two processes", 3, secondAcked, "second",
			"jwt updated", false},
		{"in the order in which they were sent", 1, secondInFlight, "first", "jwt updated", false},
		{"it has refused the older one", 2, secondAcked, "first", "!no", false},
		{"it has not loaded the account", 2, secondAcked, "first", "jwt update skipped", false},
		{"both were the same JWT", 2, secondAcked, "second", "jwt updated", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, quiet := fake("n", "N1", "jwt updated"), fake("n", "N1", "")
			withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
				time.Sleep(2 * time.Second)
				e.notifier.Announce(e.key, e.put(t, e.key, c.first))
				time.Sleep(100 * time.Millisecond)
				if c.sessions > 1 {
					e.stop()
					if c.sessions == 3 {
						e.restart()
					}
					e.serve()
					time.Sleep(1500 * time.Millisecond)
				}
				if c.acked {
					e.set(n)
				}
				e.notifier.Announce(e.key, e.put(t, e.key, "second"))
				time.Sleep(100 * time.Millisecond)
				before, _ := e.counted()
				e.answerUpdate(fake("n", "N1", c.says), 0)
				time.Sleep(100 * time.Millisecond)
				if after, _ := e.counted(); (after > before) != c.again {
					t.Errorf("%d announcements before, %d after", before, after)
				}
				e.set(n)
				time.Sleep(time.Minute)
				if last := e.outbox.PendingFor(e.key); last.Seq != 0 {
					t.Errorf("pending: %v", last)
				}
			}, quiet)
		})
	}
}

// TestWhenServersAreAskedWhatTheyRun: the answer to an older announcement has not come.
func TestWhenServersAreAskedWhatTheyRun(t *testing.T) {
	for _, c := range []struct {
		name, says string // n2's answer to updates
		runs       string // what n2 runs
		changed    bool   // the account has a newer JWT
		asked      int    // how often n2 is asked
		again      int    // announcements after that
	}{
		{"it runs the stored one", "jwt updated", "second", true, 4, 0},
		{"it runs the older one", "jwt updated", "first", true, 4, 8}, // sent twice, see update
		{"it has not loaded the account, and may keep JWTs", "jwt updated", "", true, 4, 1},
		{"it has not loaded the account, and fetches", "jwt update skipped", "", true, 4, 0},
		{"it does not say", "jwt updated", "-", true, 4, 0},
		{"nothing has changed", "jwt updated", "first", false, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := jwttest.AccountKey(t)
			one, two := fake("n1", "N1", "jwt updated"), fake("n2", "N2", c.says)
			withFakeCluster(t, func(t *testing.T, e *fakeEnv) {
				time.Sleep(2 * time.Second)
				e.push(t, other) // shows what they are
				time.Sleep(10 * time.Second)
				silent := *two
				silent.says, silent.runs = "", "-"
				e.set(one, &silent)
				e.notifier.Announce(e.key, e.put(t, e.key, "first"))
				time.Sleep(4 * time.Second)
				two.runs = c.runs
				e.set(one, two)
				if c.changed {
					e.notifier.Announce(e.key, e.put(t, e.key, "second"))
				}
				time.Sleep(4 * time.Second)
				e.takeAsked()
				before, _ := e.counted()
				time.Sleep(time.Hour)
				asked := 0
				for _, subject := range e.takeAsked() {
					if subject == "$SYS.REQ.SERVER.N2.ACCOUNTZ" {
						asked++
					}
				}
				after, _ := e.counted()
				if asked != c.asked || after-before != c.again {
					t.Errorf("asked %d times, announced %d times", asked, after-before)
				}
			}, one, two)
		})
	}
}
