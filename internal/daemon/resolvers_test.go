package daemon_test

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"

	"nats-account-server/internal/config"
	"nats-account-server/internal/jwttest"
	"nats-account-server/internal/natstest"
)

// TestTheResolverHintWorksInNatsServer starts a real nats-server with each of the two hints. Only
// the placeholders are filled in.
func TestTheResolverHintWorksInNatsServer(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]string{
		"an address": "127.0.0.1", "a name": "localhost", "version 6": "::1",
		"every interface": "", "every interface of version 4": "0.0.0.0",
		"every interface of version 6": "::",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hints, op := resolverHints(t, host)
			for _, hint := range hints {
				natstest.Start(t, hint+"operator: "+op.Token(t)+"\n"+natstest.AnyPort)
			}
			if len(hints) != 2 ||
				strings.Contains(hints[0], "127.0.0.1") != (name == "an address") {
				t.Errorf("the hints are %q", hints)
			}
		})
	}
}

// resolverHints are the configurations of nats-server that a daemon on this host has logged.
func resolverHints(
	t *testing.T, host string, edits ...func(*config.Config),
) ([]string, *jwttest.Operator) {
	t.Helper()
	if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		t.Skip(err)
	} else {
		l.Close()
	}
	if name, err := os.Hostname(); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		if _, err := net.LookupHost(name); err != nil {
			t.Skip(err)
		}
	}
	op := jwttest.NewOperator(t)
	system := op.SystemAccount(t)
	e := newEnv(t, append([]func(*config.Config){func(c *config.Config) {
		c.HTTP.Host, c.HTTP.Port = host, 0
		c.NATS.Servers = []string{"nats://127.0.0.1:1"}
		c.NATS.ConnectTimeout, c.NATS.ReconnectWait = time.Second, time.Minute
		c.Operators, c.SystemAccount = tokens(op.Token(t)), config.JWTRef{Token: string(system)}
	}}, edits...)...)
	_, log, _ := strings.Cut(e.log.String(), "configure the nats-server with:\n")
	hints := []string{""}
	for line := range strings.Lines(log) {
		hint, isHint := strings.CutPrefix(line, "[INF]   ")
		switch {
		case isHint:
			hints[len(hints)-1] += strings.ReplaceAll(hint, "<JWT>", string(system))
		case strings.Contains(line, "it keeps no accounts then"):
			hints = append(hints, "")
		}
	}
	hints[len(hints)-1] = strings.ReplaceAll(hints[len(hints)-1], `"jwt"`, `"`+t.TempDir()+`"`)
	return hints, op
}

// TestTheResolverHintHasPlaceholdersThatNatsServerParses has hints in which something must be
// filled in.
func TestTheResolverHintHasPlaceholdersThatNatsServerParses(t *testing.T) {
	hints, _ := resolverHints(t, "127.0.0.1", func(c *config.Config) {
		c.HTTP.Read = []config.Login{{User: "nats", Hash: "x"}}
		c.HTTP.Write = c.HTTP.Read
		op := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.SystemAccount = "" })
		c.Operators, c.SystemAccount = tokens(op.Token(t)), config.JWTRef{}
	})
	path := jwttest.File(t, t.TempDir(), "nats-server.conf", []byte(hints[0]))
	if _, err := server.ProcessConfigFile(path); err != nil ||
		!strings.Contains(hints[0], "USER:PASSWORD@") {
		t.Errorf("%q: %v", hints[0], err)
	}
	if m, err := conf.Parse(hints[1]); err != nil || m["system_account"] != "<system_account>" {
		t.Errorf("%q: %v, %v", hints[1], m, err)
	}
}

// TestTheResolverHintHasASystemAccountOfWhichOnlyTheKeyIsConfigured names it as the configuration
// does.
func TestTheResolverHintHasASystemAccountOfWhichOnlyTheKeyIsConfigured(t *testing.T) {
	key := jwttest.NewAccount(t).ID
	hints, _ := resolverHints(t, "127.0.0.1", func(c *config.Config) {
		op := jwttest.NewOperator(t, func(c *jwt.OperatorClaims) { c.SystemAccount = "" })
		c.Operators, c.SystemAccount = tokens(op.Token(t)), config.JWTRef{Key: key}
	})
	if m, err := conf.Parse(hints[1]); err != nil || m["system_account"] != key {
		t.Errorf("%q: %v, %v", hints[1], m, err)
	}
}
