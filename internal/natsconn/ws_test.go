package natsconn_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
)

func TestWebsocketsWithAndWithoutTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t)
	good := tlsConf(t, ca, ca.Issue(t), "")
	for _, c := range []struct {
		name, server, section string // the configuration of nats-server and of its websocket
		scheme                string
		tls                   func() (*tls.Config, error)
		want                  string // in the log
	}{
		{"ws", "", "no_tls: true", "ws", nil, connected},
		{"wss", "", good, "wss", trust(t, ca), connected},
		{"ws beside a listener with TLS", good, "no_tls: true", "ws", nil, connected},
		{"wss beside a listener with TLS", good, good, "wss", trust(t, ca), connected},
		{"ws to a websocket with TLS", "", good, "ws", nil, "write wss:// in nats.servers"},
		{"wss to a websocket without TLS", "", "no_tls: true", "wss", trust(t, ca),
			"write ws:// in nats.servers"},
		{"wss with an unknown authority", "", good, "wss", nil, "set nats.tls.root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port := natstest.FreePort(t)
			natstest.Start(t, natstest.AnyPort+c.server+
				fmt.Sprintf("websocket { listen: \"127.0.0.1:%d\", %s }", port, c.section))
			out, _ := run(t, natsconn.Options{
				Servers: []string{fmt.Sprintf("%s://127.0.0.1:%d", c.scheme, port)}, TLS: c.tls,
				HandshakeFirst: true, // has no effect on a websocket
				ConnectTimeout: 2 * time.Second, ReconnectWait: 20 * time.Millisecond,
			}, untilDone)
			natstest.Eventually(t, "logged", func() bool { return out.Count(c.want) > 0 })
			if c.want != connected && out.Count(connected) > 0 {
				t.Errorf("connected:\n%s", out)
			}
		})
	}
}

// The cluster announces the websocket of each server.
func TestADiscoveredWebsocketIsDialledAsOne(t *testing.T) {
	t.Parallel()
	websocket := func() (text string, port int) {
		port = natstest.FreePort(t)
		return natstest.AnyPort +
			fmt.Sprintf("websocket { listen: \"127.0.0.1:%d\", no_tls: true }\n", port), port
	}
	text, port := websocket()
	first := natstest.Start(t, text+`server_name: a, cluster { name: c, listen: "127.0.0.1:-1" }`)
	text, _ = websocket()
	second := natstest.Start(t, text+fmt.Sprintf(`server_name: b, cluster { name: c, listen: `+
		`"127.0.0.1:-1", routes: ["nats-route://127.0.0.1:%d"] }`, first.ClusterAddr().Port))
	natstest.Eventually(t, "the cluster is formed", func() bool {
		return first.NumRoutes() > 0 && second.NumRoutes() > 0
	})
	sessions := make(chan *nats.Conn, 10)
	out, _ := run(t, natsconn.Options{
		Servers:        []string{fmt.Sprintf("ws://127.0.0.1:%d", port)},
		ConnectTimeout: 5 * time.Second, ReconnectWait: 20 * time.Millisecond,
	}, func(ctx context.Context, nc *nats.Conn) { sessions <- nc; <-ctx.Done() })
	one := within(t, sessions, out)
	if name := one.ConnectedServerName(); name != "a" {
		t.Fatalf("connected to %s", name)
	}
	natstest.Eventually(t, "the other server is known",
		func() bool { return len(one.DiscoveredServers()) > 0 })
	natstest.Stop(first)
	if name := within(t, sessions, out).ConnectedServerName(); name != "b" {
		t.Errorf("connected to %s", name)
	}
}
