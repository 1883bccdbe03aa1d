package natsconn

import (
	"net"
	"net/url"
	"strings"
)

// address is how to reach a nats-server. Example: {"tls://user:password@host:4222", ""}.
type address struct {
	url  string // may have a user and a password, and may lack the scheme
	name string // in its certificate; "" means the host of url
}

// discovered returns the addresses of the servers that the one at a has announced as its cluster.
// The same user and the same TLS are used for them. URLs that can't be parsed are left out. urls
// are those of nats-server's INFO, such as "10.0.0.2:4222".
func (a address) discovered(urls []string) (all []address) {
	// nats.go has dialed this URL, so an error is unlikely.
	own, err := parse(a.url)
	if err != nil {
		return nil
	}
	// A certificate is rarely for an IP address: if only that of a server is known, its certificate
	// must have the name of a.
	name := a.name
	if name == "" && net.ParseIP(own.Hostname()) == nil {
		name = own.Hostname()
	}
	for _, s := range urls {
		u, err := parse(s)
		if err != nil {
			continue
		}
		// The announced URLs have no user of their own.
		u.User = own.User
		if demandsTLS(a.url) {
			// The cluster announces no scheme that demands TLS, so the one of a is kept.
			u.Scheme = own.Scheme
		}
		other := address{url: u.String()}
		if net.ParseIP(u.Hostname()) != nil {
			other.name = name
		}
		all = append(all, other)
	}
	return all
}

// parse parses a NATS URL. A missing scheme means nats, as in nats.go.
func parse(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	return url.Parse(s)
}

// demandsTLS reports whether a URL refuses a nats-server without TLS. It is false for a URL that
// can't be parsed.
func demandsTLS(s string) bool {
	u, err := parse(s)
	return err == nil && (u.Scheme == "tls" || u.Scheme == "wss")
}

// isWebsocket reports whether a URL is for a websocket. It is false for a URL that can't be parsed.
// Both ws and wss are.
func isWebsocket(s string) bool {
	u, err := parse(s)
	return err == nil && (u.Scheme == "ws" || u.Scheme == "wss")
}

// withoutUsers lists servers without user names, passwords and tokens. A URL that can't be parsed
// is shown as "?", since it may have a password anywhere. It is for the log.
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
