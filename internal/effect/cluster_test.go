package effect_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/effect"
	"nats-account-server/internal/natstest"
)

// TestConnectionsInACluster end at least as foretold: nats-servers exchange their counts within 30 seconds,
// or when a connection ends.
func TestConnectionsInACluster(t *testing.T) {
	for _, kind := range []string{"URL", "full"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kind, 3)
			t.Run("rows", func(t *testing.T) {
				t.Run("one nats-server has too many", func(t *testing.T) {
					t.Parallel()
					limitConnections(t, w, 3, 3, client{name: "a"}, client{name: "b"}, client{name: "c"},
						client{name: "d"}, client{name: "e", at: 1}, client{name: "f", at: 2})
				})
				t.Run("only all together have too many", func(t *testing.T) {
					t.Parallel()
					limitConnections(t, w, 2, 1, client{name: "a"}, client{name: "b", at: 1},
						client{name: "c", at: 2}, client{name: "goes"})
				})
				t.Run("leaf nodes", func(t *testing.T) {
					t.Parallel()
					limitLeafNodes(t, w)
				})
			})
		})
	}
}

// limitConnections pushes a limit that the clients exceed by a surplus. The client goes ends by itself after
// that.
func limitConnections(t *testing.T, w *world, most int64, surplus int, clients ...client) {
	r := start(t, w, row{stored: same, clients: clients})
	r.push(r.T, r.account("").ID, r.token("", time.Hour, same))
	for _, c := range clients {
		r.connect(c)
	}
	foretold := len(clients) - int(most)
	token := r.token("", 0, limits(func(l *jwt.OperatorLimits) { l.Conn = most }))
	f := r.forecast(r.T, token)
	if len(f.Lines) != 1 || f.Lines[0].Kind != effect.Cut || f.Lines[0].Connections != foretold {
		t.Errorf("foretold is %+v instead of %d", f.Lines, foretold)
	}
	r.push(r.T, r.account("").ID, token)
	if goes := r.conns["goes"]; goes != nil {
		goes.Close()
	}
	natstest.Within(t, 35*time.Second, "the connections have ended", func() bool {
		ended := 0
		for name, closed := range r.closed {
			select {
			case <-closed:
				if name != "goes" {
					ended++
				}
			default:
			}
		}
		return ended >= surplus
	})
}

// limitLeafNodes pushes a limit that leaf nodes exceed by one.
func limitLeafNodes(t *testing.T, w *world) {
	r := start(t, w, row{stored: same})
	r.push(r.T, r.account("").ID, r.token("", time.Hour, same))
	r.connect(client{name: "a", leaf: true})
	r.connect(client{name: "b", leaf: true, at: 1})
	r.connect(client{name: "goes", at: 1})
	token := r.token("", 0, limits(func(l *jwt.OperatorLimits) { l.LeafNodeConn = 1 }))
	f := r.forecast(r.T, token)
	if len(f.Lines) != 1 || f.Lines[0].Code != "leaf_nodes_exceeded" || f.Lines[0].Connections != 1 {
		t.Errorf("foretold is %+v", f.Lines)
	}
	r.push(r.T, r.account("").ID, token)
	r.conns["goes"].Close() // so that the counts are exchanged
	natstest.Within(t, 35*time.Second, "a leaf node has ended", func() bool {
		return r.leaves["a"].NumLeafNodes()+r.leaves["b"].NumLeafNodes() < 2
	})
}
