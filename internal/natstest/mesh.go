package natstest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Mesh is a cluster in which each route goes through a relay of its own. So a test can stall or
// break the route between two nats-servers while all others work.
type Mesh struct {
	Servers []*server.Server // named n1, n2, …
	confs   []string
	routes  map[[2]int]*Relay
}

// NewMesh runs n nats-servers, each connected to each other. conf returns the configuration of one,
// with extra appended.
func NewMesh(t testing.TB, n int, conf func(extra string) string) *Mesh {
	t.Helper()
	m := &Mesh{routes: map[[2]int]*Relay{}}
	for i := range n {
		var routes []string
		for j, other := range m.Servers {
			relay := NewRelay(t, 0, fmt.Sprintf("nats://127.0.0.1:%d", other.ClusterAddr().Port))
			m.routes[[2]int{j, i}] = relay
			routes = append(routes, strings.Replace(relay.URL(), "nats://", "nats-route://", 1))
		}
		// nats-servers tell each other of the others. What they advertise is no address of any of
		// them, so none connects to another past the relay.
		const cluster = `cluster { name: c, listen: "127.0.0.1:-1", pool_size: -1, ` +
			`advertise: "127.0.0.1:1", routes: [%s] }`
		extra := fmt.Sprintf(AnyPort+"server_name: n%d\n"+cluster+"\n", i+1,
			strings.Join(routes, ", "))
		m.confs = append(m.confs, conf(extra))
		m.Servers = append(m.Servers, Start(t, m.confs[i]))
	}
	waitFormed(t, m.Servers)
	return m
}

// Restart stops a nats-server, given by its position in Servers, and starts one of the same
// configuration in its place. It listens on another port.
func (m *Mesh) Restart(t testing.TB, i int) {
	t.Helper()
	Stop(m.Servers[i])
	m.Servers[i] = Start(t, m.confs[i])
	for pair, relay := range m.routes {
		if pair[0] == i { // the other one dials
			relay.Point(fmt.Sprintf("nats://127.0.0.1:%d", m.Servers[i].ClusterAddr().Port))
		}
	}
	waitFormed(t, m.Servers)
}

// Route returns the relay between two nats-servers, given by their positions in Servers. Freeze
// stalls the route: what is sent on it arrives after Thaw, and neither side notices.
func (m *Mesh) Route(a, b int) *Relay { return m.routes[[2]int{min(a, b), max(a, b)}] }
