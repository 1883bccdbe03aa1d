package daemon

import (
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"nats-account-server/internal/config"
)

// logResolvers says how a nats-server is to be configured, in either of two ways. Without NATS
// there is only one way: the other one needs announcements. nats-server parses the lines that begin
// with blanks. scheme and port are those of the server that listens. The lines are meant to be
// copied. trust has the key of the system account.
func logResolvers(c config.Config, scheme string, port int, trust trusted, log logger) {
	log.infof("configure the nats-server with:")
	log.infof("  resolver: %s", quoted("URL("+resolverURL(c.HTTP, scheme, port)+")"))
	if len(c.NATS.Servers) == 0 {
		return
	}
	system := trust.systemKey()
	log.infof("it keeps no accounts then, and does not start while this server is away; " +
		"one that keeps them all, starts in any order and works alone has:")
	log.infof("  system_account: %s", system)
	log.infof(`  resolver { type: full, dir: "jwt", allow_delete: false, interval: "2s" }`)
	log.infof("  resolver_preload { %s: <JWT> }", system)
}

// quoted puts a text in quotes if nats-server would not read it to its end without.
func quoted(text string) string {
	if strings.ContainsAny(text, "[]") {
		return `"` + text + `"`
	}
	return text
}

// resolverURL is what the resolver of a nats-server is configured with. The port is the one that is
// bound, which matters if the configured one is 0. Example: "http://host:9090/jwt/v1/accounts/".
func resolverURL(c config.HTTP, scheme string, port int) string {
	u := url.URL{
		Scheme: scheme,
		Host:   net.JoinHostPort(reachable(c.Host), strconv.Itoa(port)),
		Path:   "/jwt/v1/accounts/",
	}
	if c.Read != nil {
		// A nats-server must log in too. The log shows no real password.
		u.User = url.UserPassword("USER", "PASSWORD")
	}
	return u.String()
}

// reachable returns the name under which a server that listens on host can be reached. For every
// interface that is the machine's name: nats-server may be on another machine. An IPv6 address is
// returned without brackets.
func reachable(host string) string {
	if host != "" && !net.ParseIP(host).IsUnspecified() {
		return host
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost" // the system does not know the machine's name
}
