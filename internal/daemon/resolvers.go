package daemon

import (
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// logResolvers says how a nats-server is to be configured, in either of two ways. Without NATS
// there is only one way: the other one needs announcements. nats-server parses the lines that begin
// with blanks.
func (d *daemon) logResolvers(trust trusted) {
	d.log.infof("configure the nats-server with:")
	d.log.infof("  resolver: %s", quoted("URL("+d.resolverURL()+")"))
	if len(d.Config.NATS.Servers) == 0 {
		return
	}
	system := trust.systemKey()
	d.log.infof("it keeps no accounts then, and does not start while this server is away; " +
		"one that keeps them all, starts in any order and works alone has:")
	d.log.infof("  system_account: %s", system)
	d.log.infof(`  resolver { type: full, dir: "jwt", allow_delete: false, interval: "2s" }`)
	d.log.infof("  resolver_preload { %s: <JWT> }", system)
}

// quoted puts a text in quotes if nats-server would not read it to its end without.
func quoted(text string) string {
	if strings.ContainsAny(text, "[]") {
		return `"` + text + `"`
	}
	return text
}

// resolverURL is what the resolver of a nats-server is configured with. The port is the one that is
// bound, which matters if the configured one is 0.
func (d *daemon) resolverURL() string {
	scheme, port := d.server.Address()
	u := url.URL{
		Scheme: scheme,
		Host:   net.JoinHostPort(reachable(d.Config.HTTP.Host), strconv.Itoa(port)),
		Path:   "/jwt/v1/accounts/",
	}
	if d.Config.HTTP.Read != nil {
		// A nats-server must log in too. The log shows no real password.
		u.User = url.UserPassword("USER", "PASSWORD")
	}
	return u.String()
}

// reachable returns the name under which a server that listens on host can be reached. For every
// interface that is the machine's name: nats-server may be on another machine.
func reachable(host string) string {
	if host != "" && !net.ParseIP(host).IsUnspecified() {
		return host
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost" // the system does not know the machine's name
}
