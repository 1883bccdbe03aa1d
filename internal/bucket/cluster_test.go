package bucket_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"nats-account-server/internal/accounts"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// mesh is a cluster of nats-servers whose routes go through relays.
type mesh struct {
	keepers []*keeper
	routes  map[[2]int]*natstest.Relay // from one to another
}

// startKeepers starts a cluster of nats-servers.
func startKeepers(t *testing.T, n int) mesh {
	t.Helper()
	c := mesh{routes: map[[2]int]*natstest.Relay{}}
	for i := range n {
		var routes []string
		for j := range n {
			if j != i {
				line := natstest.NewRelay(t, 0, "nats://127.0.0.1:1") // where nothing listens
				c.routes[[2]int{i, j}] = line
				routes = append(routes, line.URL())
			}
		}
		// What they tell each other of their addresses leads nowhere.
		c.start(t, fmt.Sprintf("listen: \"127.0.0.1:-1\"\nserver_name: kv%d\njetstream { store_dir: %q }\n"+
			"cluster { name: c, listen: \"127.0.0.1:-1\", no_advertise: true, pool_size: -1, "+
			"advertise: \"127.0.0.1:1\", routes: [%s] }\n%s", i+1, t.TempDir(),
			strings.Join(routes, ", "), users))
	}
	for pair, line := range c.routes {
		to := c.keepers[pair[1]]
		natstest.Eventually(t, "it listens for routes", func() bool { return to.ClusterAddr() != nil })
		line.Point("nats://" + to.ClusterAddr().String())
	}
	for _, k := range c.keepers {
		if !k.ReadyForConnections(time.Minute) {
			t.Fatal("nats-server does not get ready")
		}
		k.address = k.Addr().String()
	}
	return c
}

// start starts one nats-server. None gets ready before the others are there.
func (c *mesh) start(t *testing.T, conf string) {
	t.Helper()
	o, err := server.ProcessConfigFile(jwttest.File(t, t.TempDir(), "kv.conf", []byte(conf)))
	must(t, err)
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	must(t, err)
	s.Start()
	t.Cleanup(func() { natstest.Stop(s) })
	c.keepers = append(c.keepers, &keeper{Server: s})
}

// leader returns the position of the nats-server that leads the bucket. It waits for one that the others
// follow.
func (c *mesh) leader(t *testing.T) (leader int) {
	t.Helper()
	natstest.Eventually(t, "the bucket has a leader", func() bool {
		for i, k := range c.keepers {
			if k.JetStreamIsStreamLeader("KV", "KV_B") {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// isolate cuts a nats-server off from the others. It stays connected to its account server.
func (c *mesh) isolate(n int) (heal func()) {
	each := func(do func(*natstest.Relay)) {
		for pair, line := range c.routes {
			if pair[0] == n || pair[1] == n {
				do(line)
			}
		}
	}
	each((*natstest.Relay).Down)
	return func() { each((*natstest.Relay).Up) }
}

// parted is three account servers, each with a nats-server of its own, and the lines between them.
type parted struct {
	t *testing.T
	mesh
	all     []*member
	lines   []*natstest.Relay // to the nats-server of each
	account *jwttest.Account
	version int // the last one that all serve
}

// startParted starts them. Everyone serves the first version of an account.
func startParted(t *testing.T) *parted {
	t.Helper()
	p := &parted{t: t, mesh: startKeepers(t, 3), account: jwttest.NewAccount(t)}
	op := jwttest.NewOperator(t)
	for _, k := range p.keepers {
		m := newMember(t, op, func(m *member) {
			m.options.Replicas, m.options.Timeout = 3, 1500*time.Millisecond
		})
		line := natstest.NewRelay(t, 0, "nats://"+k.address)
		p.lines = append(p.lines, line)
		p.all = append(p.all, m.start(&keeper{address: strings.TrimPrefix(line.URL(), "nats://")}))
	}
	for _, m := range p.all {
		m.await()
	}
	p.goOn(p.all...)
	return p
}

// push pushes a version that is so many after the last one.
func (p *parted) push(m *member, after int) error {
	return m.push(issue(p.t, m.op, p.account, p.version+after))
}

// goOn waits until each of some account servers takes pushes, and all of them serve the last version.
func (p *parted) goOn(some ...*member) {
	p.t.Helper()
	for _, m := range some {
		natstest.Eventually(p.t, "it takes pushes", func() bool { return p.push(m, 1) == nil })
		p.version++
	}
	for _, m := range some {
		m.serves(p.account.ID, issue(p.t, m.op, p.account, p.version))
	}
}

// A push to the account server of a leader that is cut off is never acknowledged, while the others elect
// another leader and go on. Nor is one to an account server that is cut off itself. Both serve what they
// have. When all is healed everyone serves the same again.
func TestAServerThatIsCutOffAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	p := startParted(t)
	for _, fault := range []struct {
		name string
		cut  func(n int) (heal func())
	}{
		{"the line to the account server is dark", func(n int) func() {
			p.lines[n].Freeze()
			return p.lines[n].Thaw
		}},
		{"the line to the account server is down", func(n int) func() {
			p.lines[n].Down()
			return p.lines[n].Up
		}},
		{"the leader is isolated", p.isolate},
	} {
		cut := p.leader(t)
		its, others := p.all[cut], []*member{p.all[(cut+1)%3], p.all[(cut+2)%3]}
		had := issue(t, its.op, p.account, p.version)
		heal := fault.cut(cut)
		wantNotAcknowledged(t, fault.name, p.push(its, 10))
		p.goOn(others...)
		wantNotAcknowledged(t, fault.name, p.push(its, 10))
		natstest.Eventually(t, "the server that is cut off says so", func() bool {
			s := its.Progress()
			return !s.Connected || s.Failing != "" || s.Refusing != ""
		})
		its.serves(p.account.ID, had)
		heal()
		// What is not known to be stored may be, and then it is newer than the others' versions.
		p.version += 10
		p.goOn(p.all...)
	}
}

// wantNotAcknowledged fails the test unless a push was answered as one that is not stored, or may be.
func wantNotAcknowledged(t *testing.T, name string, err error) {
	t.Helper()
	e, ok := asCommitError(err)
	if !ok || e.Outcome != accounts.NotStored && e.Outcome != accounts.Uncertain {
		t.Errorf("%s: a push to the server that is cut off ends with %v", name, err)
	}
	t.Logf("%s: %v", name, err)
}

// Three account servers make the bucket at once, in a cluster of three. When its leader stops, a push waits
// for the next one, and no server goes back.
func TestAClusterGoesOnWithoutItsLeader(t *testing.T) {
	keepers := startKeepers(t, 3).keepers
	op, a := jwttest.NewOperator(t), jwttest.NewAccount(t)
	var all []*member
	for range keepers {
		m := newMember(t, op, func(m *member) {
			m.options.Replicas = 3
			m.options.Timeout = 20 * time.Second // of a busy machine
		})
		all = append(all, m.start(keepers...))
	}
	id := ""
	for _, m := range all {
		m.await()
		if now := m.BucketID(); id == "" {
			id = now
		} else if now != id {
			t.Errorf("there are the buckets %s and %s", id, now)
		}
	}
	all[0].mustPush(issue(t, op, a, 1))
	for _, k := range keepers {
		if k.JetStreamIsStreamLeader("KV", "KV_B") {
			natstest.Stop(k.Server)
			break
		}
	}
	for n, m := range all {
		if err := m.push(issue(t, op, a, 2+n)); err != nil {
			if e, ok := asCommitError(err); ok && e.Outcome == accounts.Elsewhere {
				t.Error(err)
			}
			m.mustPush(issue(t, op, a, 2+n)) // which is safe
		}
	}
	for _, m := range all {
		m.serves(a.ID, issue(t, op, a, 4))
	}
	kept, err := all[0].Revisions(t.Context(), a.ID)
	if err != nil || len(kept) != 4 {
		t.Errorf("%d revisions, %v", len(kept), err)
	}
}
