package natsconn

import (
	"net"
	"net/url"
	"strings"
)

// address is how to reach a nats-server.
type address struct {
	url  string
	name string // in its certificate; "" means the host of url
}

// configured returns the addresses of the configured servers.
func (l *link) configured() []address {
	all := make([]address, len(l.Servers))
	for i, s := range l.Servers {
		all[i].url = s
	}
	return all
}

// discovered returns the addresses of the servers that the one at a has announced as its cluster.
// The same user and the same TLS are used for them. If only an IP address of a server is known, its
// certificate must have the name of a.
func (a address) discovered(urls []string) []address {
	own, err := parse(a.url)
	if err != nil {
		return nil
	}
	var all []address
	for _, s := range urls {
		u, err := parse(s)
		if err != nil {
			continue
		}
		u.User = own.User
		if demandsTLS(own) {
			u.Scheme = own.Scheme
		}
		all = append(all, address{u.String(), a.nameFor(u.Hostname(), own.Hostname())})
	}
	return all
}

// nameFor returns the name in the certificate of the discovered server at host. own is the host of
// a.
func (a address) nameFor(host, own string) string {
	switch {
	case net.ParseIP(host) == nil:
		return ""
	case a.name == "" && net.ParseIP(own) == nil:
		return own
	default:
		return a.name
	}
}

// parse parses a NATS URL, whose scheme may be missing.
func parse(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	return url.Parse(s)
}

// demandsTLS reports whether a URL refuses a nats-server without TLS.
func demandsTLS(u *url.URL) bool { return u.Scheme == "tls" || u.Scheme == "wss" }

// withoutUsers lists servers without user names, passwords and tokens. A URL that can't be parsed
// is shown as "?".
func withoutUsers(servers []string) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = "?"
		if u, err := parse(s); err == nil {
			u.User = nil
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}
