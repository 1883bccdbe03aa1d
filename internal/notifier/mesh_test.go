package notifier_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwtstore"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/logging"
	"nats-account-server/internal/natstest"
	"nats-account-server/internal/notifier"
)

// mesh is a session with nats-servers that say what the test wants, on a clock of its own.
type mesh struct {
	mu       sync.Mutex
	subs     map[string]nats.MsgHandler
	nodes    []*node
	asked    []string            // subjects that are no updates
	updates  []string            // accounts, in the order of their announcements
	payloads map[string][]string // what they carried
	flying   int                 // announcements that the last answer is not in for
	most     int
}

// node is one of them.
type node struct {
	name, id, version string
	says              string // its answer to an update, an error after "!"; "" is none
	runs              string // the JWT of every account; "" is none, "-" that it does not say
	began             time.Time
}

func (*mesh) NewInbox() string                       { return "_INBOX.x" }
func (*mesh) MaxPayload() int64                      { return 1 << 20 }
func (*mesh) FlushWithContext(context.Context) error { return nil }

func (m *mesh) Subscribe(subject string, h nats.MsgHandler) (*nats.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs[subject] = h
	return nil, nil
}

func (m *mesh) PublishRequest(subject, reply string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	hear := m.subs["_INBOX.x.>"]
	key, isUpdate := strings.CutSuffix(strings.TrimPrefix(subject, "$SYS.ACCOUNT."), ".CLAIMS.UPDATE")
	if isUpdate {
		m.updates = append(m.updates, key)
		m.payloads[key] = append(m.payloads[key], string(data))
		m.flying++
		m.most = max(m.most, m.flying)
	} else {
		m.asked = append(m.asked, subject)
	}
	var answers []string
	for _, n := range m.nodes {
		if text := n.answer(subject, isUpdate); text != "" {
			answers = append(answers, text)
		}
	}
	if len(answers) == 0 && !isUpdate { // nobody listens, as nats-server says at once
		go hear(&nats.Msg{Subject: reply, Header: nats.Header{"Status": {"503"}}})
		return nil
	}
	go func() {
		time.Sleep(time.Millisecond) // of the bubble's clock
		m.mu.Lock()
		if isUpdate {
			m.flying--
		}
		m.mu.Unlock()
		for _, text := range answers {
			hear(&nats.Msg{Subject: reply, Data: []byte(text)})
		}
	}()
	return nil
}

func (n *node) answer(subject string, isUpdate bool) string {
	server := fmt.Sprintf(`"server":{"name":%q,"id":%q,"ver":%q,"time":%q}`, n.name, n.id, n.version, time.Now().Format(time.RFC3339Nano))
	isOld := strings.HasPrefix(n.version, "2.9")
	if refusal, refuses := strings.CutPrefix(n.says, "!"); isUpdate && refuses {
		return fmt.Sprintf(`{%s,"error":{"description":%q}}`, server, refusal)
	}
	if isUpdate && n.says == "-" {
		return "{" + server + "}"
	}
	switch {
	case subject == "$SYS.REQ.SERVER.PING.ACCOUNTZ" && n.runs == "":
		return fmt.Sprintf(`{%s,"error":{"code":500,"description":"Account A does not exist"}}`, server)
	case subject == "$SYS.REQ.SERVER.PING.ACCOUNTZ" && n.runs != "-":
		return fmt.Sprintf(`{%s,"data":{"account_detail":{"jwt":%q}}}`, server, n.runs)
	case isUpdate && n.says != "":
		return fmt.Sprintf(`{%s,"data":{"message":%q}}`, server, n.says)
	case subject == "$SYS.REQ.SERVER.PING.IDZ" && !isOld:
		return fmt.Sprintf(`{"name":%q,"id":%q,"host":"h"}`, n.name, n.id)
	case subject == "$SYS.REQ.SERVER.PING", subject == "$SYS.REQ.SERVER."+n.id+".STATSZ":
		return fmt.Sprintf(`{%s,"statsz":{"start":%q}}`, server, n.began.Format(time.RFC3339Nano))
	default:
		return ""
	}
}

// set replaces the nats-servers that are there.
func (m *mesh) set(nodes ...*node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes = nodes
}

func (m *mesh) counted() (updates, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.updates), m.most
}

// asks returns what was asked since the last time.
func (m *mesh) asks() (subjects []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	subjects, m.asked = m.asked, nil
	return subjects
}

func (m *mesh) carried() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.payloads
}

// cell is a notifier on a mesh.
type cell struct {
	*mesh
	store    *jwtstore.Memory
	notifier *notifier.Notifier
	log      *natstest.Log
	key      string // of an account
}

// inMesh runs a test on a mesh of nodes, in a bubble.
func inMesh(t *testing.T, test func(t *testing.T, c *cell), nodes ...*node) {
	key := jwttest.NewAccount(t).ID
	synctest.Test(t, func(t *testing.T) {
		for _, n := range nodes {
			n.began = time.Now().Add(-time.Hour)
		}
		c := &cell{
			mesh:  &mesh{subs: map[string]nats.MsgHandler{}, payloads: map[string][]string{}, nodes: nodes},
			store: jwtstore.NewMemory(true), log: &natstest.Log{}, key: key,
		}
		c.notifier = notifier.New(notifier.Options{
			Outbox: c.store.Outbox(),
			Log:    slog.New(logging.New(c.log, logging.Format{Debug: true})),
		})
		c.notifier.SetConfigured(true)
		ctx, cancel := context.WithCancel(context.Background())
		go c.notifier.Serve(ctx, c.mesh, stored{c.store})
		test(t, c)
		cancel()
		time.Sleep(time.Minute)
	})
}

// put commits a change that the notifier is not told of.
func (c *cell) put(t *testing.T, key, token string) uint64 {
	seq, err := c.store.Put(context.Background(), key, "test", []byte(token), func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func (c *cell) push(t *testing.T, key string) uint64 {
	seq := c.put(t, key, "jwt")
	c.notifier.Announce(key, seq, time.Now())
	return seq
}

func (c *cell) report(key string) []accounts.ServerReport {
	return c.notifier.Report(context.Background(), key, false).Servers
}

// TestTenThousandPushesDoNotFlood although one of the nats-servers does not answer.
func TestTenThousandPushesDoNotFlood(t *testing.T) {
	good := &node{name: "good", id: "NG", version: "2.15.2", says: "jwt updated"}
	deaf := &node{name: "deaf", id: "ND", version: "2.15.2"}
	inMesh(t, func(t *testing.T, c *cell) {
		keys := realKeys(t, 10_000)
		time.Sleep(time.Second)
		began := time.Now()
		var last uint64
		for _, k := range keys {
			last = c.push(t, k)
		}
		for c.store.Outbox().IsPending("good", last) {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the nats-server that answers had to wait for %s", took)
		}
		updates, most := c.counted()
		if most > 128 {
			t.Errorf("%d announcements were in flight at once", most)
		}
		time.Sleep(10 * time.Minute)
		if after, _ := c.counted(); after-updates > 30 {
			t.Errorf("%d announcements in ten minutes to one that does not answer", after-updates)
		}
		if n := len(c.store.Outbox().Pending()); n != 10_000 {
			t.Errorf("%d changes are owed to it", n)
		}
		c.set(good, &node{name: "deaf", id: "ND", version: "2.15.2", says: "jwt updated"})
		time.Sleep(time.Minute)
		if n := len(c.store.Outbox().Pending()); n != 0 {
			t.Errorf("%d changes are owed although it answers again", n)
		}
		if _, most := c.counted(); most > 128 {
			t.Errorf("%d announcements were in flight at once", most)
		}
	}, good, deaf)
}

// realKeys are valid account keys, cheaply made.
func realKeys(t *testing.T, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = jwttest.NewAccount(t).ID
	}
	return keys
}

// TestAnAnnouncementCarriesWhatIsStoredWhenItIsSent, not what was stored when it was owed.
func TestAnAnnouncementCarriesWhatIsStoredWhenItIsSent(t *testing.T) {
	keys := realKeys(t, 300)
	inMesh(t, func(t *testing.T, c *cell) {
		time.Sleep(time.Second)
		for _, k := range keys {
			c.push(t, k) // refused, so that it waits to be announced again
		}
		time.Sleep(100 * time.Millisecond)
		for _, k := range keys {
			c.notifier.Announce(k, c.put(t, k, "newer"), time.Now())
		}
		c.set(&node{name: "n", id: "N1", version: "2.15.2", says: "jwt updated"})
		time.Sleep(time.Hour)
		got := c.carried()
		for _, k := range keys {
			if n := len(got[k]); n < 2 || got[k][0] != "jwt" || slices.Contains(got[k][1:], "jwt") {
				t.Errorf("announced %q", got[k])
			}
		}
	}, &node{name: "n", id: "N1", version: "2.15.2", says: "!no"})
}

// TestServersBefore210AreFound, who do not answer PING.IDZ, and nobody who is there is taken for gone.
func TestServersBefore210AreFound(t *testing.T) {
	now, old := &node{name: "new", id: "N1", version: "2.10.29", says: "jwt updated"}, &node{name: "old", id: "N2", version: "2.9.25", says: "jwt updated"}
	inMesh(t, func(t *testing.T, c *cell) {
		time.Sleep(10 * time.Minute)
		if got := c.store.Outbox().Servers(); !slices.Equal(got, []string{"old"}) || c.log.Count("is gone") > 0 || c.log.Count("no nats-server answers") > 0 {
			t.Errorf("known: %v\n%s", got, c.log)
		}
		c.set(now, old)
		time.Sleep(time.Minute)
		c.push(t, c.key)
		time.Sleep(time.Second)
		if r := c.report(c.key); len(r) != 2 || !r[0].Acked || !r[1].Acked || r[0].Version != "2.10.29" || r[1].Version != "2.9.25" {
			t.Errorf("%+v", r)
		}
		c.set(now)
		time.Sleep(time.Minute)
		if c.log.Count("nats-server old is gone") != 1 {
			t.Error(c.log)
		}
		c.asks()
		time.Sleep(10 * time.Minute)
		asked := c.asks()
		pings := len(asked) - len(slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return s == "$SYS.REQ.SERVER.PING" }))
		if pings > 3 || len(asked) > 25 {
			t.Errorf("%d questions in ten minutes, %d of them the expensive one", len(asked), pings)
		}
	}, old)
}

// TestTwoServersOfOneName are two: what one acknowledges the other may lack.
func TestTwoServersOfOneName(t *testing.T) {
	one, two := &node{name: "n", id: "N1", version: "2.15.2", says: "jwt updated"}, &node{name: "n", id: "N2", version: "2.15.2"}
	inMesh(t, func(t *testing.T, c *cell) {
		time.Sleep(time.Minute) // two rounds show that it is no restart
		c.push(t, c.key)
		time.Sleep(time.Minute)
		d := c.notifier.Delivery(c.key)
		if d.Acked != 1 || d.Servers != 2 || c.log.Count("two nats-servers are called n") != 1 {
			t.Errorf("%+v\n%s", d, c.log)
		}
	}, one, two)
}

// TestARestartInTheMiddleOfARoundIsNoSecondServer: the old process has answered, then the new one does.
func TestARestartInTheMiddleOfARoundIsNoSecondServer(t *testing.T) {
	inMesh(t, func(t *testing.T, c *cell) {
		for i := range 50 {
			time.Sleep(30*time.Second + time.Duration(i)*time.Millisecond/5)
			c.set(&node{name: "n", id: fmt.Sprint("N", i+2), version: "2.15.2", says: "jwt updated", began: time.Now()})
			c.heartbeat("n", fmt.Sprint("N", i+2))
		}
		time.Sleep(time.Minute)
		if got := c.store.Outbox().Servers(); !slices.Equal(got, []string{"n"}) || c.log.Count("two nats-servers") > 0 {
			t.Errorf("known: %v\n%s", got, c.log)
		}
	}, &node{name: "n", id: "N1", version: "2.15.2", says: "jwt updated"})
}

// heartbeat lets a nats-server say of itself that it is there.
func (m *mesh) heartbeat(name, id string) {
	m.mu.Lock()
	hear := m.subs["$SYS.SERVER.*.STATSZ"]
	m.mu.Unlock()
	hear(&nats.Msg{Subject: "$SYS.SERVER." + id + ".STATSZ", Data: fmt.Appendf(nil, `{"server":{"name":%q,"id":%q,"ver":"2.15.2"}}`, name, id)})
}

// TestARestartIsNoticedByTheID, and what the new process is decides what it is owed.
func TestARestartIsNoticedByTheID(t *testing.T) {
	for _, c := range []struct {
		says      string
		announced int // of 200 changes that it missed
	}{
		{"jwt update skipped", 1}, // it fetches; one announcement shows that
		{"jwt updated", 200},
		{"jwt updated cache", 200},
	} {
		t.Run(c.says, func(t *testing.T) {
			keys := realKeys(t, 200)
			inMesh(t, func(t *testing.T, cell *cell) {
				time.Sleep(time.Second)
				cell.set()
				time.Sleep(2 * time.Minute)
				for _, k := range keys {
					if seq := cell.put(t, k, "jwt"); !cell.store.Outbox().IsPending("n", seq) {
						t.Fatal("it is owed nothing")
					}
				}
				time.Sleep(time.Minute)
				cell.set(&node{name: "n", id: "N2", version: "2.15.2", says: c.says, began: time.Now()})
				time.Sleep(2 * time.Minute)
				if n := len(cell.store.Outbox().Pending()); n != 0 {
					t.Errorf("%d changes are still owed", n)
				}
				if n, _ := cell.counted(); n != c.announced {
					t.Errorf("%d announcements", n)
				}
			}, &node{name: "n", id: "N1", version: "2.15.2", says: "jwt updated"})
		})
	}
}

// TestAServerThatNobodyKnewIsToldEverything, also one that has just started and fetches.
func TestAServerThatNobodyKnewIsToldEverything(t *testing.T) {
	keys := realKeys(t, 50)
	inMesh(t, func(t *testing.T, c *cell) {
		time.Sleep(time.Minute)
		for _, k := range keys {
			c.put(t, k, "jwt")
		}
		time.Sleep(time.Minute)
		c.set(&node{name: "n", id: "N1", version: "2.15.2", says: "jwt update skipped", began: time.Now()})
		time.Sleep(2 * time.Minute)
		if n, _ := c.counted(); n < 50 || len(c.carried()) != 50 || len(c.store.Outbox().Pending()) != 0 {
			t.Errorf("%d announcements of %d accounts, %d still owed", n, len(c.carried()), len(c.store.Outbox().Pending()))
		}
	})
}

// TestNobodyIsForgottenWhateverHeAnswered before he answered well.
func TestNobodyIsForgottenWhateverHeAnswered(t *testing.T) {
	for _, says := range []string{"", "-", "!no", "jwt update skipped", "jwt update cache skipped"} {
		for _, id := range []string{"N1", "N2"} { // the same process, or after a restart
			t.Run(says+" "+id, func(t *testing.T) {
				keys := realKeys(t, 20)
				inMesh(t, func(t *testing.T, c *cell) {
					time.Sleep(time.Second)
					for _, k := range keys {
						c.push(t, k)
					}
					time.Sleep(time.Second)
					c.set(&node{name: "n", id: id, version: "2.15.2", says: "jwt updated", began: time.Now().Add(-time.Hour)})
					for _, k := range keys {
						c.hearConnect("n", id, k)
					}
					time.Sleep(2 * time.Minute)
					if n := len(c.store.Outbox().Pending()); n != 0 {
						t.Errorf("%d changes are owed for ever", n)
					}
				}, &node{name: "n", id: "N1", version: "2.15.2", says: says})
			})
		}
	}
}

// hearConnect tells that somebody has connected to an account.
func (m *mesh) hearConnect(name, id, key string) {
	m.mu.Lock()
	hear := m.subs["$SYS.ACCOUNT.*.CONNECT"]
	m.mu.Unlock()
	if hear != nil {
		hear(&nats.Msg{Subject: "$SYS.ACCOUNT." + key + ".CONNECT", Data: fmt.Appendf(nil, `{"server":{"name":%q,"id":%q}}`, name, id)})
	}
}

// TestARefusalIsTriedAgainLessAndLess.
func TestARefusalIsTriedAgainLessAndLess(t *testing.T) {
	inMesh(t, func(t *testing.T, c *cell) {
		time.Sleep(time.Second)
		c.push(t, c.key)
		time.Sleep(time.Hour)
		if n, _ := c.counted(); n < 10 || n > 20 {
			t.Errorf("announced %d times in an hour", n)
		}
		if c.log.Count("refuses the update") != 1 {
			t.Error(c.log)
		}
		if r := c.report(c.key); len(r) != 1 || r[0].Acked || r[0].Reason != "no" {
			t.Errorf("%+v", r)
		}
	}, &node{name: "n", id: "N1", version: "2.15.2", says: "!no"})
}

// TestForgetIsConfigurable.
func TestForgetIsConfigurable(t *testing.T) {
	inMesh(t, func(t *testing.T, c *cell) {
		c.notifier.SetForget(10 * time.Minute)
		time.Sleep(time.Minute)
		c.set()
		c.push(t, c.key)
		time.Sleep(9 * time.Minute)
		if got := c.store.Outbox().Servers(); len(got) != 1 {
			t.Errorf("known: %v", got)
		}
		time.Sleep(3 * time.Minute)
		if got := c.store.Outbox().Servers(); len(got) != 0 || c.log.Count("has not been seen for 10m0s and is forgotten") != 1 {
			t.Errorf("known: %v\n%s", got, c.log)
		}
	}, &node{name: "n", id: "N1", version: "2.15.2", says: "jwt updated"})
}
