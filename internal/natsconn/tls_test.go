package natsconn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"nats-account-server/internal/certtest"
	"nats-account-server/internal/natsconn"
	"nats-account-server/internal/natstest"
)

// tlsConf returns the tls section of a nats-server with this certificate, which trusts the
// authority.
func tlsConf(t *testing.T, ca *certtest.Authority, p certtest.Pair, extra string) string {
	t.Helper()
	dir := t.TempDir()
	cert, key := p.Write(t, dir, "server")
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, timeout: 5, %s }\n", cert,
		key, ca.Write(t, dir, "ca"), extra)
}

// trust returns a client configuration with these certificates, which trusts the authority.
func trust(
	t *testing.T, ca *certtest.Authority, pairs ...certtest.Pair,
) func() (*tls.Config, error) {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(ca.PEM)
	for _, p := range pairs {
		pair, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = append(c.Certificates, pair)
	}
	return func() (*tls.Config, error) { return c, nil }
}

func TestHandshakesThatSucceedOrAreExplained(t *testing.T) {
	t.Parallel()
	ca, other := certtest.New(t), certtest.New(t)
	good := ca.Issue(t)
	for _, c := range []struct {
		name, server string
		scheme       string
		tls          func() (*tls.Config, error)
		first        bool
		want         string // in the log
	}{
		{"a trusted authority", tlsConf(t, ca, good, ""), "nats", trust(t, ca), false, connected},
		{"a tls URL", tlsConf(t, ca, good, ""), "tls", trust(t, ca), false, connected},
		{"a client certificate", tlsConf(t, ca, good, "verify: true"), "tls", trust(t, ca, good),
			false, connected},
		{"TLS first on both sides", tlsConf(t, ca, good, "handshake_first: true"), "nats",
			trust(t, ca), true, connected},
		{"no section, and a server that demands TLS", tlsConf(t, ca, good, ""), "nats", nil, false,
			"set nats.tls.root"},
		{"no section, and a tls URL", tlsConf(t, ca, good, ""), "tls", nil, false,
			"set nats.tls.root"},
		{"another authority", tlsConf(t, ca, good, ""), "nats", trust(t, other), false,
			"none of the authorities in nats.tls.root"},
		{"another host", tlsConf(t, ca, ca.Issue(t, certtest.For("nats.example")), ""), "nats",
			trust(t, ca), false, "is not for the host that nats.servers names"},
		{"an expired certificate", tlsConf(t, ca, ca.Issue(t, certtest.Expired), ""), "nats",
			trust(t, ca), false, "or its authority's, is out of date"},
		{"no client certificate", tlsConf(t, ca, good, "verify: true"), "nats", trust(t, ca), false,
			"set nats.tls.cert and nats.tls.key"},
		{"a client certificate of another authority", tlsConf(t, ca, good, "verify: true"), "nats",
			trust(t, ca, other.Issue(t)), false, "refuses the certificate in nats.tls.cert"},
		{"an expired client certificate", tlsConf(t, ca, good, "verify: true"), "nats",
			trust(t, ca, ca.Issue(t, certtest.Expired)), false,
			"refuses the certificate in nats.tls.cert"},
		{"no TLS offered", "", "nats", trust(t, ca), false, "nats-server offers no TLS"},
		{"no TLS offered to a tls URL", "", "tls", nil, false, "nats-server offers no TLS"},
		{"TLS first on our side only", tlsConf(t, ca, good, ""), "nats", trust(t, ca), true,
			"does not begin with TLS"},
		{"TLS first on the server's side only", tlsConf(t, ca, good, "handshake_first: true"),
			"nats", trust(t, ca), false, "set nats.tls.handshake_first too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, natstest.AnyPort+c.server)
			url := c.scheme + "://u:hush@" + s.Addr().String()
			out, _ := run(t, natsconn.Options{
				Servers: []string{url}, TLS: c.tls, HandshakeFirst: c.first,
				ConnectTimeout: 2 * time.Second, ReconnectWait: 20 * time.Millisecond,
			}, untilDone)
			if c.want != connected {
				natstest.Eventually(t, "another attempt",
					func() bool { return out.Count("will try to connect again") > 1 })
			}
			natstest.Eventually(t, "logged", func() bool { return out.Count(c.want) > 0 })
			if n := out.Count(c.want); n != 1 || strings.Contains(out.String(), "hush") {
				t.Errorf("%d times logged:\n%s", n, out)
			}
		})
	}
}

const connected = "connected to NATS for account and activation notifications"

// Only the IP address of a discovered server is known. It needs the same password and TLS, and its
// certificate is for the name in the configured URL.
func TestADiscoveredServerIsDialledLikeTheConfiguredOne(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t)
	common := tlsConf(t, ca, ca.Issue(t, certtest.For("localhost")), "") +
		"authorization { user: u, password: hush }\n" + natstest.AnyPort
	first := natstest.Start(t,
		common+`server_name: a, cluster { name: c, listen: "127.0.0.1:-1", pool_size: -1 }`)
	second := natstest.Start(t, common+fmt.Sprintf(
		`server_name: b, cluster { name: c, listen: "127.0.0.1:-1", pool_size: -1, routes: `+
			`["nats-route://127.0.0.1:%d"] }`, first.ClusterAddr().Port))
	natstest.Eventually(t, "the cluster is formed", func() bool {
		return first.NumRoutes() > 0 && second.NumRoutes() > 0
	})
	sessions := make(chan *nats.Conn, 10)
	url := fmt.Sprintf("tls://u:hush@localhost:%d", first.Addr().(*net.TCPAddr).Port)
	out, _ := run(t, natsconn.Options{
		Servers: []string{url}, TLS: trust(t, ca),
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
	if strings.Contains(out.String(), "hush") {
		t.Errorf("logged:\n%s", out)
	}
}

func within(t *testing.T, sessions <-chan *nats.Conn, out *natstest.Log) *nats.Conn {
	t.Helper()
	select {
	case nc := <-sessions:
		return nc
	case <-time.After(30 * time.Second):
		t.Fatalf("no connection:\n%s", out)
		return nil
	}
}

// A renewed certificate must not need a restart.
func TestEachAttemptLoadsTheCertificates(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t)
	s := natstest.Start(t, natstest.AnyPort+tlsConf(t, ca, ca.Issue(t), "verify: true"))
	good, bad := trust(t, ca, ca.Issue(t)), trust(t, ca)
	attempts := 0
	out, _ := run(t, natsconn.Options{
		Servers: []string{s.Addr().String()}, ConnectTimeout: 5 * time.Second,
		ReconnectWait: 20 * time.Millisecond,
		TLS: func() (*tls.Config, error) {
			switch attempts++; attempts {
			case 1:
				return nil, errors.New("there is no file")
			case 2:
				return bad()
			}
			return good()
		},
	}, untilDone)
	natstest.Eventually(t, "connected", func() bool { return out.Count(connected) == 1 })
	if out.Count(": there is no file") != 1 ||
		out.Count("set nats.tls.cert and nats.tls.key") != 1 {
		t.Errorf("the first two attempts are not logged:\n%s", out)
	}
}

func TestAServerThatIsDownDoesNotHideARefusal(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.AnyPort+"authorization { user: u, password: hush }")
	down := fmt.Sprintf("nats://127.0.0.1:%d", natstest.FreePort(t))
	out, _ := run(t, natsconn.Options{
		Servers: []string{s.ClientURL(), down}, ConnectTimeout: 5 * time.Second,
		ReconnectWait: 20 * time.Millisecond,
	}, untilDone)
	natstest.Eventually(t, "five attempts",
		func() bool { return out.Count("will try to connect again") >= 5 })
	if n := out.Count("no servers available"); n != 0 {
		t.Errorf("%d attempts hide the refusal:\n%s", n, out)
	}
}

// TestOneURLWithTLSAsksForItEverywhere: no password goes over the wire because the list has a
// server without TLS.
func TestOneURLWithTLSAsksForItEverywhere(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.AnyPort)
	out, _ := run(t, natsconn.Options{
		Servers: []string{s.ClientURL(),
			fmt.Sprintf("tls://127.0.0.1:%d", natstest.FreePort(t))},
		ConnectTimeout: 5 * time.Second, ReconnectWait: 20 * time.Millisecond,
	}, untilDone)
	natstest.Eventually(t, "three attempts",
		func() bool { return out.Count("will try to connect again") >= 3 })
	if out.Count(connected) > 0 || out.Count("secure connection not available") < 3 {
		t.Errorf("logged:\n%s", out)
	}
}
