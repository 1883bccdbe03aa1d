package bench_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"nats-account-server/internal/natstest"
)

// natsServers are nats-servers in a process of their own, each with a URL resolver.
type natsServers struct {
	*child
	urls []string
}

// startNATS starts a cluster of nats-servers that fetch accounts from an account server at address,
// which need not run yet.
func startNATS(t *testing.T, f *fixture, address string, n int) *natsServers {
	t.Helper()
	// A nats-server starts only if the URL of its resolver answers, and has the system account.
	l, err := net.Listen("tcp", address)
	check(t, err)
	system := read(t, f.path("system"))
	stand := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == accountPath(f.system) {
			_, _ = w.Write(system)
		}
	})}
	go func() { _ = stand.Serve(l) }()
	defer stand.Close()
	conf := fmt.Sprintf("operator: %q\nsystem_account: %s\nresolver: URL(\"http://%s/jwt/v1/accounts/\")\n",
		f.path("operator"), f.system, address)
	line, err := json.Marshal(natsOptions{Conf: conf, Servers: n})
	check(t, err)
	s := &natsServers{child: startChild(t, "TestNATSServers", string(line))}
	check(t, json.Unmarshal([]byte(s.answer()), &s.urls))
	return s
}

// natsOptions is the first line of TestNATSServers's input.
type natsOptions struct {
	Conf    string
	Servers int
}

// TestNATSServers is a child's part: it runs nats-servers until its input ends.
func TestNATSServers(t *testing.T) {
	next := part(t)
	line, _ := next()
	var o natsOptions
	check(t, json.Unmarshal([]byte(line), &o))
	var servers []*server.Server
	if o.Servers == 1 {
		servers = append(servers, natstest.Start(t, natstest.AnyPort+"server_name: n1\n"+o.Conf))
	} else {
		servers = natstest.Cluster(t, o.Servers, func(extra string) string { return o.Conf + extra })
	}
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	list, err := json.Marshal(urls)
	check(t, err)
	answer("%s", list)
	for {
		if _, ok := next(); !ok {
			return
		}
	}
}
